//! Every metric: its name, kind, labels and meaning. Units are in the names, as Prometheus asks.
//!
//! Who adds a metric adds a row here; registering a name that has no row is a mistake that the first
//! start shows.

/// What a metric measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A value now.
    Gauge,
    /// Seconds, in fixed buckets from 100 µs to 100 s.
    Seconds,
}

/// A metric's entry in the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, for people.
    pub help: &'static str,
}

const fn row(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Row {
    Row { name, kind, labels, help }
}

/// Upper bounds of the buckets of every histogram, in seconds: a claim takes a millisecond, a held
/// device half a minute.
pub const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 100.0,
];

/// The table, by name.
#[rustfmt::skip]
pub const TABLE: &[Row] = {
    use Kind::{Counter, Gauge, Seconds};
    &[
        row("mps_gateway_accepts_total", Counter, &["outcome"], "Device connections accepted, by what became of them before the relay."),
        row("mps_gateway_api_connections", Gauge, &[], "Connections to the api plane now, WebSockets included."),
        row("mps_gateway_breaker_open", Gauge, &[], "1 while the directory does not answer and no command is sent to it."),
        row("mps_gateway_build_info", Gauge, &["version", "commit"], "Always 1; says what runs."),
        row("mps_gateway_bytes_total", Counter, &["direction"], "Payload bytes relayed."),
        row("mps_gateway_certificate_expiry_timestamp_seconds", Gauge, &[], "When the device certificate shown now expires, seconds since 1970."),
        row("mps_gateway_claim_seconds", Seconds, &[], "Time from proof to the directory's answer to a claim."),
        row("mps_gateway_claims_pending", Gauge, &[], "Claims that the directory has not granted yet."),
        row("mps_gateway_claims_total", Counter, &["outcome"], "Claims made after proof, by outcome; one that is pending counts again once it is settled."),
        row("mps_gateway_connect_seconds", Seconds, &[], "Time of one successful connect to an instance, TLS included."),
        row("mps_gateway_contested_devices", Gauge, &[], "GUIDs that more than one active device claims to have."),
        row("mps_gateway_contested_refusals_total", Counter, &[], "Newcomers closed because their GUID is contested."),
        row("mps_gateway_device_connections", Gauge, &[], "Device connections now, from accept to the end."),
        row("mps_gateway_devices_held", Gauge, &[], "Devices now waiting because no instance can take them."),
        row("mps_gateway_directory_errors_total", Counter, &[], "Commands that the directory refused or did not answer."),
        row("mps_gateway_directory_lost_data_total", Counter, &[], "Losses of data noticed in the directory: claims were written again."),
        row("mps_gateway_guard_refusals_total", Counter, &["reason"], "Sessions ended by the guard."),
        row("mps_gateway_guard_stepped_aside_total", Counter, &[], "Sessions that the guard stopped following at an unknown message type."),
        row("mps_gateway_handshake_seconds", Seconds, &[], "Time of a device's TLS handshake, hello to finished."),
        row("mps_gateway_hellos_total", Counter, &["version", "key_exchange", "outcome"], "ClientHellos of devices, by best version, key exchange and whether we can serve them."),
        row("mps_gateway_instance_connects_total", Counter, &["outcome"], "Connect attempts to instances."),
        row("mps_gateway_instance_sessions", Gauge, &["instance"], "Proven sessions of this replica at each instance."),
        row("mps_gateway_login_failures_total", Counter, &[], "USERAUTH_FAILURE answers of instances."),
        row("mps_gateway_lookup_seconds", Seconds, &[], "Time of a look-up that asked the directory."),
        row("mps_gateway_lookups_total", Counter, &["source", "outcome"], "Look-ups of owners, by who answered and what."),
        row("mps_gateway_placements_total", Counter, &["why"], "Routing decisions, by why the first candidate is the first."),
        row("mps_gateway_reloads_total", Counter, &["outcome"], "Reloads of settings and certificates."),
        row("mps_gateway_republished_total", Counter, &[], "Claims written again after the directory lost its data."),
        row("mps_gateway_request_resends_total", Counter, &["cause"], "Requests sent to an instance once more, by why."),
        row("mps_gateway_request_routes_total", Counter, &["why"], "Requests sent to an instance, by why there."),
        row("mps_gateway_request_seconds", Seconds, &[], "Time from the head of a request to the head of its answer."),
        row("mps_gateway_requests_in_flight", Gauge, &[], "Requests under way now, WebSockets included."),
        row("mps_gateway_requests_total", Counter, &["reason", "blame"], "Ended requests, by reason and whose doing it was."),
        row("mps_gateway_session_ends_total", Counter, &["reason", "blame"], "Ended device connections, by reason and whose doing it was."),
        row("mps_gateway_sessions", Gauge, &[], "Sessions now that are proven and relayed."),
        row("mps_gateway_splice_ends_total", Counter, &["reason", "blame"], "Ended device connections that were spliced or to be spliced, by reason and whose doing it was."),
        row("mps_gateway_spliced_sessions", Gauge, &[], "Sessions now that are spliced: legacy TLS, relayed to an instance unguarded."),
        row("mps_gateway_superseded_total", Counter, &[], "Sessions closed because a newer one of the same device was proven."),
        row("mps_gateway_upgrade_bytes_total", Counter, &["direction"], "Bytes relayed by WebSockets, of live ones as of some seconds ago."),
        row("mps_gateway_upgrades", Gauge, &[], "WebSockets relayed now."),
    ]
};

/// The row of `name`, given in full.
pub fn find(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_names_say_their_unit() {
        assert!(TABLE.len() > 20, "the table is not empty");
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name), "sorted, no name twice");
        for row in TABLE {
            assert!(row.name.starts_with("mps_gateway_"), "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
            assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
            assert!(row.kind != Kind::Seconds || row.name.ends_with("_seconds"), "{}", row.name);
        }
    }
}
