//! mps-gateway: a TLS gateway between Intel AMT devices and many MPS instances.
//!
//! Replicas of one stateless process stand behind a load balancer. A device calls home over CIRA (APF
//! inside TLS) and ends, whichever replica it reaches, at the one instance that holds it. Who holds whom
//! stands in the *directory*, which all replicas share; no other state outlives a process.
//!
//! # The trip of a byte
//!
//! ```text
//! device   net::listener > wire::proxy_protocol > wire::client_hello > net::server_tls > wire::apf
//!          > route (directory: who owns; instances: who is there; placement: who should)
//!          > net::connect > device::guard until proof > directory: claim > net::relay > instance
//! legacy   net::listener > .. > wire::client_hello > route by source > net::relay > instance: device::splice,
//!          if an operator chose it; no guard, no directory
//! request  net::listener > http::server > api::target (which device) > route: the owner through directory
//!          > http::client, or http::pipe after an upgrade > instance
//! ending   SessionError, api::Reason -> reason, blame, loudness -> one log line, counters; guards give back
//!          permit, place, gauge and claim
//! ```
//!
//! [`device`] tells that trip as one itinerary. A claim is made when the instance has said
//! USERAUTH_SUCCESS and before the device hears it: never on the word of a device alone.
//!
//! # The layers
//!
//! Lower ones never import higher ones; a test keeps it. The order of the modules below is theirs.
//!
//! | layer | modules | |
//! |---|---|---|
//! | 0 | [`model`] | the words everyone shares |
//! | 1 | [`wire`], [`placement`] | pure: bytes and values; who should get a device |
//! | 2 | [`telemetry`], [`lifecycle`], [`net`], [`http`] | metrics and logs; phases and drain; bytes between sockets; requests |
//! | 3 | [`sessions`], [`directory`], [`instances`] | who is connected here, who owns what, who is behind us |
//! | 4 | [`route`] | decides where a device goes; claims nothing, dials nobody |
//! | 5 | [`device`], [`api`] | the CIRA plane; REST and WebSockets |
//! | 6 | [`admin`], [`sim`] | what operators ask; simulated devices and instances |
//! | 7 | [`app`] | binds all, runs, drains: the only place that names every plane |
//! | 8 | [`config`] | a file becomes settings, or all its problems at once |
//! | 9 | [`cli`] | one binary, many roles |
//!
//! # Shared state, all of it
//!
//! | what | where | if lost |
//! |---|---|---|
//! | claims and leases | the directory (Redis, or memory for one replica) | written again by those who hold the sessions |
//! | known instances | [`instances`], one snapshot, one writer | read again |
//! | live sessions | [`sessions`], a sharded table, entries taken out by guards | gone with the sockets |
//! | answers seen lately | [`directory::Keeper`], bounded, 3 s | a slower second |
//! | certificates, settings | swapped whole by a reload | read again |

pub mod model;

pub mod placement;
pub mod wire;

pub mod http;
pub mod lifecycle;
pub mod net;
pub mod telemetry;

pub mod directory;
pub mod instances;
pub mod sessions;

pub mod route;

pub mod api;
pub mod device;

pub mod admin;
pub mod sim;

pub mod app;

pub mod config;

pub mod cli;
