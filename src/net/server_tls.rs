//! TLS towards devices and clients: rustls with an identity that can be replaced while running.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, UnbufferedServerConnection,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::identity::{Identity, IdentityError, provider};
use super::tls_stream::ServerStream;
use crate::wire::client_hello::LeafKey;

/// Sessions remembered for clients that resume by session id, which rustls does in memory only:
/// about 200 bytes each. Tickets need no memory.
const SESSION_IDS: usize = 4096;

/// A TLS server. Cheap to share; replacing its identity leaves live connections alone.
pub struct ServerTls {
    shown: ArcSwap<Shown>,
    // Outlive the identity: resumption does not show it, so a renewed certificate causes no storm
    // of full handshakes.
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

struct Shown {
    config: Arc<ServerConfig>,
    leaf_key: LeafKey,
    not_after: SystemTime,
}

impl ServerTls {
    /// A server that shows `identity`: TLS 1.2 and 1.3, aws-lc-rs, resumption by ticket and by
    /// session id (a cache of fleet size is not needed: tickets carry the state).
    pub fn new(identity: Identity) -> Result<Self, IdentityError> {
        let tickets = Ticketer::new().map_err(|error| IdentityError::Unusable(error.to_string()))?;
        let sessions = ServerSessionMemoryCache::new(SESSION_IDS);
        let shown = Shown::new(identity, Arc::clone(&tickets), Arc::clone(&sessions) as _)?;
        Ok(Self { shown: ArcSwap::from_pointee(shown), tickets, sessions })
    }

    /// Shows `identity` from the next handshake on.
    pub fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        let shown = Shown::new(identity, Arc::clone(&self.tickets), Arc::clone(&self.sessions))?;
        self.shown.store(Arc::new(shown));
        Ok(())
    }

    /// The kind of key shown now: the hello judge needs it.
    pub fn leaf_key(&self) -> LeafKey {
        self.shown.load().leaf_key
    }

    /// When the leaf shown now ends to be valid.
    pub fn not_after(&self) -> SystemTime {
        self.shown.load().not_after
    }

    /// A stream over `io` that has yet to [`shake`](ServerStream::shake) hands. It is large: keep it in
    /// a box or in a task of its own.
    pub fn stream<S>(&self, io: S) -> io::Result<ServerStream<S>> {
        let config = Arc::clone(&self.shown.load().config);
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(ServerStream::new(io, session))
    }

    /// Shakes hands over `io`. Not bounded in time: callers put a timeout around it.
    ///
    /// Cancelling it drops `io`, and so does an error.
    pub async fn handshake<S>(&self, io: S) -> io::Result<ServerStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = self.stream(io)?;
        // Boxed: the caller's task would carry its room for life.
        Box::pin(stream.shake()).await?;
        Ok(stream)
    }
}

impl Shown {
    fn new(
        identity: Identity,
        tickets: Arc<dyn ProducesTickets>,
        sessions: Arc<dyn StoresServerSessions>,
    ) -> Result<Self, IdentityError> {
        let unusable = |error: rustls::Error| IdentityError::Unusable(error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(identity.chain, identity.key)
            .map_err(unusable)?;
        config.ticketer = tickets;
        config.session_storage = sessions;
        config.send_tls13_tickets = 1; // a device has one connection at a time
        Ok(Self { config: Arc::new(config), leaf_key: identity.leaf_key, not_after: identity.not_after })
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::client;

    use super::*;
    use crate::net::fixtures;

    fn client(version: &'static SupportedProtocolVersion, tickets: bool) -> Arc<ClientConfig> {
        let mut config = fixtures::trusting_client(&[version]);
        if !tickets {
            config.resumption =
                config.resumption.tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
        }
        Arc::new(config)
    }

    async fn meet(
        server: &ServerTls,
        config: &Arc<ClientConfig>,
    ) -> client::TlsStream<tokio::io::DuplexStream> {
        let (near, far) = tokio::io::duplex(65536);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        let name = "localhost".try_into().expect("a name");
        let (client, served) = tokio::join!(connector.connect(name, near), server.handshake(far));
        let (mut client, mut served) = (client.expect("client side"), served.expect("server side"));
        served.write_all(b"x").await.expect("room");
        served.flush().await.expect("room");
        assert_eq!(client.read_u8().await.expect("tickets and a byte"), b'x');
        client
    }

    #[tokio::test]
    async fn both_versions_are_served_and_resumed_by_ticket_or_session_id() {
        let server = ServerTls::new(fixtures::leaf().identity()).expect("a good identity");
        for (version, tickets) in [
            (&rustls::version::TLS12, true),
            (&rustls::version::TLS12, false),
            (&rustls::version::TLS13, true),
        ] {
            let config = client(version, tickets);
            let first = meet(&server, &config).await;
            assert_eq!(first.get_ref().1.protocol_version(), Some(version.version));
            assert_eq!(first.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            let second = meet(&server, &config).await;
            assert_eq!(second.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        }
    }

    #[tokio::test]
    async fn a_replaced_identity_is_shown_to_the_next_and_tickets_stay_good() {
        let first = fixtures::leaf();
        let server = ServerTls::new(first.identity()).expect("a good identity");
        let config = client(&rustls::version::TLS13, true);
        let shown =
            |stream: &client::TlsStream<_>| stream.get_ref().1.peer_certificates().map(|c| c[0].clone());
        assert_eq!(shown(&meet(&server, &config).await), Some(first.chain()[0].clone()));
        let second = fixtures::Leaf::ecdsa("other");
        server.replace(second.identity()).expect("a good identity");
        let resumed = meet(&server, &config).await;
        assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        let fresh = meet(&server, &client(&rustls::version::TLS13, true)).await;
        assert_eq!(shown(&fresh), Some(second.chain()[0].clone()));
        assert_eq!(fresh.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
}
