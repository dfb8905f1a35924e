//! Programs nobody here wrote, on either side of the gateway.

mod meshcentral;
mod tls;

use std::path::PathBuf;

use crate::required::required;

/// Where `tests/peers/{peer}/install` put what it fetched, if it has been run.
fn installed(peer: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("peers").join(peer);
    let found = folder.join(".installed").exists().then_some(folder);
    required(peer, &format!("run tests/peers/{peer}/install"), found)
}
