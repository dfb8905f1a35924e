//! HTTP/1.1 between sockets: a server, a pooled client, what a proxy changes in a head, and the pipe
//! that a WebSocket becomes. Knows no device; planes decide where a request goes.

pub mod body;
pub mod client;
pub mod forwarded;
pub mod head;
pub mod pipe;
mod pool;
pub mod refusal;
pub mod routes;
pub mod server;
mod watched;
