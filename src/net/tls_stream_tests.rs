use std::sync::Arc;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::net::fixtures;
use crate::net::records::{next_record, write_record};

const WITHIN: Duration = Duration::from_secs(20);

async fn within<F: Future>(what: F) -> F::Output {
    timeout(WITHIN, what).await.expect("in time")
}

fn server_config() -> Arc<ServerConfig> {
    let identity = fixtures::leaf().identity();
    let config = ServerConfig::builder_with_provider(Arc::new(crate::net::identity::provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key);
    Arc::new(config.expect("a good identity"))
}

fn server_session() -> UnbufferedServerConnection {
    UnbufferedServerConnection::new(server_config()).expect("a session")
}

/// Our server with tokio-rustls' client, over a pipe that holds `pipe` bytes.
async fn served(
    version: &'static SupportedProtocolVersion,
    pipe: usize,
) -> (ServerStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let (near, far) = duplex(pipe);
    let connector = TlsConnector::from(Arc::new(fixtures::trusting_client(&[version])));
    let name = "localhost".try_into().expect("a name");
    let (ours, theirs) = within(async {
        tokio::join!(ServerStream::handshake(near, server_session()), connector.connect(name, far))
    })
    .await;
    (ours.expect("server side"), theirs.expect("client side"))
}

/// Our client with tokio-rustls' server.
async fn dialled(
    version: &'static SupportedProtocolVersion,
    pipe: usize,
) -> (ClientStream<DuplexStream>, server::TlsStream<DuplexStream>) {
    let (near, far) = duplex(pipe);
    let config = Arc::new(fixtures::trusting_client(&[version]));
    let name = "localhost".try_into().expect("a name");
    let session = UnbufferedClientConnection::new(config, name).expect("a session");
    let acceptor = TlsAcceptor::from(server_config());
    let (ours, theirs) =
        within(async { tokio::join!(ClientStream::handshake(near, session), acceptor.accept(far)) }).await;
    (ours.expect("client side"), theirs.expect("server side"))
}

/// Says and hears the same bytes on both sides at once, then both close with close_notify.
async fn talk<A, B>(ours: A, theirs: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let bytes: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[usize::from(i % 3 == 0)]).collect();
    within(async { tokio::join!(say_and_hear(ours, &bytes), say_and_hear(theirs, &bytes)) }).await;
}

async fn say_and_hear<T: AsyncRead + AsyncWrite + Unpin>(stream: T, bytes: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let say = async {
        writer.write_all(bytes).await.expect("writes");
        writer.shutdown().await.expect("closes");
    };
    let mut heard = Vec::new();
    let ((), read) = tokio::join!(say, reader.read_to_end(&mut heard));
    read.expect("a clean end: tokio-rustls wants close_notify");
    assert!(heard == bytes, "every byte, in order");
}

#[tokio::test]
async fn it_talks_with_others_in_both_roles_versions_and_through_the_narrowest_pipe() {
    for version in [&TLS12, &TLS13] {
        for pipe in [1 << 20, 4096, 1024] {
            let (ours, theirs) = served(version, pipe).await;
            assert_eq!(ours.get_ref().1.protocol_version(), Some(version.version));
            talk(ours, theirs).await;
            let (ours, theirs) = dialled(version, pipe).await;
            assert_eq!(ours.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            talk(ours, theirs).await;
        }
    }
}

#[tokio::test]
async fn many_small_records_in_one_read_come_out_one_by_one() {
    let (mut ours, mut theirs) = served(&TLS13, 1 << 20).await;
    for i in 0..2000u32 {
        write_record(&mut theirs, &i.to_be_bytes()).await.expect("room");
    }
    for i in 0..2000u32 {
        let record = within(next_record(&mut ours)).await.expect("reads").expect("not closed");
        assert_eq!(record[..], i.to_be_bytes());
        if i % 100 == 0 {
            // A write in between decrypts what was read; its order and boundaries stay.
            write_record(&mut ours, b"between").await.expect("room");
        }
    }
}

#[tokio::test]
async fn an_idle_stream_holds_no_buffer() {
    let (mut ours, mut theirs) = served(&TLS13, 1 << 20).await;
    let burst = vec![1; 256 * 1024];
    theirs.write_all(&burst).await.expect("room");
    theirs.flush().await.expect("room");
    let mut heard = vec![0; burst.len()];
    within(ours.read_exact(&mut heard)).await.expect("reads");
    ours.write_all(&burst).await.expect("room");
    ours.flush().await.expect("room");
    assert_eq!((ours.incoming.capacity(), ours.outgoing.capacity(), ours.plain.capacity()), (0, 0, 0));
}

#[tokio::test]
async fn a_key_update_is_answered_and_the_talk_goes_on() {
    let (mut ours, mut theirs) = served(&TLS13, 1 << 20).await;
    for _ in 0..3 {
        theirs.get_mut().1.refresh_traffic_keys().expect("TLS 1.3 can");
        write_record(&mut theirs, b"new keys").await.expect("room");
        let record = within(next_record(&mut ours)).await.expect("reads").expect("not closed");
        assert_eq!(&record[..], b"new keys");
        write_record(&mut ours, b"mine too").await.expect("room");
        let mut heard = [0; 8];
        within(theirs.read_exact(&mut heard)).await.expect("reads");
        assert_eq!(&heard, b"mine too");
    }
}

#[tokio::test]
async fn what_is_left_of_a_record_waits_for_the_next_read() {
    let (mut ours, mut theirs) = served(&TLS12, 1 << 20).await;
    write_record(&mut theirs, b"one record").await.expect("room");
    let mut part = [0; 4];
    within(ours.read_exact(&mut part)).await.expect("reads");
    assert_eq!(&part, b"one ");
    let rest = within(next_record(&mut ours)).await.expect("reads").expect("not closed");
    assert_eq!(&rest[..], b"record");
}

#[tokio::test]
async fn a_broken_record_is_an_error_and_the_other_side_is_told() {
    let (mut ours, theirs) = served(&TLS13, 1 << 20).await;
    let (mut pipe, mut session) = theirs.into_inner();
    pipe.write_all(b"\x17\x03\x03\x00\x20 these bytes were never encrypted").await.expect("room");
    let error = within(next_record(&mut ours)).await.expect_err("broken");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    assert_eq!(within(next_record(&mut ours)).await.expect("it has ended"), None);
    drop(ours);
    let mut tls = Vec::new();
    pipe.read_to_end(&mut tls).await.expect("reads");
    session.read_tls(&mut &tls[..]).expect("room");
    let told = session.process_new_packets().expect_err("an alert");
    assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
}

#[tokio::test]
async fn records_before_a_broken_one_are_handed_out_first() {
    let (mut ours, mut theirs) = served(&TLS13, 1 << 20).await;
    for record in [&b"good"[..], b"too"] {
        let mut writer = theirs.get_mut().1.writer();
        std::io::Write::write_all(&mut writer, record).expect("room");
    }
    let (mut pipe, mut session) = theirs.into_inner();
    let mut piece = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut piece).expect("a Vec takes all");
    }
    piece.extend_from_slice(b"\x17\x03\x03\x00\x20 these bytes were never encrypted");
    pipe.write_all(&piece).await.expect("room");
    let mut batch = || {
        with_scratch(1 << 16, 100, |scratch| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let read = ours.poll_records(&mut cx, scratch);
            read.map_ok(|()| scratch.batch.records().map(<[u8]>::to_vec).collect::<Vec<_>>())
        })
    };
    let Poll::Ready(Ok(good)) = batch() else { panic!("two records are there") };
    assert_eq!(good, [&b"good"[..], b"too"]);
    let Poll::Ready(Err(error)) = batch() else { panic!("and a broken one") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let Poll::Ready(Ok(after)) = batch() else { panic!("then it has ended") };
    assert!(after.is_empty());
}

#[tokio::test]
async fn a_handshake_cut_at_any_byte_is_an_error_and_garbage_is_answered_with_an_alert() {
    let config = Arc::new(fixtures::trusting_client(&[&TLS13]));
    let mut client =
        ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a session");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a Vec takes all");
    for cut in 0..hello.len() {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(&hello[..cut]).await.expect("room");
        drop(far);
        let error = within(ServerStream::handshake(near, server_session())).await.expect_err("cut short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}: {error}");
    }
    let (near, mut far) = duplex(1 << 20);
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
    let error = within(ServerStream::handshake(near, server_session())).await.expect_err("no TLS");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let mut said = Vec::new();
    far.read_to_end(&mut said).await.expect("reads");
    assert_eq!(said.first(), Some(&21), "an alert");
}

#[tokio::test]
async fn a_handshake_message_without_end_is_cut() {
    let (near, mut far) = duplex(1 << 20);
    let endless = async move {
        // A ClientHello that says it has 16 MiB, in records of 16 KiB.
        let mut record = vec![0x16, 3, 1, 0x40, 0x00, 1, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        loop {
            if far.write_all(&record).await.is_err() {
                return;
            }
            record[5..9].fill(0);
        }
    };
    let (shaken, ()) =
        within(async { tokio::join!(ServerStream::handshake(near, server_session()), endless) }).await;
    assert_eq!(shaken.expect_err("too long").kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn after_its_own_close_it_writes_no_more_and_still_hears() {
    let (mut ours, mut theirs) = served(&TLS13, 1 << 20).await;
    ours.shutdown().await.expect("closes");
    ours.write_all(b"x").await.expect_err("closed");
    write_record(&mut theirs, b"last words").await.expect("room");
    let record = within(next_record(&mut ours)).await.expect("reads").expect("not closed");
    assert_eq!(&record[..], b"last words");
    drop(theirs);
    assert_eq!(within(next_record(&mut ours)).await.expect("a close without close_notify"), None);
}
