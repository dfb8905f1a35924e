//! What a request's target names: the device, and whether only its owner can answer. Pure.
//!
//! The device is the first GUID that is a whole path segment, else that of the query's `host`. Only it
//! counts. Nothing is decoded for routing; since MPS decodes each segment and each parameter, a target
//! that would name another device once decoded is refused instead of guessed at.

use std::ops::Range;

use crate::model::DeviceId;

/// What a target names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The device that counts.
    pub device: Option<DeviceId>,
    /// Who can answer.
    pub by: By,
    /// Where in the target the device's GUID is, if it is not in canonical lower case.
    pub respell: Option<Range<usize>>,
}

/// Who can answer a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// Every instance, out of the database.
    Anyone,
    /// The instance that holds this device.
    Owner(DeviceId),
}

/// Decoded, the target names another device than as it stands, or two at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the target names a device ambiguously")]
pub struct Ambiguous;

/// Reads `target`: path and query, as the request line has them.
pub fn read(target: &str) -> Result<Target, Ambiguous> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let in_path = first_segment(path);
    if path.contains('%') && first_device(&decoded(path, false)) != in_path.map(|(d, _)| d) {
        return Err(Ambiguous);
    }
    let found = match (in_path, query) {
        (Some(found), _) => Some(found),
        (None, Some(query)) => host(query)?.map(|(device, at)| (device, at + path.len() + 1)),
        (None, None) => None,
    };
    let device = found.map(|(device, _)| device);
    let by = device.filter(|_| !from_database(path)).map_or(By::Anyone, By::Owner);
    let range = found.map(|(_, at)| at..at + DeviceId::TEXT_LEN);
    let respell = range.filter(|range| target[range.clone()].bytes().any(|b| b.is_ascii_uppercase()));
    Ok(Target { device, by, respell })
}

/// `target` with the device's GUID in lower case.
pub fn respelled(target: &str, guid: &Range<usize>) -> String {
    let mut target = target.to_owned();
    target[guid.clone()].make_ascii_lowercase();
    target
}

/// The first GUID that is a whole segment, and where it begins.
fn first_segment(path: &str) -> Option<(DeviceId, usize)> {
    let mut at = 0;
    for segment in path.split('/') {
        if segment.len() == DeviceId::TEXT_LEN
            && let Ok(device) = segment.parse()
        {
            return Some((device, at));
        }
        at += segment.len() + 1;
    }
    None
}

fn first_device(path: &str) -> Option<DeviceId> {
    first_segment(path).map(|(device, _)| device)
}

/// The device of the parameter `host`, and where in the query its GUID begins.
fn host(query: &str) -> Result<Option<(DeviceId, usize)>, Ambiguous> {
    let mut found: Option<(DeviceId, usize)> = None;
    let mut at = 0;
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if let Some(device) = device_of(key, value)? {
            match found {
                None => found = Some((device, at + key.len() + 1)),
                Some((first, _)) if first == device => {}
                Some(_) => return Err(Ambiguous),
            }
        }
        at += parameter.len() + 1;
    }
    Ok(found)
}

/// The device of one parameter, if it is `host`.
fn device_of(key: &str, value: &str) -> Result<Option<DeviceId>, Ambiguous> {
    if key == "host"
        && let Ok(device) = value.parse()
    {
        return Ok(Some(device));
    }
    let plain = |text: &str| !text.bytes().any(|b| matches!(b, b'%' | b'+'));
    if plain(key) && (key != "host" || plain(value)) {
        return Ok(None);
    }
    let read = |text| decoded(text, true);
    let hidden = read(key) == "host" && read(value).parse::<DeviceId>().is_ok();
    if hidden { Err(Ambiguous) } else { Ok(None) }
}

/// Percent-decoded once, as MPS does. Bytes that are no text are replaced: they are part of no GUID.
fn decoded(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |at: usize| char::from(*tail.get(at)?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (byte, hex(0).zip(hex(1))) {
            (b'%', Some((high, low))) => {
                bytes.push(high << 4 | low);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) if plus_is_space => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether MPS answers `path` from its database, whichever instance is asked. Express compares without
/// regard to case, and with or without a slash at the end.
fn from_database(path: &str) -> bool {
    const PREFIX: &str = "/api/v1/";
    let Some((prefix, rest)) = path.split_at_checked(PREFIX.len()) else { return false };
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return false;
    }
    let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let row = [segments.next(), segments.next(), segments.next(), segments.next()];
    let is = |at: usize, word: &str| row[at].is_some_and(|segment| segment.eq_ignore_ascii_case(word));
    let guid = |at: usize| row[at].is_some_and(|segment| segment.parse::<DeviceId>().is_ok());
    match row.iter().flatten().count() {
        1 => ["authorize", "ciracert", "devices", "health", "version"].iter().any(|word| is(0, word)),
        2 => is(0, "devices") && (is(1, "stats") || is(1, "tags") || guid(1)),
        3 => is(0, "authorize") && is(1, "redirection") && guid(2),
        _ => false,
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
