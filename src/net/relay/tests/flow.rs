//! What passes, in which pieces, and who waits for whom.

use super::*;

#[tokio::test]
async fn bulk_goes_both_ways_at_once() {
    for version in [&TLS12, &TLS13] {
        for tls in [false, true] {
            let mut rig = rig_of(version, tls, LIMITS).await;
            let up = noise(3 << 20, 1);
            let down = noise(3 << 20, 2);
            within(async {
                tokio::join!(exchange(&mut rig.device, &up, &down), exchange(rig.far.io(), &down, &up))
            })
            .await;
            assert_eq!(rig.traffic.bytes(), (3 << 20, 3 << 20));
            drop((rig.device, rig.far));
            within(rig.relay).await.expect("no panic");
        }
    }
}

#[tokio::test]
async fn a_record_leaves_as_a_record_in_both_directions() {
    let mut rig = rig(true, LIMITS).await;
    let Far::Tls(far) = &mut rig.far else { panic!("asked for TLS") };
    let sizes = [1, 2, 93, 23, 4096, 4097, 16384, 1, 5000];
    let records: Vec<_> = sizes.iter().map(|&size| vec![b'r'; size]).collect();
    // All at once, so that many are there when the relay looks.
    let say_up = async {
        for record in &records {
            write_record(&mut rig.device, record).await.expect("writes");
        }
    };
    let hear_up = async {
        for size in sizes {
            assert_eq!(next_record(&mut **far).await.expect("reads").expect("not closed").len(), size);
        }
    };
    within(async { tokio::join!(say_up, hear_up) }).await;
    let say_down = async {
        for record in &records {
            write_record(&mut **far, record).await.expect("writes");
        }
    };
    let hear_down = async {
        for size in sizes {
            assert_eq!(next_record(&mut rig.device).await.expect("reads").expect("not closed").len(), size);
        }
    };
    within(async { tokio::join!(say_down, hear_down) }).await;
}

/// Puts `records` into one write of the device.
async fn say_at_once(device: &mut Device, records: &[Vec<u8>]) {
    for record in records {
        let mut writer = device.get_mut().1.writer();
        std::io::Write::write_all(&mut writer, record).expect("room");
        std::io::Write::flush(&mut writer).expect("room");
    }
    device.flush().await.expect("writes");
}

#[tokio::test]
async fn records_that_come_in_one_piece_leave_one_by_one() {
    let mut rig = rig(true, LIMITS).await;
    let Far::Tls(far) = &mut rig.far else { panic!("asked for TLS") };
    // More than one turn takes: for the rest the relay has to wake itself, since nothing else comes.
    let records: Vec<_> = (0..(TURNS + 2) * RECORDS).map(|n| vec![b'r'; 1 + n % 100]).collect();
    within(say_at_once(&mut rig.device, &records)).await;
    for record in &records {
        let heard = within(next_record(&mut **far)).await.expect("reads").expect("not closed");
        assert_eq!(heard.len(), record.len());
    }
}

#[tokio::test]
async fn what_came_before_a_refused_record_in_the_same_piece_passes() {
    for tls in [false, true] {
        let mut rig = rig(tls, LIMITS).await;
        let records = [&b"good"[..], b"too", b"!bad", b"late"].map(<[u8]>::to_vec);
        within(say_at_once(&mut rig.device, &records)).await;
        let mut heard = Vec::new();
        within(rig.far.io().read_to_end(&mut heard)).await.expect("closed properly");
        assert_eq!(heard, b"goodtoo");
        drop((rig.device, rig.far));
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Refused('!')), "{ended:?}");
    }
}

#[tokio::test]
async fn what_a_plain_instance_says_comes_in_records_of_the_usual_size() {
    let mut rig = rig(false, LIMITS).await;
    let said = noise(1 << 20, 4);
    let say = async { rig.far.io().write_all(&said).await.expect("writes") };
    let hear = async {
        let mut heard = Vec::new();
        while heard.len() < said.len() {
            let record = next_record(&mut rig.device).await.expect("reads").expect("not closed");
            assert!(record.len() <= 16 * 1024, "a record of {} bytes", record.len());
            heard.extend_from_slice(&record);
        }
        assert!(heard == said, "every byte, in order");
    };
    within(async { tokio::join!(say, hear) }).await;
}

#[tokio::test]
async fn a_slow_reader_stops_its_writer_and_nobody_else() {
    for tls in [false, true] {
        let mut rig = rig(tls, LIMITS).await;
        let taken = within(fill(&mut rig.device)).await;
        let (held, _) = rig.traffic.bytes();
        // The other direction still flows.
        rig.far.io().write_all(b"down").await.expect("writes");
        rig.far.io().flush().await.expect("writes");
        let mut heard = [0; 4];
        within(rig.device.read_exact(&mut heard)).await.expect("reads");
        assert_eq!(&heard, b"down");
        assert_eq!(rig.traffic.bytes(), (held, 4), "the relay reads no more while the instance takes none");
        // Then everything arrives after all.
        let more = async {
            rig.device.flush().await.expect("writes");
            rig.device.shutdown().await.expect("closes");
        };
        let mut all = Vec::new();
        let (_, read) = within(async { tokio::join!(more, rig.far.io().read_to_end(&mut all)) }).await;
        read.expect("reads to the end");
        assert_eq!(all.len(), taken);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");
    }
}

#[tokio::test]
async fn an_idle_relay_is_small() {
    let ((_device, mut near), (mut leg, _far)) = tokio::join!(device_leg(&TLS13), instance_leg(true));
    let traffic = Traffic::begin();
    let mut watch = NoShouting;
    let relay = relay(&mut near, &mut leg, &mut watch, &traffic, &LIMITS, std::future::pending::<()>());
    let bytes = size_of_val(&relay);
    assert!(bytes <= 512, "the relay's future has {bytes} bytes");
}
