//! mps-gateway.

pub mod model;

pub mod placement;
pub mod wire;

pub mod lifecycle;
pub mod net;
pub mod telemetry;

pub mod directory;
pub mod instances;
pub mod sessions;

pub mod route;

pub mod device;

pub mod admin;
pub mod sim;

pub mod app;

pub mod config;

pub mod cli;
