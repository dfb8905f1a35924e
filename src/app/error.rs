//! Why a gateway cannot start.

use std::io;
use std::net::SocketAddr;

use crate::directory::OpenError;
use crate::net::identity::IdentityError;
use crate::sim::pki::PkiError;

/// Why a gateway cannot start. Nothing has been accepted yet.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on: most often another program does.
    #[error("{key}: cannot listen on {address}: {source}")]
    Address {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The device certificate cannot be used.
    #[error("device.certificate: {0}")]
    Certificate(#[from] IdentityError),
    /// The directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// A certificate cannot be made up.
    #[error("device.certificate: {0}")]
    Generate(#[from] PkiError),
    /// TLS towards instances cannot be set up.
    #[error("instances.cira-tls: {0}")]
    InstanceTls(rustls::Error),
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What we wanted.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}
