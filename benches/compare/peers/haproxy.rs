//! HAProxy: one thread, TLS in, waits for the 93 bytes with which a device begins and routes by the GUID
//! in them. Like the gateway it needs neither tickets nor a session cache: devices never resume.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::{Running, configuration};
use crate::house::{House, Leg};

pub async fn start(house: &House, leg: Leg, folder: TempDir) -> Result<Running, String> {
    let address = house.port()?;
    let file = configuration(&folder, "haproxy.cfg", &text(house, leg, address))?;
    let command = ["haproxy".as_ref(), "-f".as_ref(), file.as_os_str()];
    Running::begin("haproxy", house, &command, address, folder).await
}

fn text(house: &House, leg: Leg, address: SocketAddr) -> String {
    let mut text = format!(
        "global
  nbthread 1
  maxconn {sessions}
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
  ssl-default-bind-curves X25519:P-256:P-384
  ssl-default-server-ciphersuites TLS_AES_256_GCM_SHA384
  tune.ssl.cachesize 0
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend devices
  bind {address} ssl crt {pair} backlog 4096
  tcp-request inspect-delay 10s
  tcp-request content accept if {{ req.len ge 93 }}
  use_backend mps-%[req.payload(13,16),hex,map({map})]
",
        sessions = house.sessions,
        pair = house.files.pair.display(),
        map = house.files.map.display(),
    );
    let tls = match leg {
        Leg::Plain => "",
        Leg::Tls => " ssl verify none no-tls-tickets",
    };
    for (number, instance) in house.instances(leg).iter().enumerate() {
        let (name, cira) = (&instance.name, instance.cira);
        let _ = write!(text, "backend mps-{number}\n  server {name} {cira}{tls}\n");
    }
    text
}
