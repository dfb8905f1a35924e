//! How a relay ends, and what still arrives then.

use super::*;

#[tokio::test]
async fn a_reader_that_takes_nothing_ends_it_and_a_slow_one_does_not() {
    let limits = Limits { stall: Duration::from_millis(700), ..LIMITS };
    for tls in [false, true] {
        let mut rig = rig(tls, limits).await;
        SockRef::from(rig.far.tcp()).set_recv_buffer_size(65536).expect("a live socket");
        let slowly = async {
            let mut chunk = vec![0; 256 << 10];
            for _ in 0..6 {
                // Longer than the limit in all, shorter each.
                tokio::time::sleep(Duration::from_millis(300)).await;
                rig.far.io().read_exact(&mut chunk).await.expect("still relaying");
            }
        };
        within(async {
            tokio::select! {
                () = slowly => {}
                () = flood(&mut rig.device) => panic!("the relay ended early"),
            }
        })
        .await;
        let (ended, ()) = within(async { tokio::join!(rig.relay, flood(&mut rig.device)) }).await;
        let ended = ended.expect("no panic");
        assert!(matches!(ended, Ended::Stalled(Side::Instance)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_device_that_takes_nothing_ends_it() {
    let mut rig = rig(true, Limits { stall: Duration::from_millis(500), ..LIMITS }).await;
    let (ended, ()) = within(async { tokio::join!(rig.relay, flood(rig.far.io())) }).await;
    let ended = ended.expect("no panic");
    assert!(matches!(ended, Ended::Stalled(Side::Device)), "{ended:?}");
}

#[tokio::test]
async fn silence_ends_it_and_a_word_from_either_side_puts_it_off() {
    let silence = Duration::from_millis(600);
    let mut rig = rig(true, Limits { silence, ..LIMITS }).await;
    let began = Instant::now();
    for turn in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if turn % 2 == 0 {
            write_record(&mut rig.device, b"up").await.expect("writes");
        } else {
            write_record(&mut rig.far.io(), b"down").await.expect("writes");
        }
        assert!(!rig.relay.is_finished(), "after {:?}", began.elapsed());
    }
    let last = Instant::now();
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Silent), "{ended:?}");
    assert!(last.elapsed() > silence / 2, "{:?}", last.elapsed());
}

#[tokio::test]
async fn what_a_side_said_before_it_closed_arrives() {
    for tls in [false, true] {
        let mut rig = rig(tls, LIMITS).await;
        let last = noise(200_000, 3);
        let said = last.clone();
        let say = async {
            rig.device.write_all(&said).await.expect("writes");
            rig.device.shutdown().await.expect("closes");
        };
        let mut heard = Vec::new();
        let (_, read) = within(async { tokio::join!(say, rig.far.io().read_to_end(&mut heard)) }).await;
        read.expect("close_notify and FIN");
        assert!(heard == said, "all of it");
        drop(rig.far);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");

        let mut rig = self::rig(tls, LIMITS).await;
        let say = async {
            rig.far.io().write_all(&last).await.expect("writes");
            rig.far.io().shutdown().await.expect("closes");
        };
        let mut heard = Vec::new();
        let (_, read) = within(async { tokio::join!(say, rig.device.read_to_end(&mut heard)) }).await;
        read.expect("close_notify and FIN");
        assert!(heard == last, "all of it");
        drop(rig.device);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Instance)), "{ended:?}");
    }
}

#[tokio::test]
async fn leaving_without_close_notify_is_closing() {
    let rig = rig(true, LIMITS).await;
    let (mut tcp, _session) = rig.device.into_inner();
    tcp.shutdown().await.expect("a FIN alone");
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");
}

#[tokio::test]
async fn a_reset_is_a_failure_of_its_side() {
    let rig = rig(true, LIMITS).await;
    SockRef::from(rig.device.get_ref().0).set_linger(Some(Duration::ZERO)).expect("a live socket");
    drop(rig.device);
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Device, _)), "{ended:?}");

    let rig = self::rig(false, LIMITS).await;
    SockRef::from(rig.far.tcp()).set_linger(Some(Duration::ZERO)).expect("a live socket");
    drop(rig.far);
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Instance, _)), "{ended:?}");
}

#[tokio::test]
async fn a_broken_record_is_a_failure_of_its_side() {
    let rig = rig(false, LIMITS).await;
    let (mut tcp, _session) = rig.device.into_inner();
    tcp.write_all(b"\x17\x03\x03\x00\x20 these bytes were never encrypted").await.expect("writes");
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Device, _)), "{ended:?}");
}

#[tokio::test]
async fn what_the_watch_refuses_does_not_pass() {
    let mut rig = rig(true, LIMITS).await;
    write_record(&mut rig.device, b"good").await.expect("writes");
    write_record(&mut rig.device, b"!bad").await.expect("writes");
    let mut heard = Vec::new();
    within(rig.far.io().read_to_end(&mut heard)).await.expect("closed properly");
    assert_eq!(heard, b"good");
    drop((rig.device, rig.far));
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Refused('!')), "{ended:?}");
}

#[tokio::test]
async fn it_stops_when_told_to_and_closes_both_sides_even_in_a_flood() {
    let mut rig = rig(true, LIMITS).await;
    let mut sink = Vec::new();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.stop.send("enough").expect("still running");
    };
    let (_, _, read) =
        within(async { tokio::join!(flood(&mut rig.device), stop, rig.far.io().read_to_end(&mut sink)) })
            .await;
    read.expect("close_notify and FIN reach the instance");
    drop((rig.device, rig.far));
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Stopped("enough")), "{ended:?}");
}

#[tokio::test]
async fn closing_says_so_and_waits_no_longer_than_its_grace() {
    let grace = Duration::from_millis(300);
    let (mut device, near) = device_leg(&TLS12).await;
    let began = Instant::now();
    let closing = tokio::spawn(close(near, grace));
    // close_notify arrives; this side never closes, and talks on.
    assert_eq!(within(device.read(&mut [0; 16])).await.expect("close_notify, then FIN"), 0);
    write_record(&mut device, b"still here").await.expect("the socket is open a little longer");
    within(closing).await.expect("no panic");
    assert!(began.elapsed() >= grace && began.elapsed() < WITHIN / 2, "{:?}", began.elapsed());

    let (device, near) = device_leg(&TLS12).await;
    let closing = close(near, WITHIN);
    drop(device);
    timeout(WITHIN / 2, closing).await.expect("the other side closed: nothing to wait for");
}
