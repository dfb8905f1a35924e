//! MPS's `MPSCerts` secret: what `certificates.ts` stores in Vault at the first start of MPS.

use serde_json::Value;

use crate::model::Secret;
use crate::net::identity::{Identity, IdentityError};

/// Longest secret taken, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// The parts of the secret that a gateway needs.
#[derive(Debug)]
pub struct Imported {
    /// Leaf and key, checked: they belong together.
    pub identity: Identity,
    /// The leaf, PEM.
    pub leaf: String,
    /// Its key, PEM.
    pub key: Secret,
    /// The root that issued it, PEM.
    pub root: String,
}

/// Why a secret cannot be split.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but not this secret.
    #[error("no \"mps_tls_config\" in it: is this the secret MPSCerts?")]
    Other,
    /// A part is missing.
    #[error("\"{0}\" is missing or no text")]
    Missing(&'static str),
    /// Leaf or key cannot be used.
    #[error("mps_tls_config: {0}")]
    Identity(#[source] IdentityError),
    /// The root cannot be used, or did not issue the leaf.
    #[error("web_tls_config.ca: {0}")]
    Root(#[source] IdentityError),
}

/// Splits the secret, with Vault's envelope (one `data` for KV version 1, two for version 2) or without.
pub fn import(json: &[u8]) -> Result<Imported, ImportError> {
    let whole: Value = serde_json::from_slice(json)?;
    let secret = [Some(&whole), whole.get("data"), whole.pointer("/data/data")]
        .into_iter()
        .flatten()
        .find(|value| value.get("mps_tls_config").is_some())
        .ok_or(ImportError::Other)?;
    let leaf = text(secret, "/mps_tls_config/cert", "mps_tls_config.cert")?;
    let key = Secret::new(text(secret, "/mps_tls_config/key", "mps_tls_config.key")?);
    let root = text(secret, "/web_tls_config/ca", "web_tls_config.ca")?;
    let identity =
        Identity::from_pem(leaf.as_bytes(), key.expose().as_bytes()).map_err(ImportError::Identity)?;
    // The root must have issued the last of the chain that MPS shows: else no device would trust it.
    let chain = format!("{leaf}{root}");
    Identity::from_pem(chain.as_bytes(), key.expose().as_bytes()).map_err(ImportError::Root)?;
    Ok(Imported { identity, leaf, key, root })
}

/// A PEM text, or a list of them, which Node takes as well; with one line end at the end.
fn text(secret: &Value, pointer: &str, name: &'static str) -> Result<String, ImportError> {
    let value = secret.pointer(pointer).ok_or(ImportError::Missing(name))?;
    let parts = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut all = String::new();
    for part in parts {
        let part = part.as_str().map(str::trim).filter(|part| !part.is_empty());
        all.push_str(&part.ok_or(ImportError::Missing(name))?.replace("\r\n", "\n"));
        all.push('\n');
    }
    if all.is_empty() { Err(ImportError::Missing(name)) } else { Ok(all) }
}
