//! The metrics of one gateway.

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::build;
use super::label::{Counters, Labels, label_set};
use super::table::{self, Kind, Row};
use crate::model::InstanceName;

label_set! {
    /// What became of a claim.
    pub enum ClaimOutcome {
        /// It stands.
        Granted = "granted",
        /// The directory did not answer in time; counts again once it is settled.
        Pending = "pending",
        /// A newer session of the device is proven elsewhere.
        Superseded = "superseded",
    }
}

label_set! {
    /// Which way bytes flow.
    pub enum Direction {
        /// From the device to the instance.
        FromDevice = "from-device",
        /// From the instance to the device.
        FromInstance = "from-instance",
    }
}

label_set! {
    /// Who answered a look-up.
    pub enum LookupSource {
        /// The local cache.
        Cache = "cache",
        /// The directory.
        Directory = "directory",
        /// Our own live session.
        Own = "own",
    }
}

label_set! {
    /// What a look-up answered.
    pub enum LookupOutcome {
        /// The directory is well and knows of no live session.
        Nobody = "nobody",
        /// There is an owner.
        Owned = "owned",
        /// The directory is being filled again.
        Resyncing = "resyncing",
        /// The directory does not answer.
        Unreachable = "unreachable",
    }
}

label_set! {
    /// What became of a reload.
    pub enum ReloadOutcome {
        /// It took effect.
        Done = "done",
        /// The new settings have problems: the old ones stay.
        Refused = "refused",
    }
}

/// Every metric of this gateway, registered when it starts.
///
/// Fields are public handles: a plane counts with `metrics.claims.of(outcome).increment(1)`. A plane
/// whose labels are its own registers them itself: `metrics.counters::<Refusal>("guard_refusals_total")`.
/// Who adds a metric adds a row to the table, with its help.
pub struct Metrics {
    /// Connections to the api plane now, WebSockets included.
    pub api_connections: Gauge,
    /// 1 while no command is sent to the directory.
    pub breaker_open: Gauge,
    /// Payload bytes relayed, of live sessions as of some seconds ago.
    pub bytes: Counters<Direction>,
    /// When the device certificate expires, seconds since 1970.
    pub certificate_expiry: Gauge,
    /// Seconds from proof to the answer to a claim.
    pub claim_seconds: Histogram,
    /// Claims by outcome.
    pub claims: Counters<ClaimOutcome>,
    /// Claims not granted yet.
    pub claims_pending: Gauge,
    /// Seconds of a successful connect to an instance.
    pub connect_seconds: Histogram,
    /// GUIDs contested now.
    pub contested_devices: Gauge,
    /// Newcomers closed because their GUID is contested.
    pub contested_refusals: Counter,
    /// Device connections now, from accept to the end.
    pub device_connections: Gauge,
    /// Devices waiting for an instance now.
    pub devices_held: Gauge,
    /// Commands that the directory refused or did not answer.
    pub directory_errors: Counter,
    /// Sessions that the guard stopped following.
    pub guard_stepped_aside: Counter,
    /// Seconds of a device handshake, hello to finished.
    pub handshake_seconds: Histogram,
    /// Failed logins.
    pub login_failures: Counter,
    /// Losses of data noticed in the directory.
    pub lost_data: Counter,
    /// Seconds of a look-up that asked the directory.
    pub lookup_seconds: Histogram,
    /// Look-ups by who answered and what.
    pub lookups: Counters<(LookupSource, LookupOutcome)>,
    /// Reloads by outcome.
    pub reloads: Counters<ReloadOutcome>,
    /// Claims written again after a loss of data.
    pub republished: Counter,
    /// Seconds from the head of a request to the head of its answer.
    pub request_seconds: Histogram,
    /// Requests under way now, WebSockets included.
    pub requests_in_flight: Gauge,
    /// Sessions now that are proven and relayed.
    pub sessions: Gauge,
    /// Sessions now that are spliced.
    pub spliced: Gauge,
    /// Sessions closed for a newer one.
    pub superseded: Counter,
    /// WebSockets relayed now.
    pub upgrades: Gauge,
    recorder: PrometheusRecorder,
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        let recorder = recorder();
        let counter = |name| counter(&recorder, name, vec![]);
        let gauge = |name| gauge(&recorder, name, vec![]);
        let seconds = |name| histogram(&recorder, name);
        let metrics = Self {
            api_connections: gauge("api_connections"),
            breaker_open: gauge("breaker_open"),
            bytes: counters(&recorder, "bytes_total"),
            certificate_expiry: gauge("certificate_expiry_timestamp_seconds"),
            claim_seconds: seconds("claim_seconds"),
            claims: counters(&recorder, "claims_total"),
            claims_pending: gauge("claims_pending"),
            connect_seconds: seconds("connect_seconds"),
            contested_devices: gauge("contested_devices"),
            contested_refusals: counter("contested_refusals_total"),
            device_connections: gauge("device_connections"),
            devices_held: gauge("devices_held"),
            directory_errors: counter("directory_errors_total"),
            guard_stepped_aside: counter("guard_stepped_aside_total"),
            handshake_seconds: seconds("handshake_seconds"),
            login_failures: counter("login_failures_total"),
            lost_data: counter("directory_lost_data_total"),
            lookup_seconds: seconds("lookup_seconds"),
            lookups: counters(&recorder, "lookups_total"),
            reloads: counters(&recorder, "reloads_total"),
            republished: counter("republished_total"),
            request_seconds: seconds("request_seconds"),
            requests_in_flight: gauge("requests_in_flight"),
            sessions: gauge("sessions"),
            spliced: gauge("spliced_sessions"),
            superseded: counter("superseded_total"),
            upgrades: gauge("upgrades"),
            recorder,
        };
        let build = vec![build::VERSION.to_owned(), build::COMMIT.to_owned()];
        self::gauge(&metrics.recorder, "build_info", build).set(1.0);
        metrics
    }

    /// Counters by the labels of a plane. `name` is a row of the table without the `mps_gateway_` in
    /// front. The same name twice gives the same counters.
    ///
    /// # Panics
    /// When the table has no counter of that name with as many labels as `L`: the first start shows it.
    pub fn counters<L: Labels>(&self, name: &'static str) -> Counters<L> {
        counters(&self.recorder, name)
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Moves what histograms have seen into their buckets. To be called every few seconds, or they
    /// grow for as long as nobody asks for [`Metrics::render`].
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    /// Sessions now at one instance: a gauge by name (as many series as instances).
    pub fn sessions_at(&self, instance: &InstanceName) -> Gauge {
        gauge(&self.recorder, "instance_sessions", vec![instance.as_str().to_owned()])
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for row in table::TABLE.iter().filter(|row| row.kind == Kind::Seconds) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(row.name.to_owned()), table::SECONDS)
            .expect("there are buckets");
    }
    let recorder = builder.build_recorder();
    for row in table::TABLE {
        match row.kind {
            Kind::Counter => recorder.describe_counter(row.name.into(), None, row.help.into()),
            Kind::Gauge => recorder.describe_gauge(row.name.into(), None, row.help.into()),
            Kind::Seconds => {
                recorder.describe_histogram(row.name.into(), Some(Unit::Seconds), row.help.into());
            }
        }
    }
    recorder
}

const METADATA: Metadata<'static> = Metadata::new("mps_gateway", Level::INFO, None);

/// The row of `name`, which must be of `kind` and have as many labels as there are `values`.
fn key(name: &'static str, kind: Kind, values: Vec<String>) -> Key {
    let row: &Row = table::find(&format!("mps_gateway_{name}"))
        .filter(|row| row.kind == kind && row.labels.len() == values.len())
        .unwrap_or_else(|| panic!("{name}: no {kind:?} with {} labels in the metric table", values.len()));
    let labels: Vec<_> = row.labels.iter().zip(values).map(|(l, v)| metrics::Label::new(*l, v)).collect();
    Key::from_parts(row.name, labels)
}

fn counter(recorder: &PrometheusRecorder, name: &'static str, values: Vec<String>) -> Counter {
    recorder.register_counter(&key(name, Kind::Counter, values), &METADATA)
}

fn counters<L: Labels>(recorder: &PrometheusRecorder, name: &'static str) -> Counters<L> {
    Counters::new(|texts| counter(recorder, name, texts.into_iter().map(str::to_owned).collect()))
}

fn gauge(recorder: &PrometheusRecorder, name: &'static str, values: Vec<String>) -> Gauge {
    recorder.register_gauge(&key(name, Kind::Gauge, values), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, name: &'static str) -> Histogram {
    recorder.register_histogram(&key(name, Kind::Seconds, vec![]), &METADATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    label_set! {
        enum Fruit {
            Apple = "apple",
            Pear = "pear",
        }
    }

    #[test]
    fn a_count_is_rendered_under_its_full_name_and_labels() {
        let metrics = Metrics::new();
        metrics.lookups.of((LookupSource::Cache, LookupOutcome::Owned)).increment(3);
        metrics.handshake_seconds.record(0.02);
        metrics.sessions_at(&"10.0.0.11".parse().expect("a name")).set(7.0);
        let text = metrics.render();
        for line in [
            "mps_gateway_lookups_total{source=\"cache\",outcome=\"owned\"} 3",
            "mps_gateway_lookups_total{source=\"own\",outcome=\"nobody\"} 0",
            "mps_gateway_handshake_seconds_bucket{le=\"0.01\"} 0",
            "mps_gateway_handshake_seconds_bucket{le=\"0.025\"} 1",
            "mps_gateway_instance_sessions{instance=\"10.0.0.11\"} 7",
            "# TYPE mps_gateway_claim_seconds histogram",
            "# HELP mps_gateway_sessions Sessions now that are proven and relayed.",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains(&format!("mps_gateway_build_info{{version=\"{}\"", build::VERSION)), "{text}");
    }

    #[test]
    fn a_plane_brings_labels_of_its_own() {
        let metrics = Metrics::new();
        let ends: Counters<(Fruit, Fruit)> = metrics.counters("session_ends_total");
        ends.of((Fruit::Pear, Fruit::Apple)).increment(1);
        let again: Counters<(Fruit, Fruit)> = metrics.counters("session_ends_total");
        again.of((Fruit::Pear, Fruit::Apple)).increment(1);
        let hellos: Counters<(Fruit, Fruit, Fruit)> = metrics.counters("hellos_total");
        hellos.of((Fruit::Apple, Fruit::Pear, Fruit::Pear)).increment(1);
        let text = metrics.render();
        for line in [
            "mps_gateway_session_ends_total{reason=\"pear\",blame=\"apple\"} 2",
            "mps_gateway_session_ends_total{reason=\"apple\",blame=\"apple\"} 0",
            "mps_gateway_hellos_total{version=\"apple\",key_exchange=\"pear\",outcome=\"pear\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn two_gateways_in_one_process_count_apart() {
        let (one, two) = (Metrics::new(), Metrics::new());
        one.superseded.increment(1);
        assert!(one.render().contains("mps_gateway_superseded_total 1"));
        assert!(two.render().contains("mps_gateway_superseded_total 0"));
    }

    #[test]
    #[should_panic(expected = "no Counter with 1 labels")]
    fn a_name_that_is_not_in_the_table_shows_at_once() {
        Metrics::new().counters::<Fruit>("fruits_total");
    }
}
