//! Who asked, and under which number: `X-Forwarded-*`, `X-Request-Id`, `traceparent`.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const BY_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What only a proxy has business to say, beside those we set.
const CLAIMS: [HeaderName; 5] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-path"),
];

/// The longest request id taken from others.
const LONGEST_ID: usize = 64;

/// Who called: worked out once for each connection.
#[derive(Debug)]
pub struct Caller {
    /// Its address.
    pub peer: SocketAddr,
    /// Whether it may speak for others.
    pub trusted: bool,
    text: HeaderValue,
    proto: HeaderValue,
}

impl Caller {
    /// A caller at `peer`, in TLS or not.
    pub fn new(peer: SocketAddr, trusted: bool, tls: bool) -> Self {
        let text = HeaderValue::from_str(&peer.ip().to_string()).expect("an address is a header's value");
        let proto = HeaderValue::from_static(if tls { "https" } else { "http" });
        Self { peer, trusted, text, proto }
    }

    /// Sets the headers that say who asked. A caller that may speak for others is appended to what it
    /// says, and its word on host and scheme kept; of anybody else what it claims is replaced.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if self.trusted {
            let before =
                headers.get_all(FOR).iter().filter(|value| !value.is_empty()).map(HeaderValue::as_bytes);
            let mut all = BytesMut::new();
            for value in before {
                all.extend_from_slice(value);
                all.extend_from_slice(b", ");
            }
            let all = match all.is_empty() {
                true => self.text.clone(),
                false => {
                    all.extend_from_slice(self.text.as_bytes());
                    HeaderValue::from_maybe_shared(all.freeze()).unwrap_or_else(|_| self.text.clone())
                }
            };
            headers.insert(FOR, all);
        } else {
            CLAIMS.iter().for_each(|claim| drop(headers.remove(claim)));
            headers.insert(FOR, self.text.clone());
        }
        if !(self.trusted && headers.contains_key(PROTO)) {
            headers.insert(PROTO, self.proto.clone());
        }
        if !(self.trusted && headers.contains_key(BY_HOST)) {
            match headers.get(HOST).cloned() {
                Some(host) => drop(headers.insert(BY_HOST, host)),
                None => drop(headers.remove(BY_HOST)),
            }
        }
    }

    /// The address behind the proxies that are trusted: the last one that is not.
    pub fn behind(&self, headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
        let mut found = self.peer.ip();
        if !self.trusted {
            return found;
        }
        let lists: Vec<_> = headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        for address in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
            let Ok(address) = address.trim().parse() else { return found };
            found = address;
            if !trusted(address) {
                return found;
            }
        }
        found
    }
}

/// The number of a request: the caller's if it is one, else the trace's, else one of ours. Sets it, and
/// starts a trace where there is none.
pub fn number(headers: &mut HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| is_id(id.as_bytes())).cloned();
    let traced = headers.get(TRACEPARENT).filter(|parent| is_traceparent(parent.as_bytes()));
    let traced = traced.map(|parent| parent.as_bytes()[3..35].to_vec());
    let started = traced.is_none().then(|| {
        let parent = traceparent(rand::random(), rand::random());
        let value = HeaderValue::from_str(&parent).expect("hexadecimal digits");
        headers.insert(TRACEPARENT, value);
        parent.into_bytes()[3..35].to_vec()
    });
    let id = given.unwrap_or_else(|| {
        let trace = traced.or(started).unwrap_or_default();
        HeaderValue::from_maybe_shared(bytes::Bytes::from(trace)).expect("hexadecimal digits")
    });
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// A number of ours, for a request whose head could not be read.
pub fn new_number() -> HeaderValue {
    HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>())).expect("hexadecimal digits")
}

fn is_id(id: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"._-+/=".contains(b);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(allowed)
}

/// W3C Trace Context, version 00: `00-<trace>-<parent>-<flags>`, neither of zeros only.
fn is_traceparent(parent: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let some = |part: &[u8]| part.iter().any(|b| *b != b'0');
    parent.len() == 55
        && parent.starts_with(b"00-")
        && [35, 52].iter().all(|at| parent[*at] == b'-')
        && hex(&parent[3..35])
        && hex(&parent[36..52])
        && hex(&parent[53..])
        && some(&parent[3..35])
        && some(&parent[36..52])
}

fn traceparent(trace: u128, parent: u64) -> String {
    format!("00-{:032x}-{:016x}-00", trace.max(1), parent.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: bool) -> Caller {
        Caller::new("192.0.2.1:5000".parse().expect("an address"), trusted, false)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_a_stranger_claims_is_replaced_and_a_proxy_is_appended_to() {
        let claims = [
            ("host", "mps.example"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "198.51.100.2, 198.51.100.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example"),
            ("x-real-ip", "203.0.113.7"),
            ("forwarded", "for=203.0.113.7"),
        ];
        let mut map = headers(&claims);
        caller(false).tell(&mut map);
        let said = |map: &HeaderMap, name: &str| {
            let all: Vec<_> =
                map.get_all(name).iter().map(|v| v.to_str().expect("text").to_owned()).collect();
            all.join("|")
        };
        assert_eq!(said(&map, "x-forwarded-for"), "192.0.2.1");
        assert_eq!(said(&map, "x-forwarded-proto"), "http");
        assert_eq!(said(&map, "x-forwarded-host"), "mps.example");
        assert!(!map.contains_key("x-real-ip") && !map.contains_key("forwarded"));

        let mut map = headers(&claims);
        caller(true).tell(&mut map);
        assert_eq!(said(&map, "x-forwarded-for"), "203.0.113.7, 198.51.100.2, 198.51.100.3, 192.0.2.1");
        assert_eq!(said(&map, "x-forwarded-proto"), "https");
        assert_eq!(said(&map, "x-forwarded-host"), "public.example");
        assert!(map.contains_key("x-real-ip") && map.contains_key("forwarded"));
    }

    #[test]
    fn the_source_is_the_last_address_that_no_trusted_proxy_wrote() {
        let lan = |ip: IpAddr| ip.to_string().starts_with("10.") || ip.to_string() == "192.0.2.1";
        for (chain, source) in [
            ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("198.51.100.9, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
            ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
            ("nonsense, 10.0.0.1", "10.0.0.1"),
        ] {
            let map = headers(&[("x-forwarded-for", chain)]);
            assert_eq!(caller(true).behind(&map, lan).to_string(), source, "{chain}");
            assert_eq!(caller(false).behind(&map, lan).to_string(), "192.0.2.1", "{chain}");
        }
    }

    #[test]
    fn a_trace_is_passed_or_started_and_the_number_is_the_callers_or_the_traces() {
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut map = headers(&[("traceparent", PARENT)]);
        assert_eq!(number(&mut map), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(map["traceparent"], PARENT);

        let mut map = headers(&[("traceparent", PARENT), ("x-request-id", "kong-1.a")]);
        assert_eq!(number(&mut map), "kong-1.a");

        for bad in ["", "00-0-0-00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "nonsense"] {
            let mut map = headers(&[("traceparent", bad), ("x-request-id", "two words")]);
            let id = number(&mut map);
            let parent = map["traceparent"].to_str().expect("text").to_owned();
            assert!(is_traceparent(parent.as_bytes()), "{parent}");
            assert_eq!(id, parent[3..35], "{bad}");
            assert_eq!(map["x-request-id"], id);
        }
    }
}
