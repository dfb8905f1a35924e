//! Everything that needs a whole gateway, a foreign program or the tree itself. One binary, by area.

#[cfg(feature = "redis")]
mod directory;
mod house;
#[cfg(feature = "redis")]
mod redis_server;
