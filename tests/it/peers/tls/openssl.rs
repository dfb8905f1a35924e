//! What OpenSSL can offer, row by row, and what becomes of it: seen by the client and by the gateway.

use std::collections::BTreeMap;

use mps_gateway::sim::mps::Account;
use mps_gateway::sim::pki::Keys;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, PFWD_SERVICE, Preamble, UserauthRequest};

use super::house::{Hello, House, counted, device, series};
use super::s_client::{Client, Seen, installed};
use crate::gateway::within;

/// What a client sees.
enum Sees {
    /// A fatal alert.
    Alert(u8),
    /// Version, suite and group of a handshake.
    Served(&'static str, &'static str, &'static str),
}
use Sees::{Alert, Served};

/// A name, options of `s_client`, what it sees, and how the gateway counts the hello.
type Row = (&'static str, &'static str, Sees, Hello);

const PROTOCOL_VERSION: u8 = 70;
const HANDSHAKE_FAILURE: u8 = 40;

const TLS12: Hello = ["tls12", "ecdhe-aead", "served"];
const TLS13: Hello = ["tls13", "tls13", "served"];

const AES128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
const AES256: &str = "ECDHE-RSA-AES256-GCM-SHA384";
const CHACHA: &str = "ECDHE-RSA-CHACHA20-POLY1305";
const TLS13_AES128: &str = "TLS_AES_128_GCM_SHA256";
const TLS13_AES256: &str = "TLS_AES_256_GCM_SHA384";

/// With the leaf that most devices want.
#[rustfmt::skip]
const RSA: &[Row] = &[
    ("TLS 1.0, all suites", "-tls1 -cipher ALL:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls10", "ecdhe-cbc", "version"]),
    ("TLS 1.0, RSA key exchange", "-tls1 -cipher AES128-SHA:AES256-SHA:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls10", "rsa", "version"]),
    ("TLS 1.1, all suites", "-tls1_1 -cipher ALL:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls11", "ecdhe-cbc", "version"]),
    ("TLS 1.1, RSA key exchange", "-tls1_1 -cipher AES128-SHA:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls11", "rsa", "version"]),
    ("TLS 1.0 and 1.1, none newer", "-no_tls1_2 -no_tls1_3 -cipher ALL:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls11", "ecdhe-cbc", "version"]),
    ("1.2, RSA key exchange only", "-tls1_2 -cipher AES128-SHA:AES256-SHA:AES128-SHA256:AES256-SHA256:AES128-GCM-SHA256:AES256-GCM-SHA384:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "rsa", "suite"]),
    ("1.2, DHE-RSA only", "-tls1_2 -cipher DHE-RSA-AES128-SHA:DHE-RSA-AES256-SHA256:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "dhe", "suite"]),
    ("1.2, ECDHE-RSA with CBC only", "-tls1_2 -cipher ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-cbc", "suite"]),
    ("1.2, ECDHE-ECDSA only", "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "suite"]),
    ("1.2, c02f", "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "X25519"), TLS12),
    ("1.2, c030", "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, cca8", "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305:@SECLEVEL=0", Served("TLSv1.2", CHACHA, "X25519"), TLS12),
    ("1.2, rsa_pkcs1_sha1 only", "-tls1_2 -sigalgs RSA+SHA1 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "signature"]),
    ("1.2, rsa_pkcs1_sha256 only", "-tls1_2 -sigalgs RSA+SHA256 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "X25519"), TLS12),
    ("1.2, P-256 only", "-tls1_2 -groups P-256 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "prime256v1"), TLS12),
    ("1.2, P-384 only", "-tls1_2 -groups P-384 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "secp384r1"), TLS12),
    ("1.2, P-521 only", "-tls1_2 -groups P-521 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "group"]),
    ("1.2, P-521, then P-256", "-tls1_2 -groups P-521:P-256 -cipher ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "prime256v1"), TLS12),
    ("1.2, CBC first, GCM later", "-tls1_2 -cipher ECDHE-RSA-AES256-SHA:AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "X25519"), TLS12),
    ("1.2, DHE first, GCM later", "-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", AES128, "X25519"), TLS12),
    ("1.2, no SNI", "-tls1_2 -noservername", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, a name in SNI", "-tls1_2 -servername mps.example", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, no session ticket", "-tls1_2 -no_ticket", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, no SNI and no ticket", "-tls1_2 -noservername -no_ticket", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, fragments of 512 bytes wanted", "-tls1_2 -maxfraglen 512", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.2, OCSP staple and ALPN wanted", "-tls1_2 -status -alpn http/1.1", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("1.0 to 1.2", "-no_tls1_3 -cipher ALL:@SECLEVEL=0", Served("TLSv1.2", AES256, "X25519"), TLS12),
    ("all OpenSSL has", "-cipher ALL:@SECLEVEL=0", Served("TLSv1.3", TLS13_AES256, "X25519"), TLS13),
    ("1.3", "-tls1_3", Served("TLSv1.3", TLS13_AES256, "X25519"), TLS13),
    ("1.3, 1301", "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", Served("TLSv1.3", TLS13_AES128, "X25519"), TLS13),
    ("1.3, 1303", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", Served("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256", "X25519"), TLS13),
    ("1.3, 1304 only", "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "suite"]),
    ("1.3 without its suites, 1.2 with", "-ciphersuites TLS_AES_128_CCM_SHA256", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "suite"]),
    ("1.3, P-256 only", "-tls1_3 -groups P-256", Served("TLSv1.3", TLS13_AES256, "prime256v1"), TLS13),
    ("1.3, P-384 only", "-tls1_3 -groups P-384", Served("TLSv1.3", TLS13_AES256, "secp384r1"), TLS13),
    ("1.3, P-521 only", "-tls1_3 -groups P-521", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "group"]),
    ("1.3, share for P-521, asked again for P-384", "-tls1_3 -groups P-521:P-384", Served("TLSv1.3", TLS13_AES256, "secp384r1"), TLS13),
    ("1.3, rsa_pkcs1_sha256 only", "-tls1_3 -sigalgs RSA+SHA256", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "signature"]),
    ("1.3, RSA-PSS only", "-tls1_3 -sigalgs RSA-PSS+SHA256:RSA+SHA384", Served("TLSv1.3", TLS13_AES256, "X25519"), TLS13),
    ("1.3, no SNI, no middlebox mode", "-tls1_3 -noservername -no_middlebox", Served("TLSv1.3", TLS13_AES256, "X25519"), TLS13),
];

const ECDSA_AES128: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
const ECDSA_AES256: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
const ECDSA_CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";

/// With a leaf that only newer devices take.
#[rustfmt::skip]
const ECDSA: &[Row] = &[
    ("TLS 1.0, all suites", "-tls1 -cipher ALL:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls10", "ecdhe-cbc", "version"]),
    ("TLS 1.1, all suites", "-tls1_1 -cipher ALL:@SECLEVEL=0", Alert(PROTOCOL_VERSION), ["tls11", "ecdhe-cbc", "version"]),
    ("1.2, RSA key exchange only", "-tls1_2 -cipher AES128-SHA:AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "rsa", "suite"]),
    ("1.2, DHE-RSA only", "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "dhe", "suite"]),
    ("1.2, ECDHE-ECDSA with CBC only", "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-cbc", "suite"]),
    ("1.2, ECDHE-RSA only", "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "suite"]),
    ("1.2, c02b", "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", ECDSA_AES128, "X25519"), TLS12),
    ("1.2, c02c", "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384:@SECLEVEL=0", Served("TLSv1.2", ECDSA_AES256, "X25519"), TLS12),
    ("1.2, cca9", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305:@SECLEVEL=0", Served("TLSv1.2", ECDSA_CHACHA, "X25519"), TLS12),
    ("1.2, ecdsa_sha1 only", "-tls1_2 -sigalgs ECDSA+SHA1 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "signature"]),
    ("1.2, ECDSA with SHA-384 only", "-tls1_2 -sigalgs ECDSA+SHA384 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "signature"]),
    ("1.2, ECDSA with SHA-256 only", "-tls1_2 -sigalgs ECDSA+SHA256 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", ECDSA_AES128, "X25519"), TLS12),
    ("1.2, P-256 only", "-tls1_2 -groups P-256", Served("TLSv1.2", ECDSA_AES256, "prime256v1"), TLS12),
    ("1.2, P-384 after the leaf's P-256", "-tls1_2 -groups P-384:P-256", Served("TLSv1.2", ECDSA_AES256, "secp384r1"), TLS12),
    ("1.2, P-521 only", "-tls1_2 -groups P-521", Alert(HANDSHAKE_FAILURE), ["tls12", "ecdhe-aead", "group"]),
    ("1.2, CBC first, GCM later", "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0", Served("TLSv1.2", ECDSA_AES128, "X25519"), TLS12),
    ("1.2, no SNI and no ticket", "-tls1_2 -noservername -no_ticket", Served("TLSv1.2", ECDSA_AES256, "X25519"), TLS12),
    ("1.3", "-tls1_3", Served("TLSv1.3", TLS13_AES256, "X25519"), TLS13),
    ("1.3, P-256 only", "-tls1_3 -groups P-256", Served("TLSv1.3", TLS13_AES256, "prime256v1"), TLS13),
    ("1.3, share for P-521, asked again for P-384", "-tls1_3 -groups P-521:P-384", Served("TLSv1.3", TLS13_AES256, "secp384r1"), TLS13),
    ("1.3, P-521 only", "-tls1_3 -groups P-521", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "group"]),
    ("1.3, RSA-PSS only", "-tls1_3 -sigalgs RSA-PSS+SHA256", Alert(HANDSHAKE_FAILURE), ["tls13", "tls13", "signature"]),
];

#[tokio::test]
async fn whatever_openssl_offers_an_rsa_leaf_it_sees_what_the_table_says() {
    let Some(()) = installed() else { return };
    every_row(&House::showing(Keys::Rsa).await, RSA).await;
}

#[tokio::test]
async fn whatever_openssl_offers_an_ecdsa_leaf_it_sees_what_the_table_says() {
    let Some(()) = installed() else { return };
    every_row(&House::showing(Keys::P256).await, ECDSA).await;
}

async fn every_row(house: &House, rows: &[Row]) {
    let files = house.open_files();
    for (name, options, sees, hello) in rows {
        let before = house.hellos().await;
        let hellos = match sees {
            Alert(alert) => {
                let seen = Client::call(house, options).ends(name).await;
                assert_eq!((seen.negotiated(), seen.alert()), (None, Some(*alert)), "{name}: {seen:?}");
                1.0
            }
            Served(version, suite, group) => {
                for seen in [logged_in(house, name, options).await, looked(house, name, options).await] {
                    assert_eq!(seen.negotiated(), Some((*version, *suite, false)), "{name}: {seen:?}");
                    assert_eq!(seen.group(), Some(*group), "{name}: {seen:?}");
                }
                2.0
            }
        };
        let new = counted(&before, &house.hellos().await);
        assert_eq!(new, BTreeMap::from([(series(*hello), hellos)]), "{name}");
    }
    house.is_empty(files).await;
}

/// A device's whole login through the tunnel: the MPS answers, and holds it.
async fn logged_in(house: &House, name: &str, options: &str) -> Seen {
    let said = |message: Message<'_>| message.to_bytes().to_vec();
    let id = device(1);
    let mut client = Client::call(house, options);
    client.say(&Preamble { major: 1, minor: 0, trigger: 4, device: id }.to_bytes()).await;
    client.say(&said(Message::ServiceRequest { service: AUTH_SERVICE })).await;
    client.hears(name, &said(Message::ServiceAccept { service: AUTH_SERVICE })).await;
    let password = Account::default().password;
    let login = UserauthRequest::password(b"admin", password.expose().as_bytes());
    client.say(&said(Message::UserauthRequest(login))).await;
    within(name, house.mps.until(|mps| mps.holds(id))).await;
    client.say(&said(Message::ServiceRequest { service: PFWD_SERVICE })).await;
    client.hears(name, &said(Message::ServiceAccept { service: PFWD_SERVICE })).await;
    let seen = client.leaves(name).await;
    assert!(seen.content(), "{name}: {seen:?}");
    within(name, house.mps.until(|mps| !mps.holds(id))).await;
    seen
}

/// A browser's look: the page, then an orderly close.
async fn looked(house: &House, name: &str, options: &str) -> Seen {
    let mut client = Client::call(house, options);
    client.say(b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n").await;
    client.hears(name, b"HTTP/1.1 200 OK\r\n").await;
    client.hears(name, b"This port is well.").await;
    let seen = client.ends(name).await;
    assert!(seen.content(), "{name}, with close_notify at the end: {seen:?}");
    seen
}

#[tokio::test]
async fn openssl_resumes_by_session_id_and_by_ticket() {
    let Some(()) = installed() else { return };
    let house = House::showing(Keys::P256).await;
    for (name, options) in [
        ("1.2 by session id", "-tls1_2 -no_ticket"),
        ("1.2 by ticket", "-tls1_2"),
        ("1.3 by ticket", "-tls1_3"),
    ] {
        let file = house.file("session.pem");
        let session = file.display();
        let first = logged_in(&house, name, &format!("{options} -sess_out {session}")).await;
        assert!(matches!(first.negotiated(), Some((_, _, false))), "{name}: {first:?}");
        for _ in 0..2 {
            let again = format!("{options} -sess_in {session} -sess_out {session}");
            let again = logged_in(&house, name, &again).await;
            assert!(matches!(again.negotiated(), Some((_, _, true))), "{name}: {again:?}");
        }
    }
    // Another gateway does not know it: a full handshake, not an error.
    let other = House::showing(Keys::P256).await;
    let strange = format!("-tls1_3 -sess_in {}", house.file("session.pem").display());
    let stranger = logged_in(&other, "a stranger's ticket", &strange).await;
    assert!(matches!(stranger.negotiated(), Some((_, _, false))), "{stranger:?}");
}
