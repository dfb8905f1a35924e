//! Raw values into the settings of each part. Collects problems, never stops at the first.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::problem::{Place, Problem};
use super::raw::{Document, STATIC, Values};
use super::read::{Reader, Wrong, parsed, text};
use crate::device::{self, GuardMode, LegacyTls, LoginBackoff, Network};
use crate::http::routes::{Route, Routes};
use crate::instances::{Instance, State};
use crate::model::{Endpoint, InstanceName, Pool};
use crate::net::instance_tls::{Pin, Verify};
use crate::telemetry::Format;
use crate::{admin, api, app, instances};

/// From and to, in milliseconds.
pub const fn millis(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_millis(*range.start())..=Duration::from_millis(*range.end())
}

/// For waits that a device or an instance is kept: not so short that nobody can meet them.
const WAIT: RangeInclusive<Duration> = millis(10..=600_000);

/// `[device]`, certificate apart.
pub fn device(reader: &mut Reader<'_>) -> device::Settings {
    let addresses = listen(reader, "device.listen");
    let max_connections = reader.count("device.max-connections", 1..=10_000_000);
    let max_preauth = reader.count("device.max-preauth", 1..=10_000_000);
    if max_preauth > max_connections {
        let cure = "make it at most device.max-connections";
        reader.complain("device.max-preauth", "more than all connections", cure);
    }
    let max_spliced = reader.count("device.max-spliced", 1..=10_000_000);
    let handshakes = reader.count("device.max-handshakes", 0..=100_000);
    device::Settings {
        listen: addresses,
        legacy_tls: legacy_tls(reader, max_connections, max_spliced),
        guard: reader
            .choice("device.guard", &[("strict", GuardMode::Strict), ("preamble", GuardMode::Preamble)]),
        hold: reader.duration("device.hold", millis(0..=600_000)),
        max_connections,
        max_preauth,
        max_spliced,
        proxy_from: reader.list("device.proxy-from", network),
        proxy_timeout: reader.duration("device.proxy-timeout", WAIT),
        hello_timeout: reader.duration("device.hello-timeout", WAIT),
        handshake_timeout: reader.duration("device.handshake-timeout", WAIT),
        max_handshakes: if handshakes == 0 { device::Settings::default().max_handshakes } else { handshakes },
        preamble_timeout: reader.duration("device.preamble-timeout", WAIT),
        connect_timeout: reader.duration("device.connect-timeout", WAIT),
        connect_total: reader.duration("device.connect-total", WAIT),
        connect_candidates: reader.count("device.connect-candidates", 1..=16),
        proof_device_silence: reader.duration("device.proof-device-silence", WAIT),
        proof_timeout: reader.duration("device.proof-timeout", WAIT),
        max_login_failures: reader.count("device.max-login-failures", 1..=100),
        login_backoff: reader
            .choice("device.login-backoff", &[("source", LoginBackoff::Source), ("off", LoginBackoff::Off)]),
        claim_wait: reader.duration("device.claim-wait", millis(0..=10_000)),
        silence: reader.duration("device.silence", millis(1_000..=86_400_000)),
        stall: reader.duration("device.stall", millis(100..=3_600_000)),
        grace: reader.duration("device.grace", millis(0..=60_000)),
    }
}

/// `[api]`. `http_port` is where instances take requests when only their name is known.
pub fn api(reader: &mut Reader<'_>, http_port: u16) -> api::Settings {
    let cure = "write \"/ mps\", or \"/rps rps strip\"";
    let routes: Vec<Route> = reader.list("api.routes", |text| parsed(text, cure));
    for route in &routes {
        if ![Pool::mps(), Pool::new("rps")].contains(&route.pool) {
            reader.complain("api.routes", format!("there is no pool {:?}", route.pool.to_string()), cure);
        }
    }
    api::Settings {
        listen: listen(reader, "api.listen"),
        routes: Routes::new(routes),
        trusted_proxies: reader.list("api.trusted-proxies", network),
        canonical_guid: reader.flag("api.canonical-guid"),
        max_connections: reader.count("api.max-connections", 1..=10_000_000),
        max_head: reader.count("api.max-head", 8_192..=1_048_576),
        max_body: reader.count("api.max-body", 0..=1 << 40),
        replay_limit: reader.count("api.replay-limit", 0..=1_048_576),
        head_timeout: reader.duration("api.head-timeout", WAIT),
        body_timeout: reader.duration("api.body-timeout", WAIT),
        idle_timeout: reader.duration("api.idle-timeout", millis(10..=86_400_000)),
        stall: reader.duration("api.stall", millis(100..=3_600_000)),
        connect_timeout: reader.duration("api.connect-timeout", WAIT),
        response_timeout: reader.duration("api.response-timeout", millis(10..=86_400_000)),
        instance_idle: reader.duration("api.instance-idle", millis(0..=4_999)),
        instance_connections: reader.count("api.instance-connections", 0..=100_000),
        upgrade_idle: reader.duration("api.upgrade-idle", millis(1_000..=604_800_000)),
        grace: reader.duration("api.grace", millis(0..=60_000)),
        http_port,
    }
}

fn legacy_tls(reader: &mut Reader<'_>, max_connections: usize, max_spliced: usize) -> LegacyTls {
    let cure = "write \"refuse\" or \"splice\"";
    let legacy = reader.value("device.legacy-tls", |raw| match text(raw)? {
        "refuse" => Ok(LegacyTls::Refuse),
        "splice" => Ok(LegacyTls::Splice),
        later @ "terminate" => Err(Wrong::new(format!("{later:?} is not in this build yet"), cure)),
        other => Err(Wrong::new(format!("{other:?} is none of its words"), cure)),
    });
    if legacy == LegacyTls::Splice && max_spliced >= max_connections {
        let what = "leaves no room for devices that prove themselves";
        reader.complain("device.max-spliced", what, "make it less than device.max-connections");
    }
    legacy
}

/// Where old TLS is spliced to instances, they must speak TLS; and that it is spliced is worth a word.
pub fn splice(reader: &mut Reader<'_>, tls: bool, warnings: &mut Vec<Problem>) {
    let key = "device.legacy-tls";
    if !tls {
        let what = "\"splice\" has instances terminate TLS, and instances.cira-tls.enabled = false says that they do not";
        reader.complain(key, what, "write \"refuse\", or instances.cira-tls.enabled = true");
    }
    let what = "splice: whoever sends an old hello reaches an instance past the guard; such sessions have no GUID, \
                so no owner, no claim and no routing";
    let cure = "write \"refuse\" as soon as no device needs it";
    warnings.push(Problem::new(reader.place(key), key, what, cure));
}

/// A list of addresses to listen on, at least one.
fn listen(reader: &mut Reader<'_>, key: &str) -> Vec<SocketAddr> {
    let cure = "write address and port, as 0.0.0.0:4433 or [::]:4433";
    let addresses: Vec<SocketAddr> = reader.list(key, |text| {
        text.parse().map_err(|_| Wrong::new(format!("{text:?} is not an address with a port"), cure))
    });
    for (at, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..at].contains(address) {
            reader.complain(key, format!("{address} is there twice"), "name it once");
        }
    }
    addresses
}

/// `10.0.0.0/8`, or one address.
fn network(text: &str) -> Result<Network, Wrong> {
    let cure = "write a network as 10.0.0.0/8 or fd00::/8, or one address";
    let malformed = || Wrong::new(format!("{text:?} is not a network"), cure);
    let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let prefix = match prefix {
        None => width,
        Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= width).ok_or_else(malformed)?,
    };
    if bits.checked_shl(u32::from(prefix)).unwrap_or(0) != 0 {
        return Err(Wrong::new(format!("{text:?} has bits set beyond its first {prefix}"), cure));
    }
    Ok(Network { address, prefix })
}

/// `[admin]`.
pub fn admin(reader: &mut Reader<'_>, optional: bool) -> admin::Settings {
    admin::Settings { listen: listen(reader, "admin.listen"), optional }
}

/// `[drain]`.
pub fn drain(reader: &mut Reader<'_>) -> app::DrainSettings {
    app::DrainSettings {
        notice: reader.duration("drain.notice", millis(0..=3_600_000)),
        window: reader.duration("drain.window", millis(100..=86_400_000)),
    }
}

/// `[log]`.
pub fn log(reader: &mut Reader<'_>) -> app::Log {
    let filter = reader.value("log.filter", |raw| {
        let text = text(raw)?;
        match text.parse::<tracing_subscriber::filter::Targets>() {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => {
                Err(Wrong::new(format!("{text:?}: {error}"), "write \"info\" or \"info,module=debug\""))
            }
        }
    });
    let formats = [("auto", None), ("json", Some(Format::Json)), ("text", Some(Format::Text))];
    app::Log { filter, format: reader.choice("log.format", &formats) }
}

/// `[instances]` and `[[instances.static]]`, and where instances take requests when only their name is
/// known.
pub fn instances(
    document: &Document,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> (instances::Settings, u16) {
    let mut reader = Reader::new(&document.values, base, problems);
    let ports =
        (reader.count("instances.cira-port", 1..=65_535), reader.count("instances.http-port", 1..=65_535));
    let settings = instances::Settings {
        list: vec![],
        avoid: reader.duration("instances.avoid", millis(0..=600_000)),
        connects_in_flight: reader.count("instances.connects-in-flight", 1..=100_000),
        connects_per_second: reader.count("instances.connects-per-second", 1..=1_000_000),
    };
    let mut lines: HashMap<InstanceName, Place> = HashMap::new();
    let mut list = vec![];
    for (place, values) in &document.statics {
        let Some(instance) = instance(place, values, ports, base, problems) else { continue };
        match lines.get(&instance.name) {
            Some(first) => {
                let what = match first {
                    Place::Line(line) => {
                        format!("{:?} is there twice, first at line {line}", instance.name.as_str())
                    }
                    _ => format!("{:?} is there twice", instance.name.as_str()),
                };
                let place = values.get("instances.static.name").map_or(place, |written| &written.place);
                let cure = "give each instance the name that MPS itself uses";
                problems.push(Problem::new(place.clone(), "instances.static.name", what, cure));
            }
            None => {
                lines.insert(instance.name.clone(), place.clone());
                list.push(instance);
            }
        }
    }
    (instances::Settings { list, ..settings }, ports.1)
}

fn instance(
    place: &Place,
    values: &Values,
    (cira_port, http_port): (u16, u16),
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Instance> {
    if !values.contains_key("instances.static.name") {
        let cure = "write name = \"..\", as MPS itself calls its instance";
        problems.push(Problem::new(place.clone(), STATIC, "an instance without a name", cure));
    }
    let mut reader = Reader::new(values, base, problems);
    let name: Option<InstanceName> =
        reader.optional("instances.static.name", |raw| parsed(text(raw)?, "write the name MPS uses"));
    let mut endpoint = |key, port| {
        let written =
            reader.optional(key, |raw| parsed(text(raw)?, "write it as mps:4433 or [fd00::1]:4433"));
        written.or_else(|| name.as_ref().map(|name| Endpoint::new(name.as_str(), port)))
    };
    let (cira, http) =
        (endpoint("instances.static.cira", cira_port), endpoint("instances.static.http", http_port));
    let pool = reader.value("instances.static.pool", |raw| match text(raw)? {
        known @ ("mps" | "rps") => Ok(Pool::new(known)),
        other => Err(Wrong::new(format!("there is no pool {other:?}"), "write \"mps\" or \"rps\"")),
    });
    let weight = reader.number("instances.static.weight", 0.0..=1000.0);
    let zone = reader.optional("instances.static.zone", |raw| text(raw).map(str::to_owned));
    let max_sessions = reader.optional_count("instances.static.max-sessions", 0..=10_000_000);
    let (cira, http, state) = (cira?, http?, State::Up);
    Some(Instance { name: name?, pool, cira, http, weight, zone, max_sessions, state })
}

/// `[instances.cira-tls]`; `None`: in clear.
pub fn instance_tls(reader: &mut Reader<'_>, used: bool) -> Option<Verify> {
    #[derive(Clone, Copy, PartialEq)]
    enum By {
        Ca,
        Full,
        None,
        Pin,
    }
    let enabled = reader.flag("instances.cira-tls.enabled");
    let words = [("pin", By::Pin), ("ca", By::Ca), ("full", By::Full), ("none", By::None)];
    let by = reader.choice("instances.cira-tls.verify", &words);
    let cure = "`mps-gateway pin HOST:PORT` prints those of an instance";
    let pins: Vec<Pin> = reader.list("instances.cira-tls.pins", |text| parsed(text, cure));
    let ca = "instances.cira-tls.ca";
    let roots = reader.path(ca).map(|path| roots(reader, ca, &path)).unwrap_or_default();
    if !enabled {
        return None;
    }
    if used && by == By::Pin && pins.is_empty() && !reader.is_written("instances.cira-tls.pins") {
        reader.complain("instances.cira-tls.pins", "verify = \"pin\" needs at least one", cure);
    }
    if matches!(by, By::Ca | By::Full) && !reader.is_written(ca) {
        let cure = "name a PEM file; `mps-gateway certs import` writes that of MPS";
        reader.complain(ca, "\"ca\" and \"full\" need the roots", cure);
    }
    Some(match by {
        By::Ca => Verify::Ca(roots),
        By::Full => Verify::Full(roots),
        By::None => Verify::None,
        By::Pin => Verify::Pin(pins),
    })
}

/// The certificates of the PEM file at `path`, which `key` names.
pub fn roots(reader: &mut Reader<'_>, key: &str, path: &Path) -> Vec<CertificateDer<'static>> {
    let cure = "name a PEM file with at least one certificate";
    match CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(roots) if !roots.is_empty() => return roots,
        Ok(_) => reader.complain(key, format!("no certificate in {}", path.display()), cure),
        Err(error) => reader.complain(key, format!("cannot read {}: {error}", path.display()), cure),
    }
    vec![]
}
