//! The scripts as commands, and their answers as values.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Script, Value, cmd, from_redis_value};

use super::failure;
use super::keys::Keys;
use crate::directory::record;
use crate::directory::{Beat, Beaten, Claiming, DirectoryError, Lease, Outcome, RECORD_TTL, Registry};
use crate::model::{Claim, DeviceId, Epoch, ReplicaId, SessionKey};

const CLAIM: &str = include_str!("claim.lua");
const RELEASE: &str = include_str!("release.lua");
const BEAT: &str = include_str!("beat.lua");
const REGISTRY: &str = include_str!("registry.lua");

/// Hashes of the scripts: what EVALSHA names.
pub(super) struct Scripts {
    claim: String,
    release: String,
    beat: String,
    registry: String,
}

impl Scripts {
    pub fn new() -> Self {
        let hash = |script| Script::new(script).get_hash().to_owned();
        Self { claim: hash(CLAIM), release: hash(RELEASE), beat: hash(BEAT), registry: hash(REGISTRY) }
    }

    /// Loads all scripts: on every new connection, since neither a restart nor a failover keeps them.
    pub async fn load(&self, connection: &mut MultiplexedConnection) -> Result<(), DirectoryError> {
        let mut pipe = redis::pipe();
        for script in [CLAIM, RELEASE, BEAT, REGISTRY] {
            pipe.cmd("SCRIPT").arg("LOAD").arg(script).ignore();
        }
        pipe.query_async(connection).await.map_err(failure)
    }

    pub fn claim(&self, keys: &Keys, claiming: &Claiming) -> Cmd {
        let mut command = cmd("EVALSHA");
        command
            .arg(&self.claim)
            .arg(1)
            .arg(keys.record(claiming.device))
            .arg(claiming.key.replica.as_str())
            .arg(claiming.key.session.to_string())
            .arg(claiming.instance.as_str())
            .arg(claiming.epoch.map_or(0, Epoch::micros))
            .arg(u64::try_from(claiming.age.as_micros()).unwrap_or(u64::MAX))
            .arg(RECORD_TTL.as_secs())
            .arg(&keys.channels)
            .arg(claiming.proven_at.map_or(0, Epoch::micros));
        command
    }

    pub fn release(&self, keys: &Keys, device: DeviceId, key: SessionKey) -> Cmd {
        let mut command = cmd("EVALSHA");
        command
            .arg(&self.release)
            .arg(1)
            .arg(keys.record(device))
            .arg(key.replica.as_str())
            .arg(key.session.to_string());
        command
    }

    pub fn beat(&self, keys: &Keys, beat: &Beat) -> Cmd {
        let mut command = self.lease(&self.beat, keys);
        command
            .arg(beat.replica.as_str())
            .arg(beat.lease.as_millis().max(1) as u64)
            .arg(&beat.info)
            .arg(beat.grace.as_millis() as u64)
            .arg(format!("{:016x}", rand::random::<u64>()));
        command
    }

    pub fn leave(&self, keys: &Keys, replica: ReplicaId) -> Cmd {
        let mut command = self.lease(&self.beat, keys);
        // A grace without end: who leaves judges nobody else.
        command.arg(replica.as_str()).arg(0).arg("").arg(u64::MAX >> 12);
        command
    }

    pub fn registry(&self, keys: &Keys) -> Cmd {
        self.lease(&self.registry, keys)
    }

    fn lease(&self, script: &str, keys: &Keys) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(script).arg(4).arg(&keys.leases).arg(&keys.infos).arg(&keys.version).arg(&keys.data);
        command
    }
}

fn unexpected(what: &str) -> DirectoryError {
    DirectoryError::Refused(format!("unexpected answer to {what}"))
}

/// A record's text as a claim; garbage counts as absent.
pub(super) fn claim_of(value: Value) -> Option<Claim> {
    match value {
        Value::BulkString(text) => record::parse(std::str::from_utf8(&text).ok()?),
        _ => None,
    }
}

/// What the claim script said to `claiming`.
pub(super) fn outcome(claiming: &Claiming, value: Value) -> Result<Outcome, DirectoryError> {
    let parts: Vec<Value> = from_redis_value(value).map_err(|_| unexpected("a claim"))?;
    let mut parts = parts.into_iter();
    let (verdict, first, stood) = (parts.next(), parts.next(), parts.next());
    match (verdict, first) {
        (Some(Value::Int(1)), Some(epoch)) => {
            let epoch: Option<u64> = from_redis_value(epoch).ok();
            let epoch = epoch.and_then(Epoch::new).ok_or_else(|| unexpected("a claim"))?;
            let displaced = stood.and_then(claim_of).filter(|stood| stood.key != claiming.key);
            Ok(Outcome::Granted { epoch, displaced })
        }
        (Some(Value::Int(0)), Some(newer)) => {
            claim_of(newer).map(Outcome::Refused).ok_or_else(|| unexpected("a claim"))
        }
        _ => Err(unexpected("a claim")),
    }
}

/// What the beat or registry script said. Members that are no replicas of ours are passed over.
pub(super) fn beaten(value: Value) -> Result<Beaten, DirectoryError> {
    type Answer = (u64, i64, u64, Vec<String>, Vec<String>, String);
    let (version, was_known, now, leases, infos, data): Answer =
        from_redis_value(value).map_err(|_| unexpected("a beat"))?;
    let mut infos: std::collections::HashMap<_, _> =
        infos.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let lease = |pair: &[String]| {
        let info = infos.remove(pair[0].as_str()).unwrap_or_default().to_owned();
        let ends = pair[1].parse::<f64>().ok().filter(|ends| *ends >= 0.0)? as u64;
        Some(Lease { replica: pair[0].parse().ok()?, ends, info })
    };
    let leases = leases.chunks_exact(2).filter_map(lease).collect();
    Ok(Beaten { was_known: was_known == 1, registry: Registry { data, version, now, leases } })
}
