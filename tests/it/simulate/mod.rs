//! `simulate devices` and `simulate mps` as processes, with a gateway between them.

mod readme;
mod tls;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use mps_gateway::sim::pki::{Authority, Keys, Leaf};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::gateway::{Gateway, LIMIT, output, within};
use crate::process::Process;

/// What `event` of the lines in `text`.
fn event(text: &str, name: &str) -> Value {
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.rfind(|line| line["event"] == name).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

/// Exit code and summary of `simulate devices --json ARGUMENTS`.
async fn devices(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out, error) = output(&[&["simulate", "devices", "--json"], arguments].concat()).await;
    assert!(out.contains("summary"), "{arguments:?}: {code:?} {error}");
    (code, event(&out, "summary"))
}

/// `simulate mps`, where it takes devices, and the process.
struct Mps {
    process: Process,
    cira: Vec<SocketAddr>,
}

impl Mps {
    async fn start(arguments: &[&str], instances: usize) -> Self {
        let any = "127.0.0.1:0";
        let usual = ["simulate", "mps", "--json", "--cira", any, "--http", any];
        let number = instances.to_string();
        let mut process = Process::start(&[&usual[..], &["--instances", &number], arguments].concat(), &[]);
        let mut cira = Vec::new();
        for _ in 0..instances {
            let ready = process.until(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["event"] == "ready").then_some(line)
            });
            let ready = within("an instance is ready", ready).await;
            cira.push(ready["cira"].as_str().and_then(|text| text.parse().ok()).expect("an address"));
        }
        Self { process, cira }
    }

    fn target(&self) -> String {
        self.cira[0].to_string()
    }

    /// Stops it: its last words, one for each instance.
    async fn summaries(mut self) -> Vec<Value> {
        self.process.signal("TERM").await;
        assert_eq!(self.process.exited(LIMIT).await.code(), Some(0));
        let said = self.process.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == "summary").collect()
    }
}

/// A gateway before some instances in clear, and the root its certificate is of.
struct Setting {
    folder: TempDir,
    gateway: Gateway,
    target: String,
    mps: Mps,
}

impl Setting {
    async fn new(instances: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (authority, leaf) = pki();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("root.crt", &authority.root_pem());
        write("cira.crt", leaf.pem());
        write("cira.key", leaf.key_pem().expose());
        let mps = Mps::start(&[], instances).await;
        let mut text = "[device]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"cira.crt\"\nprivate-key = \
                        \"cira.key\"\n[drain]\nnotice = \"0s\"\nwindow = \"1s\"\n[instances.cira-tls]\nenabled = false\n"
            .to_owned();
        for (i, cira) in mps.cira.iter().enumerate() {
            text += &format!(
                "[[instances.static]]\nname = \"mps-{i}\"\ncira = \"{cira}\"\nhttp = \"127.0.0.1:1\"\n"
            );
        }
        let mut gateway = Gateway::serve(folder.path(), &text).await;
        let target = gateway.address("device").await.to_string();
        Self { folder, gateway, target, mps }
    }

    fn root(&self) -> String {
        self.folder.path().join("root.crt").display().to_string()
    }
}

fn pki() -> (Authority, Leaf) {
    let authority = Authority::new(Keys::P256, "root").expect("a root");
    let leaf = authority.issue("mps.example.com", &[]).expect("a leaf");
    (authority, leaf)
}

#[tokio::test]
async fn devices_are_spread_and_held_and_the_summary_says_so() {
    let setting = Setting::new(2).await;
    let root = setting.root();
    let arguments = ["--target", &setting.target, "--ca", &root, "--count", "24", "--for", "2s"];
    let (code, summary) = devices(&arguments).await;
    assert_eq!(code, Some(0), "{summary}");
    for (key, expected) in [
        ("devices", json!(24)),
        ("connects", json!(24)),
        ("held", json!(24)),
        ("failed", json!({})),
        ("ended", json!({"device: the run is over": 24})),
        ("all_well", json!(true)),
    ] {
        assert_eq!(summary[key], expected, "{key} of {summary}");
    }
    for metric in ["tcp", "tls", "login", "connect"] {
        let found = &summary["latency_ms"][metric];
        assert_eq!(found["count"], 24, "{metric}: {summary}");
        let at = |name: &str| found[name].as_f64().expect("a number");
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{metric}: {found}");
    }
    let all = setting.mps.summaries().await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|one| one["connects"].as_u64() > Some(0)), "both got some: {all:?}");
    drop(setting.gateway);
}

#[tokio::test]
async fn data_passes_the_gateway_both_ways_unharmed() {
    let setting = Setting::new(1).await;
    let root = setting.root();
    let to = ["--target", &setting.target, "--ca", &root, "--count", "4"];
    let (code, summary) = devices(&[&to[..], &["--bulk", "both:3MiB"]].concat()).await;
    assert_eq!(code, Some(0), "strict guard, and the channels are the device's: {summary}");
    for way in ["bulk_up", "bulk_down"] {
        assert_eq!(summary[way]["bytes"], 12 << 20, "{summary}");
        assert!(summary[way]["mib_per_s"].as_f64() > Some(0.0), "{summary}");
    }
    assert_eq!(summary["ended"], json!({"device: done": 4}));

    let (code, summary) = devices(&[&to[..], &["--echo", "64", "--hold", "500ms"]].concat()).await;
    assert_eq!(code, Some(0), "{summary}");
    let found = &summary["latency_ms"]["echo"];
    assert_eq!(found["count"], summary["echoes"]);
    assert!(found["count"].as_u64() > Some(3) && found["p999"].as_f64() > Some(0.0), "{summary}");

    let all = setting.mps.summaries().await;
    assert_eq!(all[0]["corrupt_blocks"], 0);
    assert_eq!(all[0]["service_bytes"].as_u64().map(|bytes| bytes >= 24 << 20), Some(true), "{all:?}");
}

/// Passes everything on, but flips one bit of the byte at `at` of each direction chosen.
async fn flipping(target: SocketAddr, [up, down]: [Option<usize>; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    background(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(target).await.expect("it listens");
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            background(pass(near_in, far_out, up));
            background(pass(far_in, near_out, down));
        }
    });
    address
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, flip: Option<usize>) {
    let (mut passed, mut buf) = (0, vec![0; 16 * 1024]);
    while let Ok(read @ 1..) = from.read(&mut buf).await {
        if let Some(at) = flip.and_then(|at| at.checked_sub(passed)).filter(|at| *at < read) {
            buf[at] ^= 0x10;
        }
        passed += read;
        if to.write_all(&buf[..read]).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn background(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

#[tokio::test]
async fn a_single_changed_bit_is_seen_in_either_direction() {
    let mps = Mps::start(&[], 1).await;
    // Deep in the payload, whatever heads come before it; of either end the first 200,000 bytes are sent.
    for (flip, bulk) in [([Some(100_003), None], "up:200000"), ([None, Some(100_003)], "down:200000")] {
        let address = flipping(mps.cira[0], flip).await.to_string();
        let (code, summary) =
            devices(&["--target", &address, "--plain", "--count", "2", "--bulk", bulk]).await;
        assert_eq!(code, Some(1), "{summary}");
        assert_eq!(summary["failed"], json!({"corrupt": 2}), "{summary}");
        assert_eq!(summary["corrupt_blocks"], 2, "{summary}");
    }
    assert_eq!(mps.summaries().await[0]["corrupt_blocks"], 2, "the server counts those it received");
}

#[tokio::test]
async fn failures_are_counted_by_reason_and_told_by_the_exit_code() {
    let mps = Mps::start(&["--user", "someone", "--password", "another"], 1).await;
    let plain = |target: &str| ["--target".to_owned(), target.to_owned(), "--plain".to_owned()];
    let target = plain(&mps.target());
    let target = target.each_ref().map(String::as_str);
    let (code, summary) = devices(&target).await;
    assert_eq!((code, &summary["failed"]), (Some(1), &json!({"login refused": 10})));
    let login = ["--user", "someone", "--password", "another", "--hold", "0s"];
    let (code, summary) = devices(&[&target[..], &login].concat()).await;
    assert_eq!((code, &summary["failed"]), (Some(0), &json!({})), "{summary}");

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let unreachable = plain(&closed.to_string());
    let (code, summary) = devices(&unreachable.each_ref().map(String::as_str)).await;
    assert_eq!((code, &summary["failed"]), (Some(1), &json!({"refused": 10})));
    assert_eq!(mps.summaries().await[0]["refused_logins"], 10);
}

#[tokio::test]
async fn a_rate_is_kept_and_devices_come_back_as_told() {
    let mps = Mps::start(&[], 1).await;
    let target = mps.target();
    let to = ["--target", &target, "--plain"];
    let (code, summary) =
        devices(&[&to[..], &["--count", "21", "--rate", "20", "--hold", "0s"]].concat()).await;
    assert_eq!((code, &summary["connects"]), (Some(0), &json!(21)), "{summary}");
    assert!(summary["elapsed_s"].as_f64() >= Some(1.0), "the last one is due after a second: {summary}");
    assert!(summary["per_second"].as_f64() <= Some(21.0), "{summary}");

    let again = ["--count", "3", "--hold", "100ms", "--reconnect", "0s", "--for", "2s"];
    let (code, summary) = devices(&[&to[..], &again].concat()).await;
    let connects = summary["connects"].as_u64().expect("a number");
    assert_eq!(code, Some(0), "{summary}");
    assert!((6..=60).contains(&connects), "3 devices, at most 20 times each: {summary}");
    let ended: u64 = summary["ended"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(connects, ended, "{summary}");
}

#[tokio::test]
async fn the_first_signal_ends_the_run_and_the_second_one_everything() {
    let mps = Mps::start(&[], 1).await;
    let target = mps.target();
    let arguments = ["simulate", "devices", "--json", "--target", &target, "--plain", "--count", "3"];
    let connected = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["event"] == "progress" && line["connected"] == 3).then_some(())
    };
    let mut run = Process::start(&arguments, &[]);
    run.until(connected).await;
    run.signal("INT").await;
    assert_eq!(run.exited(LIMIT).await.code(), Some(0));
    let summary = event(&run.said(), "summary");
    assert_eq!((&summary["interrupted"], &summary["held"]), (&json!(true), &json!(3)), "{summary}");

    let mut run = Process::start(&arguments, &[]);
    run.until(connected).await;
    mps.process.signal("STOP").await; // devices wait a while for it to close
    run.signal("INT").await;
    run.until(|line| line.contains("\"connected\":0").then_some(())).await;
    run.signal("INT").await;
    assert_eq!(run.exited(Duration::from_secs(1)).await.code(), Some(1));
    assert!(!run.said().contains("summary"), "{}", run.said());
}

#[tokio::test]
async fn an_mps_whose_reader_is_gone_goes_on_and_a_lost_terminal_ends_it() {
    let any = "127.0.0.1:0";
    let mut command = Command::new(env!("CARGO_BIN_EXE_mps-gateway"));
    command.args(["simulate", "mps", "--json", "--cira", any, "--http", any]).env_clear();
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut ready = String::new();
    within("it is ready", out.read_line(&mut ready)).await.expect("a line");
    drop(out);
    let ready = event(&ready, "ready");
    let target = ready["cira"].as_str().expect("an address");
    for _ in 0..2 {
        // Longer than between two words of it that nobody reads.
        let (code, summary) =
            devices(&["--target", target, "--plain", "--count", "1", "--hold", "1200ms"]).await;
        assert_eq!(code, Some(0), "{summary}");
    }
    let id = child.id().expect("running").to_string();
    let killed = within("kill", Command::new("kill").args(["-HUP", &id]).status()).await;
    assert!(killed.is_ok_and(|status| status.success()));
    assert_eq!(within("it ends", child.wait()).await.expect("a child of ours").code(), Some(0));
}

#[tokio::test]
async fn what_cannot_be_run_is_said_before_anything_is() {
    let folder = TempDir::new().expect("a folder");
    let few = folder.path().join("guids");
    std::fs::write(&few, "4c4c4544-0000-1000-8000-000000000001\n").expect("written");
    let few = few.display().to_string();
    let to = ["simulate", "devices", "--target", "127.0.0.1:1"];
    for (arguments, expected, said) in [
        (&[][..], 64, "<--ca <FILE>|--insecure|--plain>"),
        (&["--insecure", "--plain"], 64, "cannot be used with"),
        (&["--plain", "--tls-version", "1.3"], 64, "cannot be used with"),
        (&["--insecure", "--bulk", "up", "--echo", "5"], 64, "cannot be used with"),
        (&["--insecure", "--bulk", "sideways"], 64, "expected up, down or both"),
        (&["--insecure", "--rate", "0"], 64, "expected a number from 0.001"),
        (&["--insecure", "--hold", "5"], 64, "write 30s"),
        (&["--plain", "--keepalive", "0s"], 64, "expected at least 1ms"),
        (&["--plain", "--hold", "500000000000y"], 64, "expected at most 366days"),
        (&["--plain", "--count", "18446744073709551615"], 64, "expected a number from 1"),
        (&["--plain", "--from", "192.0.2.1"], 78, "--from 192.0.2.1: "),
        (&["--plain", "--from", "::1"], 78, "--from"),
        (&["--ca", "/nonexistent.crt"], 78, "--ca /nonexistent.crt: "),
        (&["--plain", "--guids", &few], 78, "1 GUIDs are not enough for 10 devices"),
        (&["--plain", "--target", "name.invalid:1"], 78, "--target name.invalid:1: "),
    ] {
        let (code, _, error) = output(&[&to[..], arguments].concat()).await;
        assert_eq!(code, Some(expected), "{arguments:?}: {error}");
        assert!(error.contains(said), "{said}\nin\n{error}");
    }
}
