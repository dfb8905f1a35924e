//! The one line that a session leaves in the log, of a gateway as operators run it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use mps_gateway::model::{DeviceId, Secret};
use mps_gateway::sim::device::RawDevice;
use mps_gateway::sim::mps::{Account, Database, Mps, MpsSettings};
use mps_gateway::sim::pki::{Authority, Keys};
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, UserauthRequest};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Gateway, within};

/// What every such line has.
const ALWAYS: [&str; 9] =
    ["source", "stage", "reason", "blame", "seconds", "from_device", "from_instance", "error", "message"];
/// What only those have that came so far.
const KNOWN_LATER: [&str; 4] = ["device", "instance", "hello", "spliced"];
/// What the log itself adds to any line.
const OF_THE_LOG: [&str; 3] = ["timestamp", "level", "target"];

const USER: &str = "console-login";
const PASSWORD: &str = "Tr0ub4dor&3";
const STRANGER: &str = "somebody-else";
const GUESS: &str = "correct-horse";

/// A gateway before one MPS, that logs sessions of no interest too.
async fn gateway(folder: &std::path::Path) -> (Gateway, Mps) {
    let authority = Authority::new(Keys::P256, "root").expect("a root");
    let leaf = authority.issue("mps.example.com", &[]).expect("a leaf");
    std::fs::write(folder.join("cira.crt"), leaf.pem()).expect("written");
    std::fs::write(folder.join("cira.key"), leaf.key_pem().expose()).expect("written");
    let account = Account { user: USER.into(), password: Secret::new(PASSWORD), ..Account::default() };
    let database = Arc::new(Database::of_everyone(account));
    let mps = MpsSettings::new("mps-0", Some(leaf.identity()), database);
    let mps = Mps::start(mps).await.expect("an MPS on ports of the kernel's choice");
    let text = format!(
        "[device]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"cira.crt\"\nprivate-key = \"cira.key\"\n\
         [drain]\nnotice = \"0s\"\nwindow = \"5s\"\n\
         [log]\nfilter = \"info,mps_gateway::session=debug\"\n\
         [instances.cira-tls]\npins = [\"{}\"]\n\
         [[instances.static]]\nname = \"mps-0\"\ncira = \"{}\"\nhttp = \"{}\"\n",
        leaf.pins()[0],
        mps.cira(),
        mps.http()
    );
    (Gateway::serve(folder, &text).await, mps)
}

fn device(last: u8) -> DeviceId {
    let mut bytes = [0x4c; 16];
    bytes[15] = last;
    DeviceId::from_bytes(bytes)
}

/// Logs in, offers a port, leaves.
async fn ends_well(at: SocketAddr) -> SocketAddr {
    let mut raw = RawDevice::connect(at).await.expect("a handshake");
    let source = raw.tcp().local_addr().expect("connected");
    raw.log_in(device(1), USER, &Secret::new(PASSWORD)).await.expect("a good login");
    raw.offer(&[16992]).await.expect("the relay works");
    raw.into_stream().shutdown().await.expect("close_notify");
    source
}

/// Three wrong passwords.
async fn is_refused(at: SocketAddr) -> SocketAddr {
    let mut raw = RawDevice::connect(at).await.expect("a handshake");
    let source = raw.tcp().local_addr().expect("connected");
    raw.greet(device(2)).await.expect("said");
    raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE }).await.expect("heard");
    for _ in 0..3 {
        let login = UserauthRequest::password(STRANGER.as_bytes(), GUESS.as_bytes());
        raw.say(&Message::UserauthRequest(login)).await.expect("said");
        raw.expect(15).await.expect("a failure, as MPS pads it");
    }
    raw.closed().await.expect("closed");
    source
}

/// No TLS at all, and a password for all that.
async fn says_no_hello(at: SocketAddr) -> SocketAddr {
    let mut tcp = TcpStream::connect(at).await.expect("it listens");
    let source = tcp.local_addr().expect("connected");
    tcp.write_all(format!("USER {STRANGER} PASS {GUESS}\r\n").as_bytes()).await.expect("said");
    let _ = tcp.read(&mut [0; 64]).await; // closed, with a reset or without
    source
}

/// The lines of sessions in `log`.
fn lines(log: &[Value]) -> Vec<Value> {
    log.iter().filter(|line| line["target"] == "mps_gateway::session").cloned().collect()
}

#[tokio::test]
async fn every_session_leaves_one_line_with_the_documented_fields_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut gateway, _mps) = gateway(folder.path()).await;
    let at = gateway.address("device").await;
    let sources = [
        within("a good session", ends_well(at)).await,
        within("a refused login", is_refused(at)).await,
        within("a bad hello", says_no_hello(at)).await,
    ];
    gateway.signal("TERM").await;
    gateway.logged("drained").await; // nothing more is said of sessions
    let log = gateway.log();

    let lines = lines(&log);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let of = |source: SocketAddr| {
        let mut found = lines.iter().filter(|line| line["source"] == source.to_string());
        found.next().unwrap_or_else(|| panic!("no line of {source}: {lines:#?}"))
    };
    let [good, refused, bad] = sources.map(of);
    let told = |line: &Value| {
        let texts = ["device", "instance", "hello", "stage", "reason", "blame"];
        texts.map(|field| line[field].as_str().unwrap_or("-").to_owned())
    };
    let (one, two) = (device(1).to_string(), device(2).to_string());
    assert_eq!(told(good), [&one, "mps-0", "tls12", "proven", "closed", "device"]);
    assert_eq!(told(refused), [&two, "mps-0", "tls12", "proof", "login-failures", "device"]);
    assert_eq!(told(bad), ["-", "-", "-", "hello", "garbage", "device"]);
    let count = |line: &Value, field: &str| line[field].as_u64().expect("a number of bytes");
    assert!(count(good, "from_device") > 93 && count(good, "from_instance") > 1, "{good}");
    assert_eq!((count(bad, "from_device"), count(bad, "from_instance")), (0, 0));
    for line in &lines {
        assert!((0.0..60.0).contains(&line["seconds"].as_f64().expect("seconds")), "{line}");
        fields_are_documented(line);
    }
    for line in &log {
        let text = line.to_string();
        for secret in [USER, PASSWORD, STRANGER, GUESS] {
            assert!(!text.contains(secret), "{secret:?} is told: {text}");
        }
    }
}

/// No field is missing, none is there that the README does not name.
fn fields_are_documented(line: &Value) {
    let fields: BTreeSet<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
    assert!(ALWAYS.iter().all(|field| fields.contains(field)), "{fields:?}");
    let readme = include_str!("../../README.md");
    let (_, paragraph) = readme.split_once("**One line a session**").expect("the README has its word on it");
    let (paragraph, _) = paragraph.split_once("\n\n").expect("its end");
    for field in fields {
        let known = [&ALWAYS[..], &KNOWN_LATER, &OF_THE_LOG].iter().any(|set| set.contains(&field));
        assert!(known, "{field} is new: document it");
        let own = field != "message" && !OF_THE_LOG.contains(&field);
        assert!(!own || paragraph.contains(&format!("`{field}`")), "{field} is not in the README");
    }
}
