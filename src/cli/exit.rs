//! Exit codes, those of `sysexits.h` where one fits, so that a supervisor can tell what to do.

use std::process::ExitCode;

/// All went well.
pub const OK: ExitCode = ExitCode::SUCCESS;
/// The answer is "no": not healthy, not all devices back, stopped by a second signal.
pub const FAILED: ExitCode = ExitCode::FAILURE;
/// The command line cannot be understood.
pub const USAGE: u8 = 64;
/// An address is taken, or something else we need is not to be had now.
pub const UNAVAILABLE: u8 = 69;
/// The system refused something: a runtime, a thread, a signal handler.
pub const SYSTEM: u8 = 71;
/// The directory speaks a version that we do not know.
pub const PROTOCOL: u8 = 76;
/// The configuration has problems.
pub const CONFIG: u8 = 78;
