//! The command line, as a supervisor and as an operator see it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mps_gateway::model::Endpoint;
use mps_gateway::net::connect::{Leg, connect};
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::sim::pki::{Authority, Keys, Leaf};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::gateway::{Gateway, LIMIT, output, within};

/// A folder with files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A fresh leaf as `{name}.crt` and `{name}.key`.
    fn leaf(&self, name: &str) -> Leaf {
        let authority = Authority::new(Keys::P256, "root").expect("made");
        let leaf = authority.issue("mps.example.com", &[]).expect("made");
        self.write(&format!("{name}.crt"), leaf.pem());
        self.write(&format!("{name}.key"), leaf.key_pem().expose());
        leaf
    }
}

/// What every gateway of these tests has: free ports, a quick drain.
fn config(drain: &str) -> String {
    format!(
        "[device]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"cira.crt\"\nprivate-key = \"cira.key\"\n\
         [admin]\nlisten = [\"127.0.0.1:0\"]\n[drain]\n{drain}\n"
    )
}

async fn check(folder: &Folder, text: &str) -> (Option<i32>, String, String) {
    let file = folder.write("gateway.toml", text);
    output(&["check-config", "--config", file.to_str().expect("text")]).await
}

#[tokio::test]
async fn ten_mistakes_are_reported_at_once_with_line_and_cure() {
    let folder = Folder::new();
    let text = "[device]\nlisten = [\"4433\"]\nhold = \"soon\"\nmax-connections = \"many\"\nmax-preauth = 0\n\
                proxy-from = [\"10.0.0.0/33\"]\ncolour = \"blue\"\n[instances.cira-tls]\npins = [\"md5:00\"]\n\
                [[instances.static]]\nname = \"mps 1\"\n[directory]\nurl = \"http://redis\"\n[drain]\nwindow = 120\n";
    let (code, out, error) = check(&folder, text).await;
    assert_eq!((code, out.as_str()), (Some(78), ""), "{error}");
    for (line, key, cure) in [
        (2, "device.listen", "write address and port"),
        (3, "device.hold", "write a duration"),
        (4, "device.max-connections", "write a whole number"),
        (5, "device.max-preauth", "write a whole number from 1"),
        (6, "device.proxy-from", "write a network"),
        (7, "device.colour", "prints all keys"),
        (9, "instances.cira-tls.pins", "mps-gateway pin HOST:PORT"),
        (11, "instances.static.name", "write the name MPS uses"),
        (13, "directory.url", "write memory:"),
        (15, "drain.window", "write a duration"),
    ] {
        let start = format!("gateway.toml: line {line}: {key}: ");
        let found = error.lines().find(|said| said.contains(&start));
        assert!(found.is_some_and(|said| said.contains(cure)), "{start} {cure}\nin\n{error}");
    }
    let file = folder.path().join("gateway.toml");
    let (code, _, run) = output(&["--config", file.to_str().expect("text")]).await;
    assert_eq!((code, run), (Some(78), error), "the gateway itself says the same");
}

#[tokio::test]
async fn a_missing_or_mismatched_key_is_a_problem_of_the_configuration() {
    let folder = Folder::new();
    folder.leaf("cira");
    folder.leaf("other");
    for (key, line, expected) in [
        (
            "private-key = \"none.key\"",
            "line 4: device.private-key: cannot read ",
            "write the path of a PEM file",
        ),
        (
            "private-key = \"other.key\"",
            "line 4: device.private-key: the private key does not belong",
            "name the key",
        ),
        (
            "private-key = \"cira.crt\"",
            "line 4: device.private-key: no private key found",
            "name the PEM file",
        ),
        ("", "device.private-key: missing beside device.certificate", "name the PEM file of its key"),
    ] {
        let text = format!("[directory]\n[device]\ncertificate = \"cira.crt\"\n{key}\n");
        let (code, _, error) = check(&folder, &text).await;
        assert_eq!(code, Some(78), "{error}");
        assert!(error.contains(line) && error.contains(expected), "{line} .. {expected}\nin\n{error}");
    }
    let (code, _, error) = check(&folder, "[device]\n[directory]\nurl = \"redis://127.0.0.1\"\n").await;
    assert_eq!(code, Some(78));
    assert!(error.contains("device.certificate: missing, and the directory is shared"), "{error}");
}

#[tokio::test]
async fn a_good_configuration_is_summed_up_and_remarked_on() {
    let folder = Folder::new();
    folder.leaf("cira");
    let (code, out, error) = check(&folder, &config("")).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("configuration OK\n") && out.contains("CN mps.example.com"), "{out}");
    assert!(
        error.contains("warning: line 3: device.certificate: its key is ECDSA; most firmware"),
        "{error}"
    );
    let (code, reference, _) = output(&["check-config", "--reference"]).await;
    assert_eq!((code, reference.as_str()), (Some(0), include_str!("../../config/reference.toml")));
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_usage_error() {
    for arguments in [&["frobnicate"][..], &["--colour"], &["pin"]] {
        let (code, _, error) = output(arguments).await;
        assert_eq!(code, Some(64), "{arguments:?}: {error}");
    }
    let (code, version, _) = output(&["--version"]).await;
    assert_eq!(code, Some(0));
    assert!(version.starts_with(concat!("mps-gateway ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    let (code, _, error) = output(&["--config", "/nonexistent.toml"]).await;
    assert_eq!(code, Some(78));
    assert!(error.contains("cannot read the configuration: ") && error.contains("--config"), "{error}");
}

#[tokio::test]
async fn of_several_addresses_the_taken_one_is_named_and_nothing_is_served() {
    let folder = Folder::new();
    folder.leaf("cira");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for (plane, section) in [("device", "[device]\n"), ("admin", "[admin]\n")] {
        let free = format!("{section}listen = [\"127.0.0.1:0\"]");
        let text = config("").replace(&free, &format!("{section}listen = [\"127.0.0.1:0\", \"{address}\"]"));
        assert!(text.contains(&address), "{text}");
        let file = folder.write("gateway.toml", &text);
        let mut gateway = Gateway::start(&file, &[]);
        gateway.logged(&format!("{plane}.listen: cannot listen on {address}: ")).await;
        assert_eq!(gateway.ended().await, Some(69));
    }
}

#[tokio::test]
async fn sigterm_drains_and_exits_0() {
    let folder = Folder::new();
    folder.leaf("cira");
    let mut gateway = Gateway::serve(folder.path(), &config("notice = \"1s\"\nwindow = \"2s\"")).await;
    let admin = gateway.address("admin").await;
    let asked = folder.write("health.toml", &format!("[admin]\nlisten = [\"{admin}\"]\n"));
    let health = ["health", "--config", asked.to_str().expect("text")];
    let (code, out, error) = output(&health).await;
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("\"ready\":true"), "{out}");

    gateway.signal("TERM").await;
    gateway.logged("leaving: not ready, still accepting").await;
    let device = gateway.address("device").await;
    within("still accepting", tokio::net::TcpStream::connect(device)).await.expect("it accepts");
    let (code, out, _) = output(&health).await;
    assert_eq!(code, Some(1), "not ready: {out}");
    gateway.logged("no longer accepting").await;
    assert_eq!(gateway.ended().await, Some(0));
    let (code, _, error) = output(&health).await;
    assert_eq!(code, Some(1), "nobody is there: {error}");
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let folder = Folder::new();
    folder.leaf("cira");
    let mut gateway = Gateway::serve(folder.path(), &config("notice = \"1h\"\nwindow = \"1h\"")).await;
    gateway.signal("TERM").await;
    gateway.logged("leaving: not ready").await;
    gateway.signal("INT").await;
    assert_eq!(gateway.ended().await, Some(1));
}

/// A TLS connection to the device plane, if it shows `leaf`.
async fn meets(gateway: &mut Gateway, leaf: &Leaf) -> Option<Leg> {
    let client = InstanceTls::new(&Verify::Pin(leaf.pins().to_vec())).expect("a client");
    let endpoint = Endpoint::from(gateway.address("device").await);
    connect(&endpoint, Some(&client), LIMIT).await.ok()
}

#[tokio::test]
async fn sighup_shows_another_certificate_and_leaves_connections_alone() {
    let folder = Folder::new();
    let old = folder.leaf("cira");
    let mut gateway = Gateway::serve(folder.path(), &config("notice = \"0s\"\nwindow = \"1s\"")).await;
    let Some(Leg::Tls(mut before)) = meets(&mut gateway, &old).await else { panic!("the old leaf is shown") };

    let new = folder.leaf("cira");
    gateway.signal("HUP").await;
    gateway.logged("reloaded").await;
    assert!(meets(&mut gateway, &new).await.is_some(), "the new leaf is shown");
    assert!(meets(&mut gateway, &old).await.is_none(), "and the old one no more");
    let silent = timeout(Duration::from_millis(200), before.read_u8()).await;
    assert!(silent.is_err(), "the old connection lives: {silent:?}");

    // A broken one is refused as a whole: what is shown stays.
    folder.write("cira.key", "half a key");
    gateway.signal("HUP").await;
    gateway.logged("not reloaded: everything stays as it was").await;
    assert!(meets(&mut gateway, &new).await.is_some());
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn a_reload_names_the_keys_that_need_a_restart() {
    let folder = Folder::new();
    folder.leaf("cira");
    let mut gateway = Gateway::serve(folder.path(), &config("notice = \"0s\"\nwindow = \"1s\"")).await;
    folder.write("gateway.toml", &config("notice = \"0s\"\nwindow = \"9s\""));
    gateway.signal("HUP").await;
    let line = gateway.logged("reloaded").await;
    assert_eq!(line["restart"], serde_json::json!("[\"drain.window\"]"), "{line}");
}

#[tokio::test]
async fn the_environment_alone_can_open_a_plane() {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", "[admin]\nlisten = [\"127.0.0.1:0\"]\n");
    let mut gateway = Gateway::start(&file, &[("MPS_GATEWAY__DEVICE__LISTEN", "127.0.0.1:0,[::1]:0")]);
    let line = gateway.logged("serving").await;
    assert_eq!(line["device"].as_str().map(|all| all.split(", ").count()), Some(2), "{line}");
    gateway.logged("one was made up").await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_directory_of_an_unknown_version_is_refused_and_left_alone() {
    let Some(server) = crate::redis_server::RedisServer::start().await else { return };
    let _: String = server.command(&["SET", "mpsgw:{reg}:schema", "2"]).await;
    let folder = Folder::new();
    folder.leaf("cira");
    let text = format!("{}[directory]\nurl = \"{}\"\n", config(""), server.url());
    let mut gateway = Gateway::start(&folder.write("gateway.toml", &text), &[]);
    gateway.logged("the directory's schema is version \"2\", this program knows version 1").await;
    assert_eq!(gateway.ended().await, Some(76));
    let schema: String = server.command(&["GET", "mpsgw:{reg}:schema"]).await;
    assert_eq!(schema, "2");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_directory_that_is_away_is_a_reason_and_no_obstacle() {
    let folder = Folder::new();
    folder.leaf("cira");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let text =
        format!("{}[directory]\nurl = \"redis://{free}\"\n", config("notice = \"0s\"\nwindow = \"1s\""));
    let mut gateway = Gateway::serve(folder.path(), &text).await;
    let admin = gateway.address("admin").await;
    let asked = folder.write("health.toml", &format!("[admin]\nlisten = [\"{admin}\"]\n"));
    let (code, out, _) = output(&["health", "--config", asked.to_str().expect("text")]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("directory-unreachable"), "{out}");
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
}
