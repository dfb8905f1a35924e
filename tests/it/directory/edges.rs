//! What design and contract promise about keys, schema, channels, login and operators' state.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use mps_gateway::directory::redis::Redis;
use mps_gateway::directory::{Beat, Claiming, Directory, Lookup, OpenError, Outcome, Secret, Settings};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::ReplicaId;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::replica::{Replica, until};
use super::{device, key, named};
use crate::redis_server::{RedisServer, free_port};

const BEAT: &str = include_str!("../../../src/directory/redis/beat.lua");

async fn open(settings: Settings) -> Result<Redis, OpenError> {
    Redis::open(&settings, &Drain::new(Duration::from_secs(1)), &CancellationToken::new()).await
}

fn at(server: &RedisServer, prefix: &str) -> Settings {
    Settings { url: server.url(), prefix: prefix.to_owned(), ..Settings::default() }
}

fn claiming(replica: u64) -> Claiming {
    Claiming {
        device: device(1),
        key: key(replica, 0x1f),
        instance: named("fd00::1"),
        epoch: None,
        age: Duration::ZERO,
        proven_at: None,
    }
}

fn beat(replica: u64) -> Beat {
    Beat {
        replica: ReplicaId::new(replica),
        lease: Duration::from_secs(10),
        grace: Duration::from_secs(30),
        info: "{}".to_owned(),
    }
}

#[tokio::test]
async fn keys_and_values_are_the_published_contract() {
    let Some(server) = RedisServer::start().await else { return };
    let redis = open(at(&server, "fleet")).await.expect("opens");
    redis.check_schema().await.expect("ours");
    redis.beat(&beat(1)).await.expect("answers");
    let Outcome::Granted { epoch, .. } = redis.claim(&claiming(1)).await.expect("answers") else {
        panic!("refused on an empty store")
    };
    let mut keys: Vec<String> = server.command(&["KEYS", "*"]).await;
    keys.sort();
    let record = format!("fleet:d:{}", device(1));
    let expected = [
        &record,
        "fleet:{reg}:data",
        "fleet:{reg}:s:hb",
        "fleet:{reg}:s:info",
        "fleet:{reg}:s:ver",
        "fleet:{reg}:schema",
    ];
    assert_eq!(keys, expected);
    let text: String = server.command(&["GET", &record]).await;
    assert_eq!(text, format!("{epoch}:{}:1f:fd00::1", ReplicaId::new(1)));
    let ttl: u64 = server.command(&["TTL", &record]).await;
    assert!((1_790..=1_800).contains(&ttl), "{ttl}");
    let schema: String = server.command(&["GET", "fleet:{reg}:schema"]).await;
    assert_eq!(schema, "1");
    let info: BTreeMap<String, String> = server.command(&["HGETALL", "fleet:{reg}:s:info"]).await;
    assert_eq!(info, BTreeMap::from([(ReplicaId::new(1).to_string(), "{}".to_owned())]));
}

#[tokio::test]
async fn a_notice_goes_out_under_the_prefix_of_its_fleet() {
    let Some(server) = RedisServer::start().await else { return };
    let client = redis::Client::open(server.url()).expect("a Redis URL");
    let mut everything = client.get_async_pubsub().await.expect("Redis is up");
    everything.psubscribe("*sup*").await.expect("subscribed");
    let redis = open(at(&server, "fleet")).await.expect("opens");
    redis.claim(&claiming(1)).await.expect("answers");
    redis.claim(&claiming(2)).await.expect("answers");
    let message = timeout(Duration::from_secs(5), everything.on_message().next()).await;
    let message = message.expect("published").expect("open");
    assert_eq!(message.get_channel_name(), format!("fleet:sup:{}", ReplicaId::new(1)));
    let text: String = message.get_payload().expect("a text");
    assert_eq!(text, format!("fleet:d:{} 1f", device(1)));
}

#[tokio::test]
async fn two_fleets_in_one_redis_do_not_see_each_other() {
    let Some(server) = RedisServer::start().await else { return };
    let one = Replica::try_open(&server.url(), "one").await.expect("opens");
    let two = Replica::try_open(&server.url(), "two").await.expect("opens");
    let kept = one.connect(device(1), "a").await;
    let _other = two.connect(device(1), "b").await;
    assert_eq!(one.owner(device(1)).await.as_deref(), Some("a"));
    assert_eq!(two.owner(device(1)).await.as_deref(), Some("b"));
    assert_eq!((one.keeper.replicas().len(), two.keeper.replicas().len()), (1, 1));
    assert_eq!(kept.session.closing(), None);
}

#[tokio::test]
async fn what_operators_stated_outlasts_every_lease() {
    let Some(server) = RedisServer::start().await else { return };
    let redis = open(at(&server, "mpsgw")).await.expect("opens");
    let ops: u64 = server.command(&["HSET", "mpsgw:{reg}:i:ops", "a", "{\"drain\":true}"]).await;
    assert_eq!(ops, 1);
    // Of replicas ..
    redis.beat(&Beat { lease: Duration::from_millis(1), ..beat(1) }).await.expect("answers");
    redis.beat(&Beat { grace: Duration::ZERO, ..beat(2) }).await.expect("answers");
    redis.leave(ReplicaId::new(2)).await.expect("answers");
    // .. and of instances, whose leases the same script keeps.
    for (name, lease, grace) in [("a", "1", "1000"), ("b", "1000", "0"), ("b", "0", "0")] {
        let keys = ["mpsgw:{reg}:i:hb", "mpsgw:{reg}:i:info", "mpsgw:{reg}:i:ver"];
        let words = [&["EVAL", BEAT, "3"], &keys[..], &[name, lease, "{}", grace]].concat();
        tokio::time::sleep(Duration::from_millis(5)).await; // the first lease's own time
        let _: redis::Value = server.command(&words).await;
    }
    let left: Vec<String> = server.command(&["HKEYS", "mpsgw:{reg}:i:info"]).await;
    assert_eq!(left, [""; 0], "both instances are gone");
    let ops: String = server.command(&["HGET", "mpsgw:{reg}:i:ops", "a"]).await;
    assert_eq!(ops, "{\"drain\":true}");
}

#[tokio::test]
async fn an_unknown_schema_is_refused_at_start_and_left_alone() {
    let Some(server) = RedisServer::start().await else { return };
    let _: String = server.command(&["SET", "mpsgw:{reg}:schema", "2"]).await;
    let Err(error) = Replica::try_open(&server.url(), "mpsgw").await else { panic!("opened") };
    assert!(matches!(&error, OpenError::Schema(version) if version == "2"), "{error}");
    let keys: Vec<String> = server.command(&["KEYS", "*"]).await;
    assert_eq!(keys, ["mpsgw:{reg}:schema"], "nothing was written");
}

#[tokio::test]
async fn an_unknown_schema_that_comes_back_with_redis_is_never_written_to() {
    let Some(mut server) = RedisServer::start().await else { return };
    server.kill();
    let replica = Replica::open(&server.url()).await;
    let (_listed, _) = replica.claim(device(1), "a").await;
    // As soon as the server is there, so is the schema: no connection may come in between.
    let mut other = RedisServer::start().await.expect("installed");
    let _: String = other.command(&["SET", "mpsgw:{reg}:schema", "2"]).await;
    let _: String = other.command(&["SAVE"]).await;
    other.kill();
    server.restart_from(&other.folder().join("dump.rdb")).await;
    tokio::time::sleep(Duration::from_secs(4)).await; // more than the longest pause between probes
    let keys: Vec<String> = server.command(&["KEYS", "*"]).await;
    assert_eq!(keys, ["mpsgw:{reg}:schema"], "nothing was written");
    assert!(!replica.keeper.status().reachable);
    assert_eq!(replica.keeper.status().pending, 1);
}

#[tokio::test]
async fn an_unknown_schema_that_appears_under_us_gets_no_record() {
    let Some(server) = RedisServer::start().await else { return };
    let replica = Replica::open(&server.url()).await;
    let _listed = replica.connect(device(1), "a").await;
    let swap = "redis.call('FLUSHALL') return redis.call('SET', KEYS[1], '2')";
    let _: String = server.command(&["EVAL", swap, "1", "mpsgw:{reg}:schema"]).await;
    let noticed = async || !replica.keeper.status().reachable;
    until("noticed", Duration::from_secs(4), noticed).await;
    // A session whose turn to be asserted came before that was written: no script sees the schema.
    let _: u64 = server.command(&["DEL", &format!("mpsgw:d:{}", device(1))]).await;
    tokio::time::sleep(Duration::from_secs(4)).await; // more than the start of a re-publish
    let records: Vec<String> = server.command(&["KEYS", "mpsgw:d:*"]).await;
    assert_eq!(records, [""; 0], "nothing was claimed");
}

#[tokio::test]
async fn a_record_of_another_type_counts_as_absent() {
    let Some(server) = RedisServer::start().await else { return };
    let redis = open(at(&server, "mpsgw")).await.expect("opens");
    let record = format!("mpsgw:d:{}", device(1));
    let _: u64 = server.command(&["RPUSH", &record, "a"]).await;
    assert_eq!(redis.owner(device(1)).await.expect("answers"), None);
    assert_eq!(redis.owners(&[device(1)]).await.expect("answers"), [None]);
    assert!(!redis.release(device(1), key(1, 0x1f)).await.expect("answers"));
    let claimed = redis.claim(&claiming(1)).await.expect("answers");
    assert!(matches!(claimed, Outcome::Granted { displaced: None, .. }), "{claimed:?}");
    assert_eq!(redis.owner(device(1)).await.expect("answers").map(|claim| claim.key), Some(key(1, 0x1f)));
}

#[tokio::test]
async fn a_user_with_rights_to_one_prefix_is_enough_and_a_wrong_password_is_not() {
    let Some(server) = RedisServer::start().await else { return };
    let rights =
        "~fleet:* &fleet:* +@read +@write +@scripting +@pubsub +@connection +@fast +info +time +scan";
    let mut user = vec!["ACL", "SETUSER", "gateway", "on", ">hunter2"];
    user.extend(rights.split(' '));
    let _: String = server.command(&user).await;
    let login = |password: &str| Settings {
        username: Some("gateway".to_owned()),
        password: Some(Secret::new(password)),
        ..at(&server, "fleet")
    };
    let replica = Replica::with(login("hunter2")).await.expect("opens");
    let listed = replica.connect(device(1), "a").await;
    assert_eq!(replica.owner(device(1)).await.as_deref(), Some("a"));
    assert_eq!(replica.keeper.devices(None, 10, None).await.expect("answers").0.len(), 1);
    let newer = open(login("hunter2")).await.expect("opens");
    newer.claim(&claiming(9)).await.expect("answers");
    until("told", Duration::from_secs(5), async || listed.session.closing().is_some()).await;
    let refused = open(login("wrong")).await.expect("a Redis that refuses us is a Redis that is away");
    let error = refused.check_schema().await.expect_err("not logged in");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert!(!refused.reachable());
}

#[tokio::test]
async fn redis_over_tls_is_trusted_by_its_ca_file_alone() {
    let tls_port = free_port();
    let write = |folder: &tempfile::TempDir| {
        let mut issuer = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        issuer.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let (ca_key, leaf_key) =
            (rcgen::KeyPair::generate().expect("a key"), rcgen::KeyPair::generate().expect("a key"));
        let ca = issuer.self_signed(&ca_key).expect("a certificate");
        let issuer = rcgen::Issuer::new(issuer, ca_key);
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a certificate");
        let file = |name: &str, pem: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).expect("written");
            path.to_str().expect("UTF-8").to_owned()
        };
        let (ca, leaf, key) = (
            file("ca.pem", ca.pem()),
            file("leaf.pem", leaf.pem()),
            file("key.pem", leaf_key.serialize_pem()),
        );
        let port = tls_port.to_string();
        ["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &leaf, "--tls-key-file", &key]
            .into_iter()
            .chain(["--tls-auth-clients", "no"])
            .map(str::to_owned)
            .collect()
    };
    let Some(server) = RedisServer::start_with(write).await else { return };
    let settings = Settings {
        url: format!("rediss://localhost:{tls_port}"),
        ca_file: Some(server.folder().join("ca.pem")),
        ..Settings::default()
    };
    let replica = Replica::with(settings.clone()).await.expect("opens");
    let _listed = replica.connect(device(1), "a").await;
    assert_eq!(replica.owner(device(1)).await.as_deref(), Some("a"));
    let stranger = open(Settings { ca_file: None, ..settings.clone() }).await;
    if let Ok(stranger) = stranger {
        stranger.check_schema().await.expect_err("a certificate of nobody we know");
    }
    let none = Settings { ca_file: Some(server.folder().join("absent.pem")), ..settings };
    let Err(error) = open(none).await else { panic!("opened") };
    assert!(error.to_string().contains("absent.pem"), "{error}");
}

#[tokio::test]
async fn a_url_that_cannot_be_used_says_why() {
    for (url, why) in [
        ("redis-cluster://a,b", "not redis:// or rediss://"),
        ("redis://", "redis://"),
        ("redis://localhost/x", "redis://localhost"),
        ("rediss://localhost#insecure", "no fragment"),
    ] {
        let Err(error) = open(Settings { url: url.to_owned(), ..Settings::default() }).await else {
            panic!("{url} was opened")
        };
        assert!(error.to_string().contains(why), "{url}: {error}");
    }
}
