//! Programs of others that a test needs: installed by `tests/run`, said loudly where they are missing.

use std::io::Write as _;

/// `found`, or, where it is `None`, a word on stderr that whatever needs `name` was not run (`cure`
/// says how to get it). With `MPS_GATEWAY_TESTS_REQUIRE_ALL` set a missing program is a failure.
pub fn required<T>(name: &str, cure: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        #[expect(clippy::disallowed_methods, reason = "how tests/run says that nothing may be skipped")]
        let all = std::env::var_os("MPS_GATEWAY_TESTS_REQUIRE_ALL").is_some();
        assert!(!all, "{name} is not installed, and every test is required: {cure}");
        // Past the capture of the test runner: whoever runs the tests is to know.
        let _ = writeln!(std::io::stderr(), "NOT RUN: {name} is not installed ({cure})");
    }
    found
}
