//! The exit code of [`mps_gateway::cli::main`]; nothing else.

use std::process::ExitCode;

/// glibc keeps what a burst of traffic used; jemalloc gives it back, so that an idle session stays small.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mps_gateway::cli::main()
}
