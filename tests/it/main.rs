//! Everything that needs a whole gateway, a foreign program or the tree itself. One binary, by area.

mod api;
mod cli;
mod compare;
mod device;
#[cfg(feature = "redis")]
mod directory;
#[cfg(feature = "redis")]
mod fleet;
mod gateway;
mod house;
mod http;
mod peers;
mod process;
#[cfg(feature = "redis")]
mod redis_faults;
#[cfg(feature = "redis")]
mod redis_server;
mod required;
mod session_lines;
mod simulate;
