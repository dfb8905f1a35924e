//! The exit code of [`mps_gateway::cli::main`]; nothing else.

fn main() {}
