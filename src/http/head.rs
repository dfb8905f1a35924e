//! What a proxy changes in a head: headers about one connection stay on it, and a message that two
//! readers could take for two different ones is refused.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, Entry, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Uri, Version};

use super::forwarded::REQUEST_ID;

/// `Keep-Alive`, which belongs to one connection.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `Proxy-Connection`, which nobody should send and some do.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Only of use together with an upgrade to HTTP/2.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Why a request is refused before anybody else sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsound {
    /// CONNECT, or a target without a path.
    #[error("the target is no path")]
    Target,
    /// A transfer coding other than one `chunked`, or a length that is not one number.
    #[error("the body's end is told ambiguously")]
    Framing,
    /// A body that comes with a wish to upgrade.
    #[error("an upgrade has no body")]
    UpgradeBody,
    /// No `Host`, or more than one.
    #[error("HTTP/1.1 wants one Host")]
    Host,
}

/// What is refused: what the parser lets pass and yet could be read in two ways. (It refuses two
/// lengths that differ, bad chunks, NUL, a space before the colon and folded lines by itself; a length
/// beside `chunked` it drops, and closes the connection after the answer, as RFC 9112 6.1 demands.)
pub fn check<B>(request: &Request<B>) -> Result<(), Unsound> {
    if *request.method() == Method::CONNECT || !request.uri().path().starts_with('/') {
        return Err(Unsound::Target);
    }
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coded = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Unsound::Framing),
    };
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(one), None) if one.as_bytes().iter().all(u8::is_ascii_digit) => Some(one),
        _ => return Err(Unsound::Framing),
    };
    if coded && length.is_some() {
        return Err(Unsound::Framing);
    }
    let upgrade = headers.get(UPGRADE).is_some_and(|to| !names_http2(to)); // that one is never passed on
    if upgrade && (coded || length.is_some_and(|length| length != "0")) {
        return Err(Unsound::UpgradeBody);
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, None) if request.version() < Version::HTTP_11 => Ok(()),
        _ => Err(Unsound::Host),
    }
}

/// Brings an absolute target (`GET http://host/path`) into origin form; the `Host` it names replaces the
/// header, as RFC 9112 3.2.2 demands.
pub fn to_origin_form(uri: &mut Uri, headers: &mut HeaderMap) {
    let Some(authority) = uri.authority() else { return };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
    *uri = uri.path_and_query().cloned().map(Uri::from).unwrap_or_else(|| Uri::from_static("/"));
}

/// What one connection was told and the next must not be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hop {
    /// The connection is to become something else.
    pub upgrade: bool,
    /// The body is chunked.
    pub chunked: bool,
    /// Trailers are welcome.
    pub trailers: bool,
}

/// Takes out every header that belongs to one connection, those that `Connection` names included, and
/// says what they said. `Upgrade` itself stays where it is meant.
pub fn strip(headers: &mut HeaderMap) -> Hop {
    let mut hop = Hop::default();
    if let Entry::Occupied(connection) = headers.entry(CONNECTION) {
        let (_, values) = connection.remove_entry_mult();
        let values: Vec<_> = values.collect();
        for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            match name.trim() {
                name if name.eq_ignore_ascii_case("upgrade") => hop.upgrade = true,
                name if ["close", "keep-alive", "te", ""].iter().any(|n| name.eq_ignore_ascii_case(n)) => {}
                name => take_out(headers, name),
            }
        }
    }
    if let Some(te) = headers.remove(TE) {
        let codings = te.to_str().unwrap_or_default();
        hop.trailers = codings.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    }
    hop.chunked = headers.remove(TRANSFER_ENCODING).is_some();
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(PROXY_AUTHENTICATE);
    hop.upgrade &= headers.get(UPGRADE).is_some_and(|to| !names_http2(to));
    if !hop.upgrade {
        headers.remove(UPGRADE);
        headers.remove(HTTP2_SETTINGS);
    }
    hop
}

/// Upgrading to HTTP/2 would carry requests past every decision of ours.
fn names_http2(to: &HeaderValue) -> bool {
    to.as_bytes().windows(2).any(|two| two.eq_ignore_ascii_case(b"h2"))
}

/// Takes out a header that `Connection` names, unless the message could not be read without it, or it is
/// one of ours.
fn take_out(headers: &mut HeaderMap, name: &str) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return };
    if ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER, UPGRADE, REQUEST_ID].contains(&name) {
        headers.remove(name);
    }
}

/// Adds to the head of a request what the next connection is to be told.
pub fn dress(headers: &mut HeaderMap, hop: Hop) {
    if hop.upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if hop.chunked {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if hop.trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn headers_of_one_connection_stay_on_it() {
        let mut map = headers(&[
            ("host", "mps"),
            ("connection", "keep-alive, X-Secret ,content-length,host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("trailer", "digest"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer x"),
            ("content-length", "0"),
        ]);
        let hop = strip(&mut map);
        assert_eq!(
            hop,
            Hop { upgrade: false, chunked: true, trailers: true },
            "no wish to upgrade in Connection"
        );
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "content-length", "host", "trailer"]);
        dress(&mut map, hop);
        assert_eq!(map.get("te").expect("trailers are welcome"), "trailers");
        assert_eq!(map.get("transfer-encoding").expect("still chunked"), "chunked");
    }

    #[test]
    fn an_upgrade_is_one_only_if_connection_says_so_and_never_to_http2() {
        for (connection, upgrade, is_one) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, Upgrade", "websocket", true),
            ("keep-alive", "websocket", false),
            ("upgrade, http2-settings", "h2c", false),
            ("upgrade", "websocket, H2C", false),
        ] {
            let mut map =
                headers(&[("connection", connection), ("upgrade", upgrade), ("http2-settings", "x")]);
            let hop = strip(&mut map);
            assert_eq!(
                (hop.upgrade, map.contains_key("upgrade")),
                (is_one, is_one),
                "{connection} {upgrade}"
            );
            dress(&mut map, hop);
            assert_eq!(map.contains_key("connection"), is_one);
        }
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_names_the_host() {
        let mut uri: Uri = "http://user@mps.example:3000/api?x=1".parse().expect("a target");
        let mut map = headers(&[("host", "else")]);
        to_origin_form(&mut uri, &mut map);
        assert_eq!(
            (uri.to_string().as_str(), &map["host"]),
            ("/api?x=1", &HeaderValue::from_static("mps.example:3000"))
        );
    }
}
