//! No proxy: an instance with TLS, of the target's own and in the proxy's place. What remains of a
//! latency or a rate without a hop; its CPU is that of an end, not of a relay.

use std::path::Path;

use tempfile::TempDir;

use super::Running;
use crate::house::{House, Instance};

pub async fn start(program: &Path, house: &House, folder: TempDir) -> Result<Running, String> {
    let identity = Some((house.certificate.as_path(), house.key.as_path()));
    let (address, program) =
        Instance::program(program, "direct", house.cpus.proxy, identity, folder.path()).await?;
    Ok(Running { program, address: address.0, admin: None, _folder: folder })
}
