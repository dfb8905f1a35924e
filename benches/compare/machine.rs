//! What the machine has and is, and what must be there before anything is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where programs are found: peers stand in `/usr/sbin`, which not everybody's PATH names.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where Debian puts nginx's stream module.
pub const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// How to get what is missing.
const CURE: &str = "run benches/compare/install, or: apt-get install haproxy nginx libnginx-mod-stream";

/// Files that a proxy needs beside connections; the gateway itself sets 512 apart.
const OTHER_FILES: usize = 700;

/// Which CPU does what.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// The proxy, alone.
    pub proxy: usize,
    /// Devices, instances and the bench itself.
    pub load: usize,
}

/// What a report says of the machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Model of its CPUs.
    pub cpu: String,
    /// How many this process may use.
    pub cpus: usize,
    /// Its kernel.
    pub kernel: String,
    /// Load averages before the first round: what else it was doing.
    pub load_before: String,
    /// Versions of all programs measured.
    pub versions: BTreeMap<String, String>,
}

impl Cpus {
    /// Two of the CPUs that this process may use, which moves to that of the load.
    pub fn claim() -> Result<Self, String> {
        let allowed = allowed()?;
        let [proxy, load, ..] = allowed[..] else {
            return Err(format!("needs two CPUs, one of them for the proxy alone; allowed are {allowed:?}"));
        };
        let me = std::process::id().to_string();
        said("taskset", &["-acp", &load.to_string(), &me]).ok_or("taskset (util-linux) cannot move us")?;
        Ok(Self { proxy, load })
    }
}

/// The CPUs this process may use.
fn allowed() -> Result<Vec<usize>, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(cpu_list).ok_or_else(|| "/proc/self/status names no CPUs".to_owned())
}

/// `0-2,5` is 0, 1, 2 and 5.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        found.extend(first..=last);
    }
    Some(found)
}

/// How many sessions, of two files each, the hard limit of open files leaves room for, up to `most`: some
/// machines allow a thousand million, and peers set memory apart for all they are told of.
pub fn sessions(most: usize) -> usize {
    room(&fs::read_to_string("/proc/self/limits").unwrap_or_default()).min(most)
}

/// The same by `/proc/PID/limits`, however many that are.
pub fn room(limits: &str) -> usize {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|hard| hard.parse().ok());
    hard.unwrap_or(1_048_576_usize).saturating_sub(OTHER_FILES) / 2
}

/// First line of what a program says, if it is there and content.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).env_clear().env("PATH", PATH).output().ok()?;
    let text = [output.stdout, output.stderr].concat(); // nginx tells its version on stderr
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Version of HAProxy and of its TLS library, or how to get it.
pub fn haproxy() -> Result<String, String> {
    let text = said("haproxy", &["-vv"]).ok_or_else(|| format!("haproxy is missing: {CURE}"))?;
    let tls = text.lines().find_map(|line| line.strip_prefix("Running on OpenSSL version :"));
    let version = first_line(&text).replace("HAProxy version ", "");
    let version = version.split_whitespace().next().unwrap_or_default();
    Ok(format!("HAProxy {version},{}", tls.unwrap_or(" TLS library unknown")))
}

/// Version of nginx, or how to get it and what it needs.
pub fn nginx() -> Result<String, String> {
    let text = said("nginx", &["-V"]).ok_or_else(|| format!("nginx is missing: {CURE}"))?;
    let built_in = text.contains("--with-stream ") && text.contains("--with-stream_ssl_module");
    if !built_in && !Path::new(STREAM_MODULE).exists() {
        return Err(format!("nginx has no stream module ({STREAM_MODULE}): {CURE}"));
    }
    let built = text.lines().find_map(|line| line.strip_prefix("built with ")).unwrap_or_default();
    let tls = built.split("running with ").last().unwrap_or_default().trim_end_matches(')');
    Ok(format!("{}, {tls}", first_line(&text).replace("nginx version: nginx/", "nginx ")))
}

/// What a build of the gateway calls itself.
pub fn gateway(program: &Path) -> Result<String, String> {
    let name = program.to_str().ok_or("a path of text is needed")?;
    let version = said(name, &["--version"]).ok_or_else(|| format!("{name} does not run"))?;
    Ok(first_line(&version))
}

impl Machine {
    /// As it is now.
    pub fn look(versions: BTreeMap<String, String>) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let info = read("/proc/cpuinfo")?;
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = read("/proc/loadavg")?;
        Ok(Self {
            cpu: model.map_or("unknown CPU", |(_, model)| model).trim().to_owned(),
            cpus: allowed()?.len(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            versions,
        })
    }
}
