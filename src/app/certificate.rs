//! The device certificate: read, made up, and looked at again while running.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::error::BindError;
use super::settings::Certificate;
use crate::net::identity::{Identity, IdentityError};
use crate::net::server_tls::ServerTls;
use crate::sim::pki::{Authority, Keys, PkiError};
use crate::telemetry::Metrics;

/// What the device plane shows, and where it came from.
pub struct Shown {
    /// What devices meet.
    pub tls: Arc<ServerTls>,
    from: Certificate,
    /// Fingerprint of the files as last looked at, good or bad.
    seen: Option<u64>,
    metrics: Arc<Metrics>,
}

impl Shown {
    /// Reads the certificate, or makes one up for `name`.
    pub async fn load(from: &Certificate, name: &str, metrics: Arc<Metrics>) -> Result<Self, BindError> {
        let (identity, seen) = match from {
            Certificate::Files { .. } => {
                let Read { seen, identity } = read(from.clone()).await;
                (identity?, seen)
            }
            Certificate::Generated => (generate(name).await?, None),
        };
        note(&metrics, &identity);
        let tls = Arc::new(ServerTls::new(identity)?);
        Ok(Self { tls, from: from.clone(), seen, metrics })
    }

    /// Shows what `from` says from the next handshake on. On failure all stays as it was.
    pub async fn replace(&mut self, from: &Certificate) -> Result<(), IdentityError> {
        if *from == Certificate::Generated {
            return Ok(()); // whatever we show, another one made up would be no better
        }
        let Read { seen, identity } = read(from.clone()).await;
        self.seen = seen;
        let identity = identity?;
        note(&self.metrics, &identity);
        self.tls.replace(identity)?;
        self.from = from.clone();
        Ok(())
    }

    /// Looks whether the files' content is another than when last looked at, and shows it if so.
    /// Whether something new is shown.
    pub async fn look(&mut self) -> bool {
        let from = self.from.clone();
        let seen = blocking(move || fingerprint(&from)).await;
        if seen.is_none() || seen == self.seen {
            return false; // unchanged, or about to be written: the old one is shown meanwhile
        }
        let from = self.from.clone();
        let replaced = self.replace(&from).await;
        match &replaced {
            Ok(()) => info!("device certificate changed"),
            Err(error) => warn!(%error, "the changed device certificate cannot be used: the old one stays"),
        }
        replaced.is_ok()
    }
}

fn note(metrics: &Metrics, identity: &Identity) {
    let expiry = identity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics.certificate_expiry.set(expiry.as_secs_f64());
    let common_name = identity.common_name.as_deref().unwrap_or_default();
    let left = identity.not_after.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
    info!(
        common_name,
        key_bits = identity.key_bits,
        days_left = left.as_secs() / 86_400,
        "device certificate"
    );
}

struct Read {
    seen: Option<u64>,
    identity: Result<Identity, IdentityError>,
}

/// Reads the files of `from`, off the data path. The fingerprint is taken first: what is written in
/// between is seen as a change next time.
async fn read(from: Certificate) -> Read {
    blocking(move || {
        let seen = fingerprint(&from);
        let Certificate::Files { certificate, private_key } = &from else {
            unreachable!("only files are read")
        };
        Read { seen, identity: Identity::load(certificate, private_key) }
    })
    .await
}

fn fingerprint(from: &Certificate) -> Option<u64> {
    let Certificate::Files { certificate, private_key } = from else { return None };
    let mut hasher = DefaultHasher::new();
    let mut add = |path: &PathBuf| std::fs::read(path).map(|content| content.hash(&mut hasher));
    add(certificate).ok()?;
    add(private_key).ok()?;
    Some(hasher.finish())
}

async fn generate(name: &str) -> Result<Identity, PkiError> {
    let name = name.to_owned();
    let identity = blocking(move || {
        let authority = Authority::new(Keys::Rsa, "mps-gateway made up at start")?;
        Ok::<_, PkiError>(authority.issue(&name, &[])?.identity())
    })
    .await?;
    warn!("no device.certificate: one was made up, which no device trusts and no other replica shows");
    Ok(identity)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
