//! What this program is.

/// The version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, `debug` for a debug build, `unknown` where git was not there.
pub const COMMIT: &str = match option_env!("MPS_GATEWAY_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Version and commit for people and for `s:info`: `0.1.0 (1a2b3c4d)`.
pub fn describe() -> String {
    format!("{VERSION} ({COMMIT})")
}
