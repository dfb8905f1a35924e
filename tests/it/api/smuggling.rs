//! Requests that two readers could take for two different ones: refused, or brought into one form.

use super::raw::Raw;
use super::*;

const A: &str = "4c4c4544-004d-4d10-8050-000000000001";
const B: &str = "4c4c4544-004d-4d10-8050-000000000002";

/// What becomes of the bytes.
enum Expected {
    /// Refused with this status, and the connection closed; no instance heard a word.
    Refused(u16),
    /// Refused with this status; the connection may go on.
    Declined(u16),
    /// The instances heard exactly these: method, target, body.
    Heard(&'static [(&'static str, &'static str, &'static str)]),
}

use Expected::{Declined, Heard, Refused};

#[rustfmt::skip]
fn corpus() -> Vec<(&'static str, String, Expected)> {
    let of = |name: &'static str, text: &str, expected| (name, text.replace("{A}", A).replace("{B}", B), expected);
    vec![
        of("two lengths that differ", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!", Refused(400)),
        of("a list of lengths that differ", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nbody!", Refused(400)),
        of("the same length twice", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody", Heard(&[("POST", "/x", "body")])),
        of("a list of one length", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody", Refused(400)),
        of("a length with a sign", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody", Refused(400)),
        of("a negative length", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Refused(400)),
        of("a length in hexadecimal", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nbody", Refused(400)),
        of("a length beyond numbers", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", Refused(400)),
        of("an empty length", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", Refused(400)),
        of("a length, then chunked", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("POST", "/x", "")])),
        of("chunked, then a length", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("POST", "/x", "abc")])),
        of("chunked twice", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Declined(400)),
        of("chunked, then identity", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(400)),
        of("another coding before chunked", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Declined(400)),
        of("a coding that only looks like chunked", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400)),
        of("chunked behind a vertical tab", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused(400)),
        of("chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        of("a chunk size with a sign", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        of("a chunk size with 0x", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        of("a chunk size beyond numbers", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", Refused(400)),
        of("a chunk without its end", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", Refused(400)),
        of("a chunk ended by LF", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Refused(400)),
        of("LF inside a chunk extension", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", Refused(400)),
        of("lines ended by LF", "GET /x HTTP/1.1\nHost: a\n\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/x", ""), ("GET", "/y", "")])),
        of("a line ended by CR", "GET /x HTTP/1.1\rHost: a\r\n\r\n", Refused(400)),
        of("CR inside a value", "GET /x HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 5\r\n\r\n", Refused(400)),
        of("NUL in a value", "GET /x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Refused(400)),
        of("NUL in a name", "GET /x HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", Refused(400)),
        of("NUL in a target", "GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        of("a space before the colon", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nbody", Refused(400)),
        of("a tab before the colon", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
        of("a folded line", "GET /x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Refused(400)),
        of("a folded first line", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n", Refused(400)),
        of("a name of nothing", "GET /x HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Refused(400)),
        of("a line without a colon", "GET /x HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", Refused(400)),
        of("no Host", "GET /x HTTP/1.1\r\n\r\n", Declined(400)),
        of("two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Declined(400)),
        of("HTTP/1.0 without a Host", "GET /x HTTP/1.0\r\n\r\n", Heard(&[("GET", "/x", "")])),
        of("HTTP/0.9", "GET /x\r\n\r\n", Refused(400)),
        of("HTTP/1.2", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n", Refused(400)),
        of("HTTP/2 by knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(0)),
        of("an absolute target", "GET http://other/api/v1/amt/version/{A} HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/api/v1/amt/version/4c4c4544-004d-4d10-8050-000000000001", "")])),
        of("CONNECT", "CONNECT mps:3000 HTTP/1.1\r\nHost: mps:3000\r\n\r\n", Declined(400)),
        of("a target without a slash", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("a space in the target", "GET /x /y HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
        of("a fragment", "GET /x#/api/v1/amt/version/{A} HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/x", "")])),
        of("an encoded hyphen", "GET /api/v1/amt/version/4c4c4544%2d004d-4d10-8050-000000000001 HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("an encoded digit", "GET /api/v1/amt/version/%34c4c4544-004d-4d10-8050-000000000001 HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("an encoded slash before the device", "GET /api/v1/amt/version%2f{A}/{B} HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("an encoded slash after the device", "GET /api/v1/amt/x/{A}/a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/api/v1/amt/x/4c4c4544-004d-4d10-8050-000000000001/a%2Fb", "")])),
        of("another device named in host", "GET /relay/webrelay.ashx?host={A}&host={B} HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("host spelled with an escape", "GET /relay/webrelay.ashx?h%6fst={A} HTTP/1.1\r\nHost: a\r\n\r\n", Declined(400)),
        of("an upgrade with a body", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody", Declined(400)),
        of("Connection names the length", "POST /x HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 4\r\n\r\nbody", Heard(&[("POST", "/x", "body")])),
        of("a body with GET", "GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET /y HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/x", "body"), ("GET", "/y", "")])),
        of("chunks with GET", "GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n", Heard(&[("GET", "/x", "body"), ("GET", "/y", "")])),
        of("nothing of HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n", Refused(400)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instance_and_we_never_disagree_where_a_request_ends_or_which_device_it_names() {
    let gateway = Gateway::before(1).await;
    let mut seen = 0;
    for (name, bytes, expected) in corpus() {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say(&bytes).await;
        let said = match expected {
            Refused(_) => raw.rest().await, // and closes
            Declined(_) | Heard(_) => raw.all().await,
        };
        let asked = gateway.mps[0].asked();
        let new: Vec<_> = asked[seen..].iter().collect();
        seen = asked.len();
        match expected {
            Refused(0) => assert_eq!((said.as_str(), new.len()), ("", 0), "{name}"),
            Refused(status) | Declined(status) => {
                assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {said:?}");
                assert!(said.contains("{\"error\":\""), "{name}: JSON in {said:?}");
                assert!(said.contains("x-request-id: "), "{name}: {said:?}");
                // A body that breaks off is seen by the instance as one that breaks off: never as a request.
                assert!(new.is_empty(), "{name}: {new:?}");
            }
            Heard(requests) => {
                let heard: Vec<_> = new
                    .iter()
                    .map(|a| {
                        (a.method.as_str(), a.target.as_str(), std::str::from_utf8(&a.body).expect("text"))
                    })
                    .collect();
                assert_eq!(heard, requests, "{name}: {said:?}");
                assert!(
                    said.starts_with("HTTP/1.1 404") || said.starts_with("HTTP/1.0 404"),
                    "{name}: {said:?}"
                );
                let lengths: Vec<_> =
                    new.iter().map(|a| (a.header("content-length"), a.header("transfer-encoding"))).collect();
                let one = |(length, coding): &(String, String)| length.is_empty() || coding.is_empty();
                assert!(lengths.iter().all(one), "{name}: one framing only, {lengths:?}");
            }
        }
    }
    assert!(seen > 10, "some were heard");
}
