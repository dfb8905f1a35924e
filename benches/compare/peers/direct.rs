//! No proxy: an instance with TLS, of the target's own and in the proxy's place. What remains of a
//! latency or a rate without a hop; its CPU is that of an end, not of a relay.

use std::path::Path;

use tempfile::TempDir;

use super::Running;
use crate::house::{House, Instances};

pub async fn start(program: &Path, house: &House, folder: TempDir) -> Result<Running, String> {
    let identity = Some(house.files.identity());
    let Instances { program, list } =
        Instances::start(program, "direct", 1, house.cpus.proxy, identity, folder.path()).await?;
    Ok(Running { program, address: list[0].cira, admin: None, _folder: folder })
}
