//! What was counted and measured so far: written by every device, read once a second and at the end.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::failure::{Ended, Failure};
use super::report::{Bulk, Latencies, Percentiles, Progress, Summary, Way};
use super::{LoadSettings, Work};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Metric {
    Tcp,
    Tls,
    Login,
    Connect,
    Echo,
}

/// Longest time that is told from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// All counters of a run.
pub(super) struct Tally {
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connects: u64,
    connected: u64,
    last_connect: Option<Instant>,
    proven: HashSet<usize>,
    failed: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
    ended_by_server: u64,
    corrupt: u64,
    echoes: u64,
    /// In the order of [`Metric`], made when first needed.
    took: [Option<Histogram<u64>>; 5],
    /// First beginning and last end of bulk, up and down.
    bulk: [Option<(Instant, Instant)>; 2],
}

impl Tally {
    pub fn new() -> Self {
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Instant::now(), sent, received, inner: Mutex::default() }
    }

    pub fn took(&self, metric: Metric, time: Duration) {
        let mut inner = self.inner.lock();
        inner.echoes += u64::from(matches!(metric, Metric::Echo));
        let histogram = inner.took[metric as usize].get_or_insert_with(|| {
            Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds and digits are constants")
        });
        histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST).max(1));
    }

    /// Device `i` logged in.
    pub fn proven(&self, i: usize) {
        let mut inner = self.inner.lock();
        inner.connects += 1;
        inner.connected += 1;
        inner.last_connect = Some(Instant::now());
        inner.proven.insert(i);
    }

    pub fn failed(&self, failure: Failure) {
        *self.inner.lock().failed.entry(failure.reason()).or_default() += 1;
    }

    /// A connection that had logged in is over.
    pub fn ended(&self, ended: Ended) {
        let mut inner = self.inner.lock();
        inner.connected -= 1;
        inner.ended_by_server += u64::from(ended.is_servers());
        *inner.ended.entry(ended.reason()).or_default() += 1;
    }

    pub fn corrupt(&self, blocks: u64) {
        self.inner.lock().corrupt += blocks;
    }

    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn bulk_began(&self, way: Way) {
        let now = Instant::now();
        self.inner.lock().bulk[way as usize].get_or_insert((now, now));
    }

    pub fn bulk_ended(&self, way: Way) {
        if let Some((_, ended)) = &mut self.inner.lock().bulk[way as usize] {
            *ended = Instant::now();
        }
    }

    pub fn progress(&self) -> Progress {
        let inner = self.inner.lock();
        Progress {
            elapsed_s: self.began.elapsed().as_secs_f64(),
            connected: inner.connected,
            connects: inner.connects,
            failed: inner.failed.values().sum(),
            bytes_up: self.sent.load(Ordering::Relaxed),
            bytes_down: self.received.load(Ordering::Relaxed),
            echoes: inner.echoes,
        }
    }

    /// What it all came to; `held` devices were connected when the run was over.
    pub fn summary(&self, settings: &LoadSettings, held: u64, interrupted: bool) -> Summary {
        let inner = self.inner.lock();
        let connecting = inner.last_connect.map_or(0.0, |last| (last - self.began).as_secs_f64());
        let percentiles = |metric: Metric| inner.took[metric as usize].as_ref().map(Percentiles::of);
        let way = |way: Way, bytes: &AtomicU64| {
            let (began, ended) = inner.bulk[way as usize]?;
            Some(Bulk::new(bytes.load(Ordering::Relaxed), (ended - began).as_secs_f64()))
        };
        let is_bulk = matches!(settings.work, Work::Bulk { .. });
        Summary {
            devices: settings.count as u64,
            devices_proven: inner.proven.len() as u64,
            connects: inner.connects,
            held,
            failed: inner.failed.clone(),
            per_second: if connecting > 0.0 { inner.connects as f64 / connecting } else { 0.0 },
            latency_ms: Latencies {
                tcp: percentiles(Metric::Tcp),
                tls: percentiles(Metric::Tls),
                login: percentiles(Metric::Login),
                connect: percentiles(Metric::Connect),
                echo: percentiles(Metric::Echo),
            },
            echoes: inner.echoes,
            ended: inner.ended.clone(),
            bulk_up: way(Way::Up, &self.sent).filter(|_| is_bulk),
            bulk_down: way(Way::Down, &self.received).filter(|_| is_bulk),
            corrupt_blocks: inner.corrupt,
            elapsed_s: self.began.elapsed().as_secs_f64(),
            interrupted,
            all_well: inner.failed.is_empty()
                && inner.corrupt == 0
                && inner.connected == 0
                && inner.proven.len() == settings.count
                && (settings.reconnect.is_some() || inner.ended_by_server == 0),
        }
    }
}
