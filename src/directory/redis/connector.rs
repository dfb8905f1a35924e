//! How a connection to Redis is made: address, TLS, login, greeting.
//!
//! The TCP and TLS streams are made here and handed to the client library, so that no process-wide
//! TLS provider is needed and TCP's own time limits are ours.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo, RedisConnectionInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::keys::Keys;
use super::scripts::Scripts;
use crate::directory::{DirectoryError, OpenError, SCHEMA, Settings};
use crate::lifecycle::Drain;

/// Commands queued in front of one connection.
const QUEUED: usize = 1024;
/// Peer silent for so long with data outstanding: the connection is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes both ways, in clear or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Makes connections.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    login: RedisConnectionInfo,
    keys: Arc<Keys>,
    scripts: Arc<Scripts>,
    drain: Drain,
    stop: CancellationToken,
}

impl Connector {
    pub fn new(
        settings: &Settings,
        keys: Arc<Keys>,
        scripts: Arc<Scripts>,
        drain: Drain,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let bad = |why: String| OpenError::Url(format!("{}: {why}", settings.url_for_logs()));
        let (secure, rest) = match settings.url.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(bad("not redis:// or rediss://".to_owned())),
        };
        if rest.contains('#') {
            return Err(bad("no fragment means anything here".to_owned()));
        }
        let info = format!("redis://{rest}").into_connection_info().map_err(|e| bad(e.to_string()))?;
        let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
            return Err(bad("no host".to_owned()));
        };
        let mut login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &settings.username {
            login = login.set_username(username);
        }
        if let Some(password) = &settings.password {
            login = login.set_password(password.expose());
        }
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|e| bad(e.to_string()))?;
            Some((tls(settings).map_err(bad)?, name))
        } else {
            None
        };
        Ok(Self { host, port, tls, login, keys, scripts, drain, stop })
    }

    /// A connection that is logged in, has our scripts and shows a schema we know. `push` is told
    /// of published messages and of the connection's end; `reply` bounds each command. The
    /// connection ends with its guard.
    pub async fn connect(
        &self,
        reply: Duration,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, DropGuard), DirectoryError> {
        let stream = self.stream().await.map_err(|e| DirectoryError::Unreachable(e.to_string()))?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(reply))
            .set_pipeline_buffer_size(QUEUED)
            .set_push_sender(move |info| {
                push(info);
                Ok::<_, std::convert::Infallible>(())
            });
        let (mut connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config)
            .await
            .map_err(super::failure)?;
        let ends = self.stop.child_token();
        let (until, guard) = (ends.clone(), ends.drop_guard());
        self.drain.spawn(async move { until.run_until_cancelled(driver).await });
        self.scripts.load(&mut connection).await?;
        self.check_schema(&mut connection).await?;
        Ok((connection, guard))
    }

    /// Writes the schema where there is none; refuses one that we do not know.
    pub async fn check_schema(&self, connection: &mut MultiplexedConnection) -> Result<(), DirectoryError> {
        // Read first: a Redis that takes no writes for now can still answer look-ups.
        let get = redis::cmd("GET").arg(&self.keys.schema).to_owned();
        let found: Option<String> = get.query_async(connection).await.map_err(super::failure)?;
        let schema = match found {
            Some(schema) => schema,
            None => {
                let mut write = redis::pipe();
                write.cmd("SET").arg(&self.keys.schema).arg(SCHEMA).arg("NX").ignore().add_command(get);
                let (schema,): (String,) = write.query_async(connection).await.map_err(super::failure)?;
                schema
            }
        };
        if schema == SCHEMA { Ok(()) } else { Err(DirectoryError::Schema(schema)) }
    }

    async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&tcp);
        let keepalive =
            socket2::TcpKeepalive::new().with_time(USER_TIMEOUT).with_interval(Duration::from_secs(5));
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        match &self.tls {
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), tcp).await?)),
            None => Ok(Box::new(tcp)),
        }
    }
}

/// TLS that trusts `settings.ca_file`, or the system's roots.
fn tls(settings: &Settings) -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let said = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| said(&e))? {
                roots.add(certificate.map_err(|e| said(&e))?).map_err(|e| said(&e))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate to trust: neither in directory.ca-file nor in the system".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
