//! The TLS client of a device: trusts one root and one common name, sends no name of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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

/// How a device speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Whom it trusts.
    pub trust: Trust,
    /// Which versions it offers.
    pub versions: Versions,
    /// Which key-exchange groups it offers; `None`: all we have.
    pub groups: Option<Vec<NamedGroup>>,
    /// Whether it resumes earlier sessions.
    pub resume: bool,
}

impl TlsSettings {
    /// TLS 1.2, every group, no resumption.
    pub const fn trusting(trust: Trust) -> Self {
        Self { trust, versions: Versions::Tls12, groups: None, resume: false }
    }
}

/// The TLS client of devices. Cheap to clone: thousands of devices share one.
#[derive(Clone)]
pub struct DeviceTls {
    connector: TlsConnector,
}

impl DeviceTls {
    /// Fails if the root is no certificate, or if no group is left.
    pub fn new(settings: &TlsSettings) -> Result<Self, rustls::Error> {
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        if let Some(groups) = &settings.groups {
            provider.kx_groups.retain(|group| groups.contains(&group.name()));
        }
        let algorithms = provider.signature_verification_algorithms;
        let trusted = match &settings.trust {
            Trust::Anything => Trusted::Anything,
            Trust::Root { root, common_name } => {
                let mut roots = RootCertStore::empty();
                roots.add(root.clone())?;
                Trusted::Root { roots, common_name: common_name.clone() }
            }
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
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
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
        let nobody = ServerName::try_from("device.invalid").expect("a DNS name");
        Box::pin(self.connector.connect(nobody, io)).await
    }
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

/// Firmware looks at the common name, whatever alternative names there are.
fn is_called(leaf: &CertificateDer<'_>, wanted: &str) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| {
        leaf.subject().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == wanted))
    })
}

/// Devices read record by record, too.
impl<S: AsyncRead + AsyncWrite + Unpin> Records for TlsStream<S> {
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let taken = match ready!(Pin::new(&mut *self).poll_fill_buf(cx)) {
            Ok(record) => {
                let taken = record.len().min(scratch.len());
                scratch[..taken].copy_from_slice(&record[..taken]);
                taken
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Pin::new(self).consume(taken);
        Poll::Ready(Ok(taken))
    }
}
