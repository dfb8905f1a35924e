//! The engine, against a simulated MPS in clear where it needs one.

mod stubborn;

use std::future::pending;
use std::sync::{Arc, LazyLock};

use hdrhistogram::Histogram;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::pace::Pace;
use super::*;
use crate::lifecycle::Drain;
use crate::sim::device::{TlsSettings, Trust};
use crate::sim::mps::{Account, Behaviour, Database, Mps, MpsSettings};
use crate::sim::pki::{Authority, Keys, Leaf};

const LIMIT: Duration = Duration::from_secs(20);

static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new(Keys::P256, "root of the test").expect("a root"));
static LEAF: LazyLock<Leaf> = LazyLock::new(|| AUTHORITY.issue("mps.example", &[]).expect("a leaf"));

async fn mps(leaf: Option<&Leaf>, behaviour: Behaviour) -> Mps {
    let database = Arc::new(Database::of_everyone(Account::default()));
    let settings = MpsSettings::new("mps", leaf.map(Leaf::identity), database);
    Mps::start(MpsSettings { behaviour, ..settings }).await.expect("free ports")
}

async fn finished(settings: LoadSettings) -> Summary {
    timeout(LIMIT, run(settings, pending(), |_| {})).await.expect("it ends by itself")
}

fn only(reason: &str, count: u64) -> std::collections::BTreeMap<&str, u64> {
    [(reason, count)].into()
}

#[tokio::test(start_paused = true)]
async fn connects_are_due_at_their_rate_and_measured_from_then() {
    let (pace, began) = (Pace::new(Some(10.0), 2), Instant::now());
    let ms = |turn: &pace::Turn| (turn.due - began).as_millis();
    let first = pace.turn(began).await;
    let second = pace.turn(began).await;
    assert_eq!((ms(&first), ms(&second), began.elapsed().as_millis()), (0, 100, 100));
    // Both places are taken for a second: whoever comes then was due long ago.
    let late = tokio::join!(pace.turn(began), async {
        sleep(Duration::from_millis(900)).await;
        drop(first);
    });
    assert_eq!((ms(&late.0), began.elapsed().as_millis()), (200, 1000));
    // A device that was busy is not due before it is ready; and then not faster than the rate.
    drop((second, late));
    sleep(Duration::from_secs(1)).await;
    let (again, next) = (pace.turn(Instant::now()).await, pace.turn(began).await);
    assert_eq!((ms(&again), ms(&next)), (2000, 2100));
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_a_connect_is_due_when_there_is_a_place() {
    let (pace, began) = (Pace::new(None, 1), Instant::now());
    let first = pace.turn(began).await;
    let (second, ()) = tokio::join!(pace.turn(began), async {
        sleep(Duration::from_secs(3)).await;
        drop(first);
    });
    assert_eq!((second.due - began).as_secs(), 3);
}

#[test]
fn guids_count_up_or_come_from_a_list() {
    let text = |guids: &Guids, i| guids.get(i).to_string();
    let guids = Guids::From("00000000-0000-0000-0000-0000000000fe".parse().expect("a GUID"));
    assert_eq!(text(&guids, 0), "00000000-0000-0000-0000-0000000000fe");
    assert_eq!(text(&guids, 2), "00000000-0000-0000-0000-000000000100");
    assert_eq!(text(&Guids::default(), 0), "4c4c4544-0000-1000-8000-000000000000");
    assert_eq!(text(&Guids::default(), 65_536), "4c4c4544-0000-1000-8000-000000010000");

    let list = "# ours\n\n  4c4c4544-0000-1000-8000-0000000000aa \nD162B380-c330-11e3-82a5-40a8f0a2a536\n";
    let list = Guids::parse(list).expect("two GUIDs");
    assert_eq!(list.how_many(), Some(2));
    assert_eq!(text(&list, 1), "d162b380-c330-11e3-82a5-40a8f0a2a536");
    assert_eq!(Guids::parse("# none\n").err(), Some(MalformedGuids::Empty));
    let device = guids.get(0);
    let twice = Guids::parse(&format!("{device}\r\n\r\n{}\r\n", device.to_string().to_uppercase()));
    assert_eq!(twice.err(), Some(MalformedGuids::Twice { line: 3, device }), "it would displace itself");
    let text = "nonsense".to_owned();
    assert_eq!(Guids::parse("\nnonsense").err(), Some(MalformedGuids::Line { line: 2, text }));
}

#[test]
fn percentiles_are_those_of_what_was_measured() {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("good bounds");
    (1..=1000_u64).for_each(|ms| histogram.record(ms * 1000).expect("in bounds"));
    let found = Percentiles::of(&histogram);
    assert_eq!(found.count, 1000);
    for (found, expected) in
        [(found.p50, 500.0), (found.p90, 900.0), (found.p99, 990.0), (found.p999, 999.0), (found.max, 1000.0)]
    {
        assert!((found - expected).abs() <= expected * 0.001, "{found} for {expected}");
    }
    let bulk = Bulk::new(3 << 20, 1.5);
    assert!((bulk.mib_per_s - 2.0).abs() < 1e-9);
    assert!(Bulk::new(1, 0.0).mib_per_s == 0.0);
}

#[tokio::test]
async fn devices_log_in_offer_their_ports_stay_alive_and_leave() {
    let behaviour = Behaviour { options: Some((1, 0)), ..Behaviour::default() };
    let mps = mps(Some(&LEAF), behaviour).await;
    let trust = Trust::Roots { roots: vec![AUTHORITY.root()], common_name: Some("mps.example".into()) };
    let tls = DeviceTls::new(&TlsSettings::trusting(trust)).expect("good settings");
    let mut settings = LoadSettings::new(vec![mps.cira()], Some(tls));
    settings.hold = Some(Duration::from_millis(1500));
    settings.sources = ["127.0.0.2", "127.0.0.3"].map(|source| source.parse().expect("an address")).to_vec();
    let sources = settings.sources.clone();
    let summary = finished(settings).await;
    assert!(summary.all_well && !summary.interrupted, "{summary:?}");
    assert_eq!((summary.devices_proven, summary.connects), (10, 10));
    assert_eq!(summary.ended, only(Ended::Held.reason(), 10));
    let counts = mps.counts();
    assert_eq!((counts.proofs, counts.keepalives), (10, 10), "each said once that it is alive");
    // Each: its version, a service, a login, a service, seven ports, options, one sign of life.
    assert_eq!(counts.messages, 10 * 13);
    assert!(mps.connections().iter().all(|one| one.records.len() == 13), "one message a record");
    let from = |source: &IpAddr| mps.connections().iter().filter(|one| one.peer.ip() == *source).count();
    assert_eq!(sources.iter().map(from).collect::<Vec<_>>(), [5, 5], "sources are used in turn");
    for latency in [&summary.latency_ms.tcp, &summary.latency_ms.tls, &summary.latency_ms.connect] {
        assert_eq!(latency.as_ref().map(|found| found.count), Some(10));
    }
    assert!(summary.latency_ms.echo.is_none());
}

#[tokio::test]
async fn data_moves_both_ways_whole_and_checked() {
    let mps = mps(Some(&LEAF), Behaviour::default()).await;
    let mut settings = LoadSettings::new(vec![mps.cira()], Some(DeviceTls::trusting_anything()));
    settings.count = 3;
    let size = (5 << 20) + 12_345;
    settings.work = Work::Bulk { up: true, down: true, size: Some(size) };
    let summary = finished(settings).await;
    assert!(summary.all_well, "{summary:?}");
    assert_eq!(summary.bulk_up.expect("it was asked for").bytes, 3 * size);
    assert_eq!(summary.bulk_down.expect("it was asked for").bytes, 3 * size, "exactly what was asked for");
    assert_eq!(summary.ended, only(Ended::Done.reason(), 3));
    let counts = mps.counts();
    assert_eq!((counts.moved, counts.corrupt), (6 * size, 0));
}

#[tokio::test]
async fn a_small_window_is_kept_to() {
    let mps = mps(None, Behaviour { service_window: Some(700), ..Behaviour::default() }).await;
    let mut settings = LoadSettings::new(vec![mps.cira()], None);
    (settings.count, settings.work) = (2, Work::Bulk { up: true, down: false, size: Some(100_000) });
    let summary = finished(settings.clone()).await;
    assert!(summary.all_well, "{summary:?}");
    assert!(summary.bulk_down.is_none());
    assert_eq!(mps.counts().moved, 200_000);
    settings.work = Work::Echo(5000);
    settings.hold = Some(Duration::from_millis(300));
    let summary = finished(settings).await;
    assert!(summary.all_well && summary.echoes > 0, "{summary:?}");
    let took = summary.latency_ms.echo.expect("measured");
    assert_eq!(took.count, summary.echoes);
    assert!(took.p50 <= took.p90 && took.p90 <= took.p99 && took.p99 <= took.p999 && took.p999 <= took.max);
}

#[tokio::test]
async fn endless_bulk_ends_with_the_run_and_nothing_is_missing() {
    let mps = mps(None, Behaviour::default()).await;
    let mut settings = LoadSettings::new(vec![mps.cira()], None);
    settings.work = Work::Bulk { up: true, down: true, size: None };
    settings.lasts = Some(Duration::from_millis(500));
    let summary = finished(settings).await;
    assert!(summary.all_well, "{summary:?}");
    assert_eq!(summary.held, 10);
    assert_eq!(summary.ended, only(Ended::Over.reason(), 10));
    assert!(summary.bulk_up.is_some_and(|bulk| bulk.bytes > 0));
    assert!(summary.bulk_down.is_some_and(|bulk| bulk.bytes > 0));
}

#[tokio::test]
async fn failures_have_their_reasons() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let summary = finished(LoadSettings::new(vec![closed], None)).await;
    assert_eq!(summary.failed, only("refused", 10));
    assert!(!summary.all_well);

    let real = mps(Some(&LEAF), Behaviour { service_window: None, ..Behaviour::default() }).await;
    let mut settings = LoadSettings::new(vec![real.cira()], Some(DeviceTls::trusting_anything()));
    settings.work = Work::Echo(64);
    let summary = finished(settings.clone()).await;
    assert_eq!(summary.failed, only("channel refused", 10), "as real ones do");
    assert_eq!((summary.connects, summary.ended), (10, only("device: failed", 10)));

    settings.password = Secret::new("another");
    assert_eq!(finished(settings.clone()).await.failed, only("login refused", 10));

    let other = Authority::new(Keys::P256, "another root").expect("a root");
    let names = [(other.root(), None), (AUTHORITY.root(), Some("another.example".to_owned()))];
    for (root, common_name) in names {
        let trust = Trust::Root { root, common_name };
        settings.tls = Some(DeviceTls::new(&TlsSettings::trusting(trust)).expect("good settings"));
        assert_eq!(finished(settings.clone()).await.failed, only("tls certificate not trusted", 10));
    }

    settings.tls = None; // in clear to a server that expects TLS
    let summary = finished(settings.clone()).await;
    assert_eq!(summary.failed, only("malformed", 10), "its alert is no message");
}

/// A server that accepts, and then does as `does` says.
async fn server<F>(does: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let drain = Drain::new(Duration::ZERO);
    drain.clone().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            drain.spawn(does(tcp));
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_closes_or_says_nothing_is_told_from_one_that_refuses() {
    let closes = server(|tcp| async { drop(tcp) }).await;
    let says_nothing = server(|tcp| async {
        sleep(LIMIT).await;
        drop(tcp);
    })
    .await;
    let tls = Some(DeviceTls::trusting_anything());
    for (address, tls, reason) in [
        (closes, None, "closed before proof"),
        (closes, tls.clone(), "closed in tls"),
        (says_nothing, None, "timed out before proof"),
        (says_nothing, tls, "timed out in tls"),
    ] {
        let mut settings = LoadSettings::new(vec![address], tls);
        settings.answer = Duration::from_millis(300);
        assert_eq!(finished(settings).await.failed, only(reason, 10));
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_no_failure_unless_it_owes_something() {
    let mps = mps(None, Behaviour::default()).await;
    let mut settings = LoadSettings::new(vec![mps.cira()], None);
    let stopping = async {
        mps.until(|mps| mps.count() == 10).await;
        mps.stop().await;
    };
    let (summary, ()) = tokio::join!(finished(settings.clone()), stopping);
    assert_eq!(summary.ended.values().sum::<u64>(), 10);
    assert!(summary.ended.keys().all(|reason| reason.starts_with("server: ")), "{summary:?}");
    assert!(summary.failed.is_empty() && !summary.all_well, "they were to stay: {summary:?}");

    mps.restart().await.expect("its ports");
    settings.work = Work::Bulk { up: true, down: false, size: Some(u64::MAX / 2) };
    let stopping = async {
        mps.until(|mps| mps.count() == 10).await;
        mps.stop().await;
    };
    let (summary, ()) = tokio::join!(finished(settings), stopping);
    assert_eq!(summary.failed, only("closed at work", 10));
}

#[tokio::test]
async fn devices_come_back_as_often_as_they_are_told() {
    let mps = mps(None, Behaviour::default()).await;
    let mut settings = LoadSettings::new(vec![mps.cira()], None);
    settings.reconnect = Some(Reconnect { after: Duration::ZERO, ..Reconnect::default() });
    settings.hold = Some(Duration::ZERO);
    settings.lasts = Some(Duration::from_millis(500));
    (settings.count, settings.in_flight) = (4, 2);
    let (mut most, mut told) = (0, 0);
    let summary =
        timeout(LIMIT, run(settings, pending(), |progress| (told, most) = (told + 1, progress.connects)));
    let summary = summary.await.expect("it ends by itself");
    assert!(summary.all_well && summary.connects > 20, "{summary:?}");
    assert_eq!(summary.ended.values().sum::<u64>(), summary.connects);
    // Connects that were under way at the end are abandoned, proven or not.
    let proofs = mps.counts().proofs;
    assert!((summary.connects..=summary.connects + 2).contains(&proofs), "{proofs}: {summary:?}");
    assert_eq!((told, most), (1, summary.connects), "the last word on progress is the last state");
}
