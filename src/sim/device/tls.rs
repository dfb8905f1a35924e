//! The TLS client of a device: trusts one root and one common name, sends no name of its own.

use std::io;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion,
};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::net::batch::Scratch;
use crate::net::records::Records;
use crate::net::verifier::{Judge, Shown, Verifier};

/// Whom a device trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Anybody.
    Anything,
    /// A leaf that this root issued, with this common name if one is given: as AMT does.
    Root {
        /// The root that was installed.
        root: CertificateDer<'static>,
        /// The name of the server that was configured.
        common_name: Option<String>,
    },
    /// As [`Trust::Root`], with any of several roots.
    Roots {
        /// The roots.
        roots: Vec<CertificateDer<'static>>,
        /// The name of the server that was configured.
        common_name: Option<String>,
    },
}

/// Which versions of TLS a device speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    Both,
    /// TLS 1.2: what current firmware is known to speak.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&rustls::version::TLS12, &rustls::version::TLS13],
            Self::Tls12 => vec![&rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

/// The one cipher a device offers, with whatever key exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AesBits {
    /// AES-128-GCM.
    Aes128,
    /// AES-256-GCM.
    Aes256,
}

impl AesBits {
    fn is_of(self, suite: CipherSuite) -> bool {
        use CipherSuite as Suite;
        match self {
            Self::Aes128 => matches!(
                suite,
                Suite::TLS13_AES_128_GCM_SHA256
                    | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            ),
            Self::Aes256 => matches!(
                suite,
                Suite::TLS13_AES_256_GCM_SHA384
                    | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                    | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            ),
        }
    }
}

/// How a device speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Whom it trusts.
    pub trust: Trust,
    /// Which versions it offers.
    pub versions: Versions,
    /// Which key-exchange groups it offers; `None`: all we have.
    pub groups: Option<Vec<NamedGroup>>,
    /// Which key lengths of AES-GCM it offers, in bits, and nothing else; `None`: every suite we have.
    pub aes: Option<AesBits>,
    /// Whether it resumes earlier sessions.
    pub resume: bool,
}

impl TlsSettings {
    /// TLS 1.2, every group, no resumption.
    pub const fn trusting(trust: Trust) -> Self {
        Self { trust, versions: Versions::Tls12, groups: None, aes: None, resume: false }
    }
}

/// The TLS client of devices. Cheap to clone: thousands of devices share one.
#[derive(Clone)]
pub struct DeviceTls {
    config: Arc<ClientConfig>,
}

impl DeviceTls {
    /// Fails if the root is no certificate, or if no group is left.
    pub fn new(settings: &TlsSettings) -> Result<Self, rustls::Error> {
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        if let Some(groups) = &settings.groups {
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
        }
        if let Some(aes) = settings.aes {
            provider.cipher_suites.retain(|suite| aes.is_of(suite.suite()));
        }
        let algorithms = provider.signature_verification_algorithms;
        let trusted = match &settings.trust {
            Trust::Anything => Trusted::Anything,
            Trust::Root { root, common_name } => Trusted::roots(slice::from_ref(root), common_name)?,
            Trust::Roots { roots, common_name } => Trusted::roots(roots, common_name)?,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&settings.versions.list())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(trusted, algorithms)))
            .with_no_client_auth();
        config.enable_sni = false; // AMT sends none
        if !settings.resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { config: Arc::new(config) })
    }

    /// Trusts anybody: for tests that are about something else.
    pub fn trusting_anything() -> Self {
        Self::new(&TlsSettings::trusting(Trust::Anything)).expect("the defaults of the provider fit together")
    }

    /// Shakes hands over `io`. Not bounded in time.
    pub async fn handshake<S>(&self, io: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Box::pin(TlsConnector::from(Arc::clone(&self.config)).connect(nobody(), io)).await
    }

    /// A session that has yet to begin, for [`ClientStream`](crate::net::tls_stream::ClientStream): it
    /// holds less while idle than what [`DeviceTls::handshake`] makes.
    pub fn session(&self) -> Result<UnbufferedClientConnection, rustls::Error> {
        UnbufferedClientConnection::new(Arc::clone(&self.config), nobody())
    }
}

/// Names are not sent, and not looked at.
fn nobody() -> ServerName<'static> {
    ServerName::try_from("device.invalid").expect("a DNS name")
}

impl Judge for Trusted {
    fn judge(&self, shown: Shown<'_>) -> Result<(), rustls::Error> {
        let Self::Root { roots, common_name } = self else { return Ok(()) };
        shown.chains_to(roots)?;
        if common_name.as_ref().is_some_and(|wanted| !is_called(shown.leaf, wanted)) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(())
    }
}

/// [`Trust`], ready to judge.
#[derive(Debug)]
enum Trusted {
    Anything,
    Root { roots: RootCertStore, common_name: Option<String> },
}

impl Trusted {
    fn roots(of: &[CertificateDer<'static>], common_name: &Option<String>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in of {
            roots.add(root.clone())?;
        }
        Ok(Self::Root { roots, common_name: common_name.clone() })
    }
}

/// Firmware looks at the common name, whatever alternative names there are.
fn is_called(leaf: &CertificateDer<'_>, wanted: &str) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| {
        leaf.subject().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == wanted))
    })
}

/// Devices read record by record, too.
impl<S: AsyncRead + AsyncWrite + Unpin> Records for TlsStream<S> {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        let taken = match ready!(Pin::new(&mut *self).poll_fill_buf(cx)) {
            Ok(record) => {
                scratch.batch.push(record);
                record.len()
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Pin::new(self).consume(taken);
        Poll::Ready(Ok(()))
    }
}
