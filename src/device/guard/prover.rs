//! Before proof: whole messages in, whole messages out, in order.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::follower::Follower;
use super::parcels::Parcels;
use super::{Refusal, begins};
use crate::device::settings::GuardMode;
use crate::wire::apf::{
    AUTH_SERVICE, Extent, Message, PASSWORD_METHOD, PFWD_SERVICE, UserauthRequest, extent, kind,
};

/// Longest name (user, service, method) before proof, in bytes: the limit of Intel's own headers.
const MAX_NAME: usize = 64;

/// So many bytes may wait in either direction before no more are read.
const ROOM: usize = 4096;

/// So many bytes besides logins may pass to the instance before proof: a service request takes 23, a
/// keep-alive 5. Else whoever cannot log in could have an instance read its messages for ever.
const BUDGET: usize = 4096;

/// Before proof: whole messages in, whole messages out, in order.
///
/// The preamble itself is not fed: the session reads it first and passes it on.
///
/// After a refusal nothing is looked at any more, but what was judged before it still comes out of
/// [`Prover::to_instance`] and [`Prover::to_device`]. So on [`Refusal::TooManyLoginFailures`] the
/// session passes on [`Prover::to_device`], which ends with the failure, and then closes.
pub struct Prover {
    mode: GuardMode,
    max_login_failures: u32,
    refused: Option<Refusal>,
    login: Login,
    login_failures: u32,
    /// Bytes of the device that are no whole message yet, or that lie behind an unknown type.
    device: BytesMut,
    /// The device's bytes can no longer be delimited: all of them wait.
    opaque: bool,
    to_instance: Parcels,
    /// Bytes that came into `to_instance` so far, logins left out.
    passed: usize,
    /// Messages that follow the 52.
    waiting: Parcels,
    /// Bytes of the instance that are no whole message yet.
    instance: BytesMut,
    /// The last message was a USERAUTH_FAILURE of 14 bytes: a zero byte would belong to it.
    failure_may_go_on: bool,
    to_device: Parcels,
    /// Byte 52 and what followed it.
    proof: BytesMut,
}

/// What the device said is left out: a password is in it.
impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (login, refused) = (self.login, self.refused);
        f.debug_struct("Prover").field("login", &login).field("refused", &refused).finish_non_exhaustive()
    }
}

/// How far the login is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Login {
    /// The device did not try yet.
    Untried,
    /// A USERAUTH_REQUEST is ready for the instance.
    Ready,
    /// It was handed out and not answered.
    Asked,
    /// The instance refused; the device may try again.
    Failed,
    /// The instance said 52.
    Proven,
}

impl Prover {
    /// A session whose preamble was read.
    pub fn new(mode: GuardMode, max_login_failures: u32) -> Self {
        Self {
            mode,
            max_login_failures,
            refused: None,
            login: Login::Untried,
            login_failures: 0,
            device: BytesMut::new(),
            opaque: false,
            to_instance: Parcels::default(),
            passed: 0,
            waiting: Parcels::default(),
            instance: BytesMut::new(),
            failure_may_go_on: false,
            to_device: Parcels::default(),
            proof: BytesMut::new(),
        }
    }

    /// Whether the device may be read: false while 4 KiB wait (back-pressure).
    pub fn wants_device(&self) -> bool {
        self.room() > 0
    }

    /// How many bytes of the device there is room for. Who feeds no more than that has at most 4 KiB
    /// held; who does has what was too much held as well.
    pub fn room(&self) -> usize {
        if self.refused.is_some() {
            return 0;
        }
        ROOM.saturating_sub((self.waiting.len() + self.device.len()).max(self.to_instance.len()))
    }

    /// Whether the instance may be read: false while 4 KiB wait for the device.
    pub fn wants_instance(&self) -> bool {
        self.refused.is_none() && self.to_device.len() + self.proof.len() < ROOM
    }

    /// The device said this, with any boundaries. A refusal is final.
    pub fn device_bytes(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.still_open()?;
        self.device.extend_from_slice(bytes);
        let verdict = self.judge_device();
        self.remember(verdict)
    }

    /// The next message for the instance, to be written as one record; `None`: nothing may pass now.
    pub fn to_instance(&mut self) -> Option<Bytes> {
        let message = self.to_instance.pop()?;
        if message.first() == Some(&kind::USERAUTH_REQUEST) {
            self.login = Login::Asked;
        }
        Some(message)
    }

    /// The instance said this. What may pass to the device comes out of [`Prover::to_device`]. A
    /// refusal is final.
    pub fn instance_bytes(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.still_open()?;
        if self.proven() {
            self.proof.extend_from_slice(bytes);
            return Ok(());
        }
        self.instance.extend_from_slice(bytes);
        let verdict = self.judge_instance();
        self.remember(verdict)
    }

    /// The next message for the device, one record.
    pub fn to_device(&mut self) -> Option<Bytes> {
        self.to_device.pop()
    }

    /// Byte 52 came from the instance. It is *not* given out by [`Prover::to_device`]: the session
    /// claims first and then passes [`Proven::to_device`].
    pub fn proven(&self) -> bool {
        self.login == Login::Proven
    }

    /// Whether a login is among what [`Prover::to_instance`] will give out.
    pub fn login_ready(&self) -> bool {
        self.login == Login::Ready
    }

    /// Whether the instance was asked to judge a login and has not answered.
    pub fn asked(&self) -> bool {
        self.login == Login::Asked
    }

    /// How many logins failed so far.
    pub fn login_failures(&self) -> u32 {
        self.login_failures
    }

    /// After proof: what waits on either side, and the follower for the rest.
    ///
    /// What [`Prover::to_device`] still holds is to be passed on before: it came before the 52.
    pub fn finish(mut self) -> Proven {
        let mut to_instance = Vec::new();
        while let Some(message) = self.to_instance.pop().or_else(|| self.waiting.pop()) {
            to_instance.push(message);
        }
        if !self.device.is_empty() {
            to_instance.push(self.device.freeze());
        }
        Proven { to_device: self.proof.freeze(), to_instance, follower: Follower::new(self.mode) }
    }

    fn still_open(&self) -> Result<(), Refusal> {
        self.refused.map_or(Ok(()), Err)
    }

    fn remember(&mut self, verdict: Result<(), Refusal>) -> Result<(), Refusal> {
        if let Err(refusal) = verdict {
            self.refused = Some(refusal);
            self.device.clear(); // not even `finish` may pass on what was refused
            self.instance.clear();
        }
        verdict
    }

    fn judge_device(&mut self) -> Result<(), Refusal> {
        while !self.opaque {
            let Some(&first) = self.device.first() else { break };
            begins(first)?;
            self.may_come(first)?;
            match extent(&self.device)? {
                Extent::Unknown(_) => self.opaque = true,
                Extent::Partial => break,
                Extent::Whole(len) => {
                    let message = self.device.split_to(len);
                    self.device_message(&message)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a message of this type may come now: before the first login only what leads to it.
    fn may_come(&self, first: u8) -> Result<(), Refusal> {
        match first {
            kind::SERVICE_REQUEST | kind::KEEPALIVE_REQUEST | kind::USERAUTH_REQUEST => Ok(()),
            _ if self.login == Login::Untried => Err(Refusal::UnexpectedFromDevice),
            _ => Ok(()),
        }
    }

    fn device_message(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Ok(Some((message, _))) = Message::parse(bytes) else { return Err(Refusal::Malformed) };
        match message {
            Message::KeepaliveRequest { .. } => self.pass(bytes)?,
            Message::ServiceRequest { service } => {
                known_service(service)?;
                match self.login {
                    Login::Untried => self.pass(bytes)?,
                    Login::Ready | Login::Asked | Login::Failed | Login::Proven => self.waiting.push(bytes),
                }
            }
            Message::UserauthRequest(request) => {
                login_by_password(&request)?;
                match self.login {
                    Login::Untried | Login::Failed => self.log_in(bytes),
                    // Pipelined: it is the retry if the one under way fails.
                    Login::Ready | Login::Asked | Login::Proven => self.waiting.push(bytes),
                }
            }
            _ => self.waiting.push(bytes),
        }
        Ok(())
    }

    fn log_in(&mut self, request: &[u8]) {
        self.to_instance.push(request); // these have a bound of their own
        self.login = Login::Ready;
    }

    /// Lets a message through at once, within the budget.
    fn pass(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.passed += message.len();
        if self.passed > BUDGET {
            return Err(Refusal::TooMuchBeforeProof);
        }
        self.to_instance.push(message);
        Ok(())
    }

    fn judge_instance(&mut self) -> Result<(), Refusal> {
        while let Some(&first) = self.instance.first() {
            if std::mem::take(&mut self.failure_may_go_on) && first == 0 {
                self.to_device.push(&self.instance.split_to(1));
                continue;
            }
            match first {
                kind::SERVICE_ACCEPT | kind::PROTOCOL_VERSION | kind::KEEPALIVE_REPLY => {}
                kind::USERAUTH_FAILURE | kind::USERAUTH_SUCCESS if self.login == Login::Asked => {}
                kind::DISCONNECT => return Err(Refusal::InstanceDisconnect),
                _ => return Err(Refusal::UnexpectedFromInstance),
            }
            let Extent::Whole(len) = extent(&self.instance).map_err(|_| Refusal::UnexpectedFromInstance)?
            else {
                break;
            };
            if first == kind::USERAUTH_SUCCESS {
                self.login = Login::Proven;
                self.proof = std::mem::take(&mut self.instance);
                break;
            }
            self.instance_message(len)?;
        }
        Ok(())
    }

    /// Passes on the message of `len` bytes at the head of the instance's bytes.
    fn instance_message(&mut self, len: usize) -> Result<(), Refusal> {
        let padded = match Message::parse(&self.instance) {
            Ok(Some((Message::ServiceAccept { service }, _))) if known_service(service).is_err() => {
                return Err(Refusal::UnexpectedFromInstance);
            }
            Ok(Some((Message::UserauthFailure { padded, .. }, _))) => Some(padded),
            _ => None,
        };
        let message = self.instance.split_to(len + usize::from(padded == Some(true)));
        self.to_device.push(&message);
        if let Some(padded) = padded {
            self.failure_may_go_on = !padded;
            self.login_failed()?;
        }
        Ok(())
    }

    fn login_failed(&mut self) -> Result<(), Refusal> {
        self.login = Login::Failed;
        self.login_failures += 1;
        if self.login_failures >= self.max_login_failures {
            return Err(Refusal::TooManyLoginFailures);
        }
        if let Some(retry) = self.waiting.take_first(kind::USERAUTH_REQUEST) {
            self.log_in(&retry);
        }
        Ok(())
    }
}

fn known_service(service: &[u8]) -> Result<(), Refusal> {
    if service == AUTH_SERVICE || service == PFWD_SERVICE { Ok(()) } else { Err(Refusal::Service) }
}

fn login_by_password(request: &UserauthRequest<'_>) -> Result<(), Refusal> {
    if request.method != PASSWORD_METHOD {
        return Err(Refusal::Method);
    }
    if request.user.len() > MAX_NAME || request.service.len() > MAX_NAME {
        return Err(Refusal::Oversized);
    }
    if request.change != 0 { Err(Refusal::Malformed) } else { Ok(()) }
}

/// What waits when a session is proven.
pub struct Proven {
    /// Byte 52 and whatever the instance said after it in the same breath.
    pub to_device: Bytes,
    /// What the device said after its USERAUTH_REQUEST, whole messages first; each element one record.
    /// The last may be an incomplete message; all have yet to be shown to the follower, in order,
    /// before they are passed on.
    pub to_instance: Vec<Bytes>,
    /// Follows the rest.
    pub follower: Follower,
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").field("follower", &self.follower).finish_non_exhaustive()
    }
}
