//! The hot parts, each beside a floor that does the least anybody could: read the ratios, not the times.
//!
//! `cargo bench --bench hot [-- FILTER]` measures and ends with a table of ratios; with `-- --test`
//! everything runs once, so that it cannot rot.

mod claim;
mod guard;
mod hello;
mod look_up;
mod placement;
mod relay;
mod table;

use table::Table;

/// As `main.rs` has it: what an allocation costs is part of the figures.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut table = Table::from_args();
    hello::measure(&mut table);
    guard::measure(&mut table);
    placement::measure(&mut table);
    claim::measure(&mut table);
    look_up::measure(&mut table);
    relay::measure(&mut table);
    table.print();
}
