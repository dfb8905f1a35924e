//! The environment of mps-router: with it and no file we do what it did, where it did it.

use super::problem::{Place, Problem};
use super::raw::{Document, Raw, STATIC, Values, Written};

/// What mps-router assumed.
const HOST: &str = "mps";
/// The web port of MPS.
const PORT: &str = "3000";
/// Where mps-router looked up who has a device.
const DATABASE: &str = "MPS_CONNECTION_STRING";

/// Lays `PORT`, `MPS_HOST` and `MPS_PORT` over a document that no file stands for. What our own names
/// set is left as it is.
pub fn overlay(
    document: &mut Document,
    environment: &[(String, String)],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let mut find = |name: &str, whole: bool| {
        let (_, value) =
            environment.iter().find(|(found, value)| found == name && !value.trim().is_empty())?;
        let (value, place) = (value.trim().to_owned(), Place::Environment(name.to_owned()));
        if whole && value.starts_with("tcp://") {
            // Kubernetes says so of a Service that happens to be called mps.
            let (what, cure) =
                ("a service link, not a port: it is ignored", "set a number, or enableServiceLinks: false");
            warnings.push(Problem::new(place, "", what, cure));
            return None;
        }
        if whole && value.parse::<u16>().is_err() {
            problems.push(Problem::new(
                place,
                "",
                format!("{value:?} is not a port"),
                "write a number up to 65535",
            ));
            return None;
        }
        Some((value, place))
    };
    let (listen, host, port) = (find("PORT", true), find("MPS_HOST", false), find("MPS_PORT", true));
    if let Some((_, place)) = find(DATABASE, false) {
        // Never its value: there is a password in it.
        let what =
            "legacy databases are not in this build: who has a device that called past us is not known";
        warnings.push(Problem::new(place, "", what, "let devices call this gateway, or keep mps-router"));
    }
    let mut set = |key, value: String, place: &Place| {
        let written = Written { raw: Raw::Variable(value), place: place.clone() };
        document.values.entry(key).or_insert(written);
    };
    if let Some((listen, place)) = listen {
        set("api.listen", format!("0.0.0.0:{listen}"), &place);
    }
    if host.is_none() && document.sections.contains("device") {
        return; // variables of our own opened it: that is no mps-router
    }
    let (host, place) = host.unwrap_or_else(|| (HOST.to_owned(), Place::Nowhere));
    let (port, port_place) = port.unwrap_or_else(|| (PORT.to_owned(), Place::Nowhere));
    set("instances.http-port", port.clone(), &port_place); // the same for every instance, as there
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let address = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    let written = |value: &str| Written { raw: Raw::Text(value.to_owned()), place: place.clone() };
    let mut values = Values::new();
    values.insert("instances.static.name", written(name));
    values.insert("instances.static.http", written(&address));
    debug_assert!(values.keys().all(|key| key.starts_with(STATIC)));
    document.statics.push((place.clone(), values));
}
