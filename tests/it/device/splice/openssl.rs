//! Old TLS as OpenSSL speaks it, on both sides of the gateway: the handshake is theirs alone.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::*;
use crate::required::required;

/// RSA key exchange only, at a security level that allows it.
const CIPHERS: &str = "AES128-SHA:AES256-SHA:@SECLEVEL=0";

/// `openssl`, whatever its distribution thinks of old TLS.
fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments).env("OPENSSL_CONF", "/dev/null").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether there is one.
async fn installed() -> bool {
    let found = openssl(&["version"]).output().await.is_ok_and(|output| output.status.success());
    required("openssl", "apt-get install openssl", found.then_some(())).is_some()
}

/// An instance's CIRA port as old MPS has it: it says back each line reversed.
struct Server {
    _process: Child,
    _listens: Lines<BufReader<ChildStdout>>,
    /// What it says of its connections.
    said: Lines<BufReader<ChildStderr>>,
    address: SocketAddr,
}

impl Server {
    async fn start(folder: &Path, version: &str) -> Self {
        let file = |name: &str| folder.join(name).to_str().expect("a path of text").to_owned();
        let (certificate, key) = (file("mps.crt"), file("mps.key"));
        let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old-mps", "-batch"];
        let into = ["-config", "/dev/null", "-keyout", &key, "-out", &certificate];
        let made = within(openssl(&[&make[..], &into].concat()).output()).await.expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let arguments = ["s_server", "-accept", "127.0.0.1:0", "-cert", &certificate, "-key", &key, "-rev"];
        let mut process =
            openssl(&[&arguments, &[version, "-cipher", CIPHERS][..]].concat()).spawn().expect("it starts");
        let mut listens = BufReader::new(process.stdout.take().expect("piped")).lines();
        let said = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = loop {
            let line =
                within(listens.next_line()).await.expect("readable").expect("it says where it listens");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.parse().expect("an address");
            }
        };
        Self { _process: process, _listens: listens, said, address }
    }
}

/// Says a line inside TLS and answers with everything the client printed until its line came back.
async fn ask(gateway: SocketAddr, version: &str, line: &str) -> String {
    let to = gateway.to_string();
    let client = openssl(&["s_client", "-connect", &to, version, "-cipher", CIPHERS]).spawn();
    let mut client = client.expect("it starts");
    let mut says = client.stdin.take().expect("piped");
    says.write_all(format!("{line}\n").as_bytes()).await.expect("said");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
    let reversed: String = line.chars().rev().collect();
    let mut printed = String::new();
    while let Some(line) = within(lines.next_line()).await.expect("readable") {
        printed += &format!("{line}\n");
        if line == reversed {
            return printed;
        }
    }
    panic!("no answer; it printed\n{printed}");
}

#[tokio::test]
async fn openssl_shakes_hands_with_an_old_instance_through_the_gateway() {
    if !installed().await {
        return;
    }
    for (version, series) in [("-tls1", "tls10"), ("-tls1_1", "tls11"), ("-tls1_2", "tls12")] {
        let folder = TempDir::new().expect("a folder");
        let mut server = Server::start(folder.path(), version).await;
        let gateway = nobody(|_| {}).await;
        let old = Instance { cira: server.address.into(), ..Bare::start("old").await.instance() };
        gateway.instances.replace(paced(vec![old], 1_000));

        let printed = ask(gateway.addr(), version, "a device of 2012").await;
        for expected in ["subject=CN = old-mps", "Server public key is 2048 bit", "Cipher is AES"] {
            assert!(printed.contains(expected), "{version}: {expected} in\n{printed}");
        }
        let at_server = async {
            while let Some(line) = server.said.next_line().await.expect("readable") {
                if line.starts_with("Client cipher list: AES128-SHA") {
                    return;
                }
            }
            panic!("the server saw no handshake");
        };
        within(at_server).await;
        gateway.all_spliced_gone().await;
        let outcome = if series == "tls12" { "suite" } else { "version" };
        let hellos =
            format!("hellos_total{{version=\"{series}\",key_exchange=\"rsa\",outcome=\"{outcome}\"}}");
        assert_eq!((gateway.metric(&hellos), gateway.splice_ended("closed", "device")), (1.0, 1.0));
        assert_eq!(gateway.metric("lookups_total{source=\"directory\",outcome=\"nobody\"}"), 0.0);
    }
}

#[tokio::test]
async fn openssl_is_told_no_where_legacy_tls_is_refused() {
    if !installed().await {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(folder.path(), "-tls1").await;
    let gateway = nobody(|settings| settings.legacy_tls = LegacyTls::Refuse).await;
    let old = Instance { cira: server.address.into(), ..Bare::start("old").await.instance() };
    gateway.instances.replace(paced(vec![old], 1_000));
    let to = gateway.addr().to_string();
    let client = openssl(&["s_client", "-connect", &to, "-tls1", "-cipher", CIPHERS]).output();
    let output = within(client).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("alert protocol version"), "{said}");
    assert_eq!(gateway.metric("instance_connects_total{outcome=\"connected\"}"), 0.0);
}
