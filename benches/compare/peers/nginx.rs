//! nginx: the stream module, one worker, TLS in. It cannot route by what TLS hides, so it does not: its
//! figures are those of a proxy that does less.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::{Running, configuration};
use crate::house::{House, Leg};
use crate::machine::STREAM_MODULE;

pub async fn start(house: &House, leg: Leg, folder: TempDir) -> Result<Running, String> {
    let address = house.port()?;
    let file = configuration(&folder, "nginx.conf", &text(house, leg, address, folder.path()))?;
    let place = folder.path().to_owned();
    let command = ["nginx".as_ref(), "-p".as_ref(), place.as_os_str(), "-c".as_ref(), file.as_os_str()];
    Running::begin("nginx", house, &command, address, folder).await
}

fn text(house: &House, leg: Leg, address: SocketAddr, folder: &Path) -> String {
    let mut text = String::new();
    if Path::new(STREAM_MODULE).exists() {
        let _ = writeln!(text, "load_module {STREAM_MODULE};");
    }
    let folder = folder.display();
    let mut servers = String::new();
    for instance in house.instances(leg) {
        let _ = write!(servers, " server {};", instance.cira);
    }
    let tls = match leg {
        Leg::Plain => "",
        Leg::Tls => {
            "proxy_ssl on; proxy_ssl_session_reuse off; proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;"
        }
    };
    let _ = write!(
        text,
        "worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log error;
events {{ worker_connections {connections}; }}
stream {{
  upstream instances {{{servers} }}
  server {{
    listen {address} ssl backlog=4096;
    ssl_certificate {pair}; ssl_certificate_key {pair};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519:prime256v1:secp384r1;
    ssl_session_tickets off; ssl_session_cache off;
    proxy_timeout 1h;
    proxy_pass instances;
    {tls}
  }}
}}
",
        connections = house.sessions * 2 + 100,
        pair = house.files.pair.display(),
    );
    text
}
