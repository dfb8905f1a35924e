//! The TLS client of a device: trusts one root and one common name, sends no name of its own.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
        let roots = match &settings.trust {
            Trust::Anything => None,
            Trust::Root { root, common_name } => {
                let mut store = RootCertStore::empty();
                store.add(root.clone())?;
                Some((store, common_name.clone()))
            }
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&settings.versions.list())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { roots, algorithms }))
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

#[derive(Debug)]
struct Verifier {
    roots: Option<(RootCertStore, Option<String>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some((roots, common_name)) = &self.roots {
            let leaf = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)?;
            if common_name.as_ref().is_some_and(|wanted| !is_called(end_entity, wanted)) {
                return Err(CertificateError::NotValidForName.into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Firmware looks at the common name, whatever alternative names there are.
fn is_called(leaf: &CertificateDer<'_>, wanted: &str) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, leaf)| {
        leaf.subject().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == wanted))
    })
}
