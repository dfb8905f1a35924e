//! The gateway as it is shipped: default build, memory directory, admin listener open. Logs at `error`,
//! since the peers log nothing, and instances are not protected from the storm that is the test.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::{Running, configuration};
use crate::house::{House, Leg};

pub async fn start(program: &Path, house: &House, leg: Leg, folder: TempDir) -> Result<Running, String> {
    let (address, admin) = (house.port()?, house.port()?);
    let file = configuration(&folder, "gateway.toml", &text(house, leg, address, admin))?;
    let command = [program.as_os_str(), "--config".as_ref(), file.as_ref()];
    let mut running = Running::begin("mps-gateway", house, &command, address, folder).await?;
    running.program.listening(admin).await?;
    running.admin = Some(admin);
    Ok(running)
}

fn text(house: &House, leg: Leg, address: SocketAddr, admin: SocketAddr) -> String {
    let tls = match leg {
        Leg::Plain => "enabled = false".to_owned(),
        Leg::Tls => format!("verify = \"pin\"\npins = [\"{}\"]", house.pin),
    };
    let mut text = format!(
        "[device]\nlisten = [\"{address}\"]\ncertificate = {:?}\nprivate-key = {:?}\n\n\
         [admin]\nlisten = [\"{admin}\"]\n\n\
         [directory]\nurl = \"memory:\"\n\n\
         [drain]\nnotice = \"0s\"\nwindow = \"1s\"\n\n\
         [log]\nfilter = \"error\"\n\n\
         [instances]\nconnects-in-flight = 100000\nconnects-per-second = 1000000\n\n\
         [instances.cira-tls]\n{tls}\n",
        house.files.certificate, house.files.key
    );
    for instance in house.instances(leg) {
        let (name, cira, http) = (&instance.name, instance.cira, instance.http);
        let _ =
            write!(text, "\n[[instances.static]]\nname = {name:?}\ncira = \"{cira}\"\nhttp = \"{http}\"\n");
    }
    text
}
