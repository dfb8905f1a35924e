//! The parts of `benches/compare` that reckon and parse: a bench without a harness runs no tests of its own.

#![allow(dead_code, reason = "only some of it is asked here")]

#[path = "../../../benches/compare/figures.rs"]
mod figures;
#[path = "../../../benches/compare/http.rs"]
mod http;
#[path = "../../../benches/compare/machine.rs"]
mod machine;
#[path = "../../../benches/compare/procfs.rs"]
mod procfs;
#[path = "../../../benches/compare/report.rs"]
mod report;
#[path = "../../../benches/compare/said.rs"]
mod said;

mod figures_tests;
mod http_tests;
mod machine_tests;
mod procfs_tests;
mod report_tests;
mod said_tests;
