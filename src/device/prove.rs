//! The login: the guard both ways until byte 52, the claim, and the 52 passed on.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::warn;

use super::Plane;
use super::contested::Takeover;
use super::counts::Counted;
use super::ending::{SessionError, Stage};
use super::greet::Preamble;
use super::guard::{Follower, Proven, Prover};
use super::session::{DeviceLeg, Trip};
use super::settings::LoginBackoff;
use crate::directory::Claimed;
use crate::model::DeviceId;
use crate::net::connect::Leg;
use crate::net::records::{next_bytes, next_record, write_record};
use crate::net::relay::{Side, Watch as _};
use crate::sessions::{CloseReason, Listed, Session};

/// A proven session in the table, with its claim: given back when dropped.
pub(super) struct Listing {
    pub listed: Listed,
    plane: Arc<Plane>,
    _counted: [Counted; 2],
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.plane.parts.keeper.release(&self.listed.session);
    }
}

/// A login that an instance judges: one of those at once that one network may have.
struct Attempt {
    plane: Arc<Plane>,
    source: IpAddr,
    device: DeviceId,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.plane.backoff.lock().end(self.source, self.device);
    }
}

/// Who has to speak next, and until when.
struct Turn {
    whose: Side,
    until: Instant,
}

impl Trip {
    /// Lets the two speak through the guard until the instance says byte 52.
    pub(super) async fn prove(
        &mut self,
        device: &mut DeviceLeg,
        instance: &mut Leg,
        preamble: Preamble,
        mut prover: Prover,
    ) -> Result<Proven, SessionError> {
        self.write(Side::Instance, instance, &preamble.bytes).await?;
        // Keep-alives renew the device's turn; nobody keeps a login going for ever with them, nor by
        // taking its time to read.
        let (silence, answer) = (self.settings.proof_device_silence, self.settings.proof_timeout);
        let ends = Instant::now() + answer + silence * self.settings.max_login_failures;
        let conversation = self.converse(device, instance, &mut prover, ends);
        let proven = timeout_at(ends, conversation).await.unwrap_or(Err(SessionError::Slow));
        if let Err(SessionError::Guard(_)) = proven {
            // The instance's last word, such as that the login failed, is the device's to hear, if it can.
            let _ = timeout(self.settings.grace, self.pass_to_device(device, &mut prover)).await;
        }
        match proven {
            // A wrong password is not the instance's doing, however it takes its leave.
            Err(SessionError::Closed(Side::Instance) | SessionError::Failed(Side::Instance, _))
                if prover.login_failures() > 0 =>
            {
                Err(SessionError::LoginRefused)
            }
            other => other.map(|()| prover.finish()),
        }
    }

    async fn converse(
        &self,
        device: &mut DeviceLeg,
        instance: &mut Leg,
        prover: &mut Prover,
        ends: Instant,
    ) -> Result<(), SessionError> {
        let (silence, answer) = (self.settings.proof_device_silence, self.settings.proof_timeout);
        let mut attempt: Option<Attempt> = None;
        let mut turn = Turn { whose: Side::Device, until: Instant::now() + silence };
        loop {
            // Answers to keep-alives are none to a login: the instance keeps the time it has for that.
            if self.pass_to_device(device, prover).await? && !prover.asked() {
                turn = Turn { whose: Side::Device, until: Instant::now() + silence };
            }
            if prover.proven() {
                return Ok(());
            }
            if prover.login_ready() {
                attempt = self.attempt()?;
            }
            if self.pass_to_instance(instance, prover).await? && turn.whose == Side::Device {
                turn = Turn { whose: Side::Instance, until: Instant::now() + answer };
            }
            let overdue = sleep_until(turn.until.min(ends));
            tokio::select! {
                heard = next_bytes(device.as_mut(), prover.room()), if prover.wants_device() => {
                    let bytes = said(Side::Device, heard)?;
                    self.traffic.heard_device(bytes.len());
                    prover.device_bytes(&bytes).map_err(SessionError::Guard)?;
                    if turn.whose == Side::Device {
                        turn.until = Instant::now() + silence;
                    }
                }
                heard = next_record(instance), if prover.wants_instance() => {
                    let bytes = said(Side::Instance, heard)?;
                    self.traffic.heard_instance(bytes.len());
                    let failures = prover.login_failures();
                    let verdict = prover.instance_bytes(&bytes);
                    self.failed(prover.login_failures() - failures);
                    if !prover.asked() {
                        drop(attempt.take()); // after what it came to was counted
                    }
                    verdict.map_err(SessionError::Guard)?;
                }
                () = overdue => return Err(SessionError::Silent(turn.whose)),
            }
        }
    }

    /// Whether a login may be passed on now.
    fn attempt(&self) -> Result<Option<Attempt>, SessionError> {
        if self.settings.login_backoff == LoginBackoff::Off {
            return Ok(None);
        }
        let (source, device) = (self.source.ip(), self.device.expect("who logs in has said its name"));
        if !self.plane.backoff.lock().begin(source, device, Instant::now()) {
            return Err(SessionError::BackedOff);
        }
        Ok(Some(Attempt { plane: Arc::clone(&self.plane), source, device }))
    }

    /// The instance refused so many logins just now.
    fn failed(&self, logins: u32) {
        if logins > 0 {
            self.plane.parts.metrics.login_failures.increment(logins.into());
            let device = self.device.expect("who logs in has said its name");
            self.plane.backoff.lock().failed(self.source.ip(), device, logins, Instant::now());
        }
    }

    /// Passes on what the guard lets through; says whether there was anything.
    async fn pass_to_device(
        &self,
        device: &mut DeviceLeg,
        prover: &mut Prover,
    ) -> Result<bool, SessionError> {
        let mut any = false;
        while let Some(message) = prover.to_device() {
            self.write(Side::Device, device, &message).await?;
            any = true;
        }
        Ok(any)
    }

    /// The same the other way: one message, one record (MPS refuses a USERAUTH_REQUEST in pieces).
    async fn pass_to_instance(&self, instance: &mut Leg, prover: &mut Prover) -> Result<bool, SessionError> {
        let mut any = false;
        while let Some(message) = prover.to_instance() {
            self.write(Side::Instance, instance, &message).await?;
            any = true;
        }
        Ok(any)
    }

    async fn write<T: AsyncWrite + Unpin>(
        &self,
        side: Side,
        leg: &mut T,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        match timeout(self.settings.stall, write_record(leg, bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SessionError::Failed(side, error)),
            Err(_) => Err(SessionError::Stalled(side)),
        }
    }

    /// Lists and claims the session, then passes on the 52 and what waited behind it.
    pub(super) async fn claim_and_pass(
        &mut self,
        device: &mut DeviceLeg,
        instance: &mut Leg,
        mut proof: Proven,
    ) -> Result<(Listing, Follower), SessionError> {
        let listing = self.list()?;
        let session = Arc::clone(&listing.listed.session);
        let passing = async {
            // However the directory is, the device is not kept waiting; what was not settled is later.
            let claim = self.plane.parts.keeper.claim(&session);
            match timeout(self.settings.claim_wait, claim).await {
                Ok(Claimed::Superseded(_)) => return Err(SessionError::Told(CloseReason::Superseded)),
                Ok(Claimed::Granted(_) | Claimed::Pending) | Err(_) => {}
            }
            self.write(Side::Device, device, &proof.to_device).await?;
            for message in std::mem::take(&mut proof.to_instance) {
                proof.follower.device_bytes(&message).map_err(SessionError::Guard)?;
                self.write(Side::Instance, instance, &message).await?;
            }
            Ok(())
        };
        tokio::select! {
            passed = passing => passed?,
            reason = session.closed() => return Err(SessionError::Told(reason)),
        }
        Ok((listing, proof.follower))
    }

    /// Lists this session; an older one of the device here is thereby displaced.
    fn list(&mut self) -> Result<Listing, SessionError> {
        self.place = None; // from here on nobody can show it out: who displaces another, stays
        if self.shown_out.is_cancelled() {
            return Err(SessionError::ShownOut);
        }
        let (parts, source) = (&self.plane.parts, self.source.ip());
        let id = self.device.expect("only who said its name is proven");
        let instance = self.instance.clone().expect("only an instance proves");
        let counted =
            [Counted::by(&parts.metrics.sessions), Counted::by(&parts.metrics.sessions_at(&instance))];
        let number = parts.sessions.next_id();
        let session = Session::proven(id, number, instance, source, Arc::clone(&self.traffic));
        let (listed, displaced) = parts.sessions.insert(session);
        if let Some(displaced) = displaced {
            parts.metrics.superseded.increment(1);
            self.plane.taken_over(id, &displaced, Some(source));
        }
        self.plane.counts.accepts.of(Stage::Proven).increment(1);
        self.plane.backoff.lock().proved(source, id, Instant::now());
        self.stage = Stage::Proven;
        Ok(Listing { listed, plane: Arc::clone(&self.plane), _counted: counted })
    }
}

impl Plane {
    /// Takes note that a session gave way to a newer one, `by` whom if that is here.
    pub(super) fn taken_over(&self, device: DeviceId, displaced: &Session, by: Option<IpAddr>) {
        let silence = displaced.traffic.device_silence();
        let takeover = Takeover { displaced: displaced.source, silence, by };
        let contested = self.contested.lock().takeover(device, takeover, Instant::now());
        if let Some(closed_for) = contested {
            tell_contested(device, displaced.source, by, closed_for);
        }
    }
}

fn tell_contested(device: DeviceId, one: IpAddr, other: Option<IpAddr>, closed_for: Duration) {
    warn!(
        %device, %one, other = other.map(tracing::field::display), ?closed_for,
        "contested GUID: several devices claim it; who is there stays, newcomers are closed"
    );
}

fn said(side: Side, heard: io::Result<Option<Bytes>>) -> Result<Bytes, SessionError> {
    match heard {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(SessionError::Closed(side)),
        Err(error) => Err(SessionError::Failed(side, error)),
    }
}
