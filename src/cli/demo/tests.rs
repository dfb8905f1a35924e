//! The demo as a whole, and what it shows.

use std::io;
use std::sync::{Arc, Mutex};

use super::watch::{Round, Row, Said};
use super::*;
use crate::model::DeviceId;

/// An output that can be read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn round(said: Said, really: Option<&str>, wrong: u64) -> Round {
    let device = DeviceId::from_bytes([7; 16]);
    let row = Row { device, said, really: really.map(str::to_owned), wrong: wrong > 0 };
    Round { rows: vec![row], at: 1.0, asked: 4, wrong }
}

fn owner(name: &str) -> Said {
    Said::Owner(name.to_owned())
}

#[test]
fn found_means_that_the_gateway_says_what_is_true() {
    assert!(round(owner("mps-1"), Some("mps-1"), 0).all_found_but_at(None));
    assert!(round(owner("mps-1"), Some("mps-1"), 0).all_found_but_at(Some("mps-2")));
    assert!(!round(owner("mps-1"), Some("mps-1"), 0).all_found_but_at(Some("mps-1")));
    assert!(!round(owner("mps-1"), Some("mps-2"), 1).all_found_but_at(None));
    assert!(!round(owner("mps-1"), None, 1).all_found_but_at(None));
    assert!(!round(Said::Nobody, Some("mps-1"), 0).all_found_but_at(None));
    assert!(!round(Said::Nothing, Some("mps-1"), 0).all_found_but_at(None));
}

#[test]
fn a_terminal_is_written_over_and_anything_else_is_written_on() {
    let paper = Paper::default();
    let mut screen = Screen::new(true, Box::new(paper.clone()));
    screen.show(&round(owner("mps-1"), Some("mps-1"), 0));
    screen.show(&round(owner("mps-1"), Some("mps-2"), 1));
    let text = paper.text();
    assert_eq!(text.matches("\x1b[3A").count(), 1, "head, device, summary: {text:?}");
    assert!(text.contains("mps-1          mps-2  WRONG\n"), "{text:?}");
    assert!(text.ends_with("1 of 1 devices found, mps-1: 1; wrong answers: 1 of 4\n"), "{text:?}");

    let paper = Paper::default();
    let mut screen = Screen::new(false, Box::new(paper.clone()));
    for said in [owner("mps-1"), owner("mps-1"), Said::Nobody] {
        screen.show(&round(said, Some("mps-1"), 0));
    }
    let text = paper.text();
    assert_eq!(text.lines().count(), 2, "only changes: {text:?}");
    assert!(!text.contains('\x1b'));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mps_is_killed_and_all_devices_come_back_and_are_found() {
    let paper = Paper::default();
    let began = Instant::now();
    let code = timeout(Duration::from_secs(60), show(true, Screen::new(false, Box::new(paper.clone()))));
    let code = code.await.expect("it ends").expect("it starts");
    let text = paper.text();
    assert_eq!(code, exit::OK, "{text}");
    assert!(text.contains("OK: 10 of 10 devices answer"), "{text}");
    assert!(text.contains("url = \"memory:\""), "{text}");
    assert!(began.elapsed() < Duration::from_secs(20), "took {:?}: {text}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_are_printed_work() {
    let house = House::build().await.expect("it starts");
    let text = house.introduction();
    let urls: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("curl -s ")).collect();
    assert_eq!(urls.len(), 5, "{text}");
    crate::config::from_text(&house.toml, std::path::Path::new(""))
        .expect("the printed configuration is right");
    let mut watch = Watch::new(&house);
    assert!(all_found(&house, &mut watch, &mut Screen::new(false, Box::new(io::sink())), None).await);
    let stop = urls.iter().find(|url| url.contains("/stop/")).expect("a way to stop one");
    assert!(curl(stop).await.contains("mps-1 is dead"));
    assert!(curl(stop).await.contains("stopped already"));
    assert!(house.instances[0].connected().is_empty());
    let start = urls.iter().find(|url| url.contains("/start/")).expect("a way to start it");
    assert!(curl(start).await.contains("mps-1 runs"));
    timeout(GOODBYE, house.leave()).await.expect("everybody leaves in time");
}

/// What curl would print for `-X POST http://..`.
async fn curl(arguments: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let url = arguments.strip_prefix("-X POST http://").expect("a POST");
    let (address, path) = url.split_once('/').expect("a path");
    let mut tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let request = format!("POST /{path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("room");
    let mut answer = String::new();
    timeout(Duration::from_secs(10), tcp.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}
