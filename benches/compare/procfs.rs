//! CPU time and memory of a process and all its children, out of `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// A tick of `/proc/PID/stat`: `USER_HZ` is 100 for programs on every architecture we run on.
const TICK: Duration = Duration::from_millis(10);

/// `/proc/PID/stat` counts whole ticks: what it says more than this is time of threads that ended.
const SLACK: Duration = Duration::from_millis(30);

/// CPU time of one process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Of the threads that live: exact, but a thread that ends takes its time with it.
    pub living: Duration,
    /// Of all threads, those that ended included: in ticks.
    pub whole: Duration,
    /// Ready to run and not run: its CPU was with others. Of the threads that live.
    pub waited: Duration,
}

/// CPU time of a tree of processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Cpu(pub BTreeMap<u32, Spent>);

impl Cpu {
    /// What `roots` and their children have spent so far.
    pub fn of(roots: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let mut spent = BTreeMap::new();
        for root in roots {
            for pid in tree(root)? {
                let (living, waited) = of_living(pid)?;
                spent.insert(pid, Spent { living, whole: whole(pid)?, waited });
            }
        }
        Ok(Self(spent))
    }

    /// What was spent since `earlier`. A process that ended meanwhile is an error: its time is lost.
    pub fn since(&self, earlier: &Self) -> Result<Duration, String> {
        if let Some(gone) = earlier.0.keys().find(|pid| !self.0.contains_key(pid)) {
            return Err(format!("process {gone} ended while it was measured"));
        }
        let each = self.0.iter().map(|(pid, now)| {
            let before = earlier.0.get(pid).copied().unwrap_or_default();
            let living = now.living.saturating_sub(before.living);
            let whole = now.whole.saturating_sub(before.whole);
            if whole > living + SLACK { whole } else { living }
        });
        Ok(each.sum())
    }

    /// For how long they waited for their CPU since `earlier`: how much other work this machine has.
    pub fn waited_since(&self, earlier: &Self) -> Duration {
        let before = |pid| earlier.0.get(pid).copied().unwrap_or_default().waited;
        self.0.iter().map(|(pid, now)| now.waited.saturating_sub(before(pid))).sum()
    }
}

/// Memory of a tree of processes, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, what is shared divided among those that share it.
    pub pss: u64,
}

impl Memory {
    /// What `root` and its children hold.
    pub fn of(root: u32) -> io::Result<Self> {
        let mut sum = Self::default();
        for pid in tree(root)? {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let one = Self::parse(&text).ok_or_else(|| io::Error::other("smaps_rollup without Rss"))?;
            (sum.rss, sum.pss) = (sum.rss + one.rss, sum.pss + one.pss);
        }
        Ok(sum)
    }

    /// Reads `smaps_rollup`.
    pub fn parse(rollup: &str) -> Option<Self> {
        let field = |name| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse().ok()
        };
        Some(Self { rss: field("Rss:")?, pss: field("Pss:")? })
    }
}

/// `root` and everything below it.
pub fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for (_, children) in of_threads(pid, "children")? {
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(found)
}

/// The file `name` of every thread of `pid`. A thread that ends meanwhile is left out.
fn of_threads(pid: u32, name: &str) -> io::Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        let thread = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if let (Some(thread), Ok(text)) = (thread, fs::read_to_string(path.join(name))) {
            found.push((thread, text));
        }
    }
    if found.is_empty() {
        return Err(io::Error::other(format!("nothing to read in /proc/{pid}/task/*/{name}")));
    }
    Ok(found)
}

/// Time run and time waited of all threads that live.
fn of_living(pid: u32) -> io::Result<(Duration, Duration)> {
    let mut sums = (Duration::ZERO, Duration::ZERO);
    for (_, text) in of_threads(pid, "schedstat")? {
        let mut fields = text.split_whitespace().map_while(|field| field.parse().ok());
        let mut next = || Duration::from_nanos(fields.next().unwrap_or(0));
        sums.0 += next();
        sums.1 += next();
    }
    Ok(sums)
}

fn whole(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat).map(|ticks| TICK * ticks).ok_or_else(|| io::Error::other("a stat that is none"))
}

/// User and system time of `/proc/PID/stat`. The name in it may hold anything, brackets too.
pub fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some(fields.next()?? + fields.next()??)
}
