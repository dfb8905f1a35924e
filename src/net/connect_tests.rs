use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::net::fixtures;
use crate::net::instance_tls::Pin as CertificatePin;
use crate::net::listener::Listener;
use crate::net::server_tls::ServerTls;

const LIMIT: Duration = Duration::from_secs(10);

fn listener() -> (Listener, Endpoint) {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Arc::new(Semaphore::new(9))).expect("a port");
    let endpoint = listener.local_addr().into();
    (listener, endpoint)
}

#[tokio::test]
async fn a_plain_leg_reaches_the_instance() {
    let (listener, endpoint) = listener();
    let (leg, accepted) = tokio::join!(connect(&endpoint, None, LIMIT), listener.accept());
    let mut leg = leg.expect("connects");
    assert!(matches!(leg, Leg::Plain(_)));
    leg.write_all(b"hello").await.expect("writes");
    let mut heard = [0; 5];
    let mut tcp = accepted.tcp;
    tcp.read_exact(&mut heard).await.expect("reads");
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn a_tls_leg_reaches_the_instance_and_its_leaf_can_be_asked_for() {
    let (listener, endpoint) = listener();
    let leaf = fixtures::leaf();
    let server = ServerTls::new(leaf.identity()).expect("a good identity");
    let serve = async {
        loop {
            let accepted = listener.accept().await;
            let Ok(mut stream) = server.handshake(accepted.tcp).await else { continue };
            let mut heard = [0; 5];
            if stream.read_exact(&mut heard).await.is_ok() {
                stream.write_all(&heard).await.expect("writes");
                stream.flush().await.expect("writes");
            }
        }
    };
    let ask = async {
        let shown = peer_certificate(&endpoint, LIMIT).await.expect("shown to anybody");
        assert_eq!(shown, leaf.chain()[0]);
        let pins = CertificatePin::of(&shown).expect("a certificate").to_vec();
        let pinned = InstanceTls::new(&Verify::Pin(pins)).expect("good settings");
        let mut leg = connect(&endpoint, Some(&pinned), LIMIT).await.expect("pinned");
        assert!(matches!(leg, Leg::Tls(_)));
        leg.write_all(b"hello").await.expect("writes");
        leg.flush().await.expect("writes");
        let mut heard = [0; 5];
        leg.read_exact(&mut heard).await.expect("an echo");
        assert_eq!(&heard, b"hello");
        let strange = InstanceTls::new(&Verify::Pin(vec![CertificatePin::Cert([0; 32])])).expect("settings");
        let error = connect(&endpoint, Some(&strange), LIMIT).await.map(|_| ()).expect_err("not pinned");
        assert!(matches!(error, ConnectError::Tls(_)), "{error}");
    };
    tokio::select! {
        () = serve => unreachable!("serves for ever"),
        done = timeout(LIMIT, ask) => done.expect("in time"),
    }
}

#[tokio::test]
async fn refusal_silence_and_names_without_address_are_told_apart() {
    let refused = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let error = connect(&refused.into(), None, LIMIT).await.map(|_| ()).expect_err("nobody listens");
    assert!(matches!(error, ConnectError::Tcp(_)), "{error}");

    let nowhere = Endpoint::new("no-such-host.invalid", 4433);
    let error = connect(&nowhere, None, LIMIT).await.map(|_| ()).expect_err("no such name");
    assert!(matches!(error, ConnectError::Resolve(..)), "{error}");

    // Accepts TCP by its backlog and never shakes hands.
    let (_listener, endpoint) = listener();
    let any = InstanceTls::new(&Verify::None).expect("good settings");
    let began = Instant::now();
    let error =
        connect(&endpoint, Some(&any), Duration::from_millis(200)).await.map(|_| ()).expect_err("mute");
    assert!(matches!(error, ConnectError::Timeout), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // `localhost` is ::1 and 127.0.0.1 on most hosts; only one of them listens.
    let (listener, endpoint) = listener();
    let named = Endpoint::new("localhost", endpoint.port());
    let (leg, _accepted) = tokio::join!(connect(&named, None, LIMIT), listener.accept());
    leg.map(|_| ()).expect("127.0.0.1 is among them");
}

#[test]
fn what_we_lack_ourselves_is_told_from_what_an_instance_does() {
    let tcp = |errno| ConnectError::Tcp(io::Error::from_raw_os_error(errno));
    for (errno, ours) in
        [(12, true), (23, true), (24, true), (99, true), (105, true), (111, false), (113, false)]
    {
        assert_eq!(tcp(errno).is_ours(), ours, "{}", tcp(errno).reason());
        let resolve = ConnectError::Resolve("mps".into(), io::Error::from_raw_os_error(errno));
        assert_eq!(resolve.is_ours(), ours, "{errno}");
    }
    assert!(!ConnectError::Timeout.is_ours());
}
