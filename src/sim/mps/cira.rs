//! One CIRA connection of a simulated MPS: what `mpsserver.ts` and `APFProcessor.ts` do, slips included.
//!
//! There is no state machine in MPS: whatever comes is answered at once, before authentication too,
//! except that a login (and the look-up of a GUID) goes through the database and is answered later.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::channels::{Channels, Command};
use super::services::Services;
use super::state::{Ending, REMEMBERED, State};
use super::{Behaviour, Database};
use crate::lifecycle::Drain;
use crate::model::{DeviceId, Secret};
use crate::net::records::{Records, close, poll_record};
use crate::sim::transfer::outbox::Outbox;
use crate::wire::apf::{AUTH_SERVICE, GlobalRequest, Message, PASSWORD_METHOD, PFWD_SERVICE, kind};

/// Commands that wait for a connection.
const COMMANDS: usize = 64;

/// The port after whose forward MPS asks for keep-alives.
const LAST_PORT: u32 = 5900;

/// From so many bytes on, MPS takes an incomplete USERAUTH_REQUEST for a protocol error.
const SPLIT_LOGIN: usize = 13;

/// What MPS reads too much of a USERAUTH_REQUEST without password.
const OVERREAD: usize = 5;

/// Messages that wait for a device which does not read; with more, we do not read either.
const UNSENT: usize = 1024;

/// Batches sent before others have their turn.
const TURN: usize = 4;

/// What the database will have answered after [`Behaviour::lookup`].
enum Due {
    /// Is this device known?
    Device(DeviceId),
    /// Is this login right?
    Login { user: Vec<u8>, password: Option<Secret> },
}

pub(super) struct Cira<T> {
    link: T,
    number: u64,
    state: Arc<State>,
    behaviour: Arc<Behaviour>,
    drain: Drain,
    /// Received and not yet understood.
    heard: BytesMut,
    out: Vec<Bytes>,
    outbox: Outbox,
    device: Option<DeviceId>,
    due: VecDeque<(Instant, Due)>,
    channels: Channels,
    services: Services,
    /// Records of which the sizes were remembered.
    records: usize,
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    end: CancellationToken,
}

impl<T: Records> Cira<T> {
    pub fn new(link: T, number: u64, state: Arc<State>, behaviour: Arc<Behaviour>, drain: Drain) -> Self {
        Self {
            link,
            number,
            drain,
            heard: BytesMut::new(),
            out: Vec::new(),
            outbox: Outbox::default(),
            device: None,
            due: VecDeque::new(),
            channels: Channels::new(behaviour.window),
            services: Services::new(behaviour.service_window, state.pattern.clone()),
            records: 0,
            behaviour,
            commands: mpsc::channel(COMMANDS),
            end: CancellationToken::new(),
            state,
        }
    }

    /// The whole connection. Cancelling it is what a crash looks like from outside.
    pub async fn run(mut self) {
        let ending = self.serve().await;
        self.state.finish(self.number, self.device, ending);
        // MPS half-closes (`socket.end()`) and leaves the rest to the other side.
        let linger = if ending == Ending::Stopped { self.behaviour.stop_grace } else { self.behaviour.idle };
        close(self.link, linger).await;
    }

    async fn serve(&mut self) -> Ending {
        let mut frozen = self.state.frozen.subscribe();
        let mut idle = Instant::now() + self.behaviour.idle;
        loop {
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return Ending::Stopped;
            }
            let due = self.due.front().map_or(idle, |(at, _)| *at);
            let ended = tokio::select! {
                biased;
                () = self.drain.begun() => Some(Ending::Stopped),
                () = self.end.cancelled() => Some(Ending::Superseded),
                // Freezing must not wait for the next byte.
                _ = frozen.changed() => None,
                () = sleep_until(idle) => Some(Ending::Idle),
                record = exchange(&mut self.link, &mut self.outbox, &mut self.services) => match record {
                    Ok(Some(record)) => {
                        idle = Instant::now() + self.behaviour.idle;
                        self.hear(record).err()
                    }
                    Ok(None) | Err(_) => Some(Ending::Closed),
                },
                Some(command) = self.commands.1.recv() => {
                    self.channels.obey(command, &self.commands.0, &mut self.out);
                    None
                }
                () = sleep_until(due), if !self.due.is_empty() => self.answer_due().err(),
            };
            self.out.drain(..).for_each(|message| self.outbox.put(message));
            if let Some(ending) = ended {
                self.flush().await;
                return ending;
            }
        }
    }

    /// The last words: whoever does not take them in time does not hear them.
    async fn flush(&mut self) {
        let (link, outbox) = (&mut self.link, &mut self.outbox);
        let sent =
            poll_fn(|cx| if outbox.is_empty() { Poll::Ready(Ok(())) } else { outbox.poll_send(cx, link) });
        // What is not sent by then is not worth waiting for.
        let _: Result<io::Result<()>, _> = timeout(self.behaviour.stop_grace, sent).await;
    }

    fn hear(&mut self, record: Bytes) -> Result<(), Ending> {
        if self.records < REMEMBERED {
            self.records += 1;
            self.state.record(self.number, record.len());
        }
        let understood = if self.heard.is_empty() {
            self.understand(&record)
        } else {
            let mut heard = std::mem::take(&mut self.heard);
            heard.extend_from_slice(&record);
            self.understand(&heard)
        };
        let (bytes, corrupt) = self.services.unreported();
        if bytes > 0 {
            self.state.moved(bytes, corrupt);
        }
        understood
    }

    fn say(&mut self, message: &Message<'_>) {
        self.out.push(message.to_bytes());
    }

    /// Answers every whole message in `heard`, and keeps the rest.
    fn understand(&mut self, heard: &[u8]) -> Result<(), Ending> {
        let mut rest = heard;
        if self.device.is_none() {
            if heard.len() < b"GET".len() {
                self.heard = BytesMut::from(rest); // MPS, too, looks at three bytes before it decides
                return Ok(());
            }
            if heard.starts_with(b"GET") {
                self.out.push(page());
                return Err(Ending::Http);
            }
        }
        loop {
            self.services.take(&mut rest, &mut self.outbox);
            let Some((message, length)) = Message::parse(rest).map_err(|_| Ending::Malformed)? else { break };
            self.state.message(self.number, rest[0]);
            self.answer(&message)?;
            rest = &rest[length..];
            if matches!(message, Message::UserauthRequest(login) if login.method != PASSWORD_METHOD) {
                rest = rest.get(OVERREAD..).ok_or(Ending::SplitLogin)?;
            }
        }
        if rest.first() == Some(&kind::USERAUTH_REQUEST) && rest.len() >= SPLIT_LOGIN {
            return Err(Ending::SplitLogin);
        }
        // A fresh buffer: an idle connection holds none.
        self.heard = BytesMut::from(rest);
        Ok(())
    }

    fn answer(&mut self, message: &Message<'_>) -> Result<(), Ending> {
        match *message {
            Message::ProtocolVersion(version) => {
                self.device = Some(version.device);
                self.state.identify(self.number, version.device);
                self.later(Due::Device(version.device));
                if self.behaviour.echo_version {
                    self.say(message);
                }
            }
            Message::ServiceRequest { service } if [AUTH_SERVICE, PFWD_SERVICE].contains(&service) => {
                self.say(&Message::ServiceAccept { service });
            }
            Message::UserauthRequest(login) => {
                let password = login.password.map(|password| Secret::new(String::from_utf8_lossy(password)));
                self.later(Due::Login { user: login.user.to_vec(), password });
            }
            Message::GlobalRequest(GlobalRequest::Forward { port, .. }) => self.forwarded(port),
            Message::GlobalRequest(GlobalRequest::Cancel { .. }) => self.say(&Message::CancelSuccess),
            Message::Disconnect { .. } => {
                self.state.count(|counts| counts.disconnects += 1);
                if let Some(device) = self.device {
                    self.state.forget(device);
                }
            }
            Message::KeepaliveRequest { cookie } => {
                self.state.count(|counts| counts.keepalives += 1);
                self.say(&Message::KeepaliveReply { cookie });
            }
            // Swallowed, as MPS does.
            Message::ServiceRequest { .. }
            | Message::GlobalRequest(_)
            | Message::KeepaliveReply { .. }
            | Message::KeepaliveOptionsReply { .. } => {}
            _ => return self.answer_channel(message),
        }
        Ok(())
    }

    fn answer_channel(&mut self, message: &Message<'_>) -> Result<(), Ending> {
        let out = &mut self.out;
        match *message {
            Message::ChannelOpen(open) => self.services.open(&open, self.device, &mut self.outbox),
            Message::ChannelOpenConfirmation { recipient, sender, window } => {
                self.channels.granted(recipient, sender, window, out);
            }
            Message::ChannelOpenFailure { recipient, .. } => self.channels.refused(recipient),
            Message::ChannelWindowAdjust { recipient, bytes } if self.services.has(recipient) => {
                self.services.credited(recipient, bytes);
            }
            Message::ChannelWindowAdjust { recipient, bytes } => {
                self.channels.credited(recipient, bytes, out);
            }
            Message::ChannelData { recipient, data } => self.channels.received(recipient, data, out),
            Message::ChannelClose { recipient } if self.services.has(recipient) => {
                self.services.closed(recipient, &mut self.outbox);
            }
            Message::ChannelClose { recipient } => self.channels.closed(recipient, out),
            // What only a server says, and what MPS has no word for.
            _ => return Err(Ending::Malformed),
        }
        Ok(())
    }

    fn forwarded(&mut self, port: u32) {
        self.say(&Message::ForwardSuccess { port });
        if let (LAST_PORT, Some((interval, timeout))) = (port, self.behaviour.options) {
            self.say(&Message::KeepaliveOptionsRequest { interval, timeout });
        }
    }

    fn later(&mut self, due: Due) {
        self.due.push_back((Instant::now() + self.behaviour.lookup, due));
    }

    /// The database answers.
    fn answer_due(&mut self) -> Result<(), Ending> {
        let Some((_, due)) = self.due.pop_front() else { return Ok(()) };
        let database: &Database = &self.state.database;
        match due {
            Due::Device(device) if database.account(device).is_none() => Err(Ending::UnknownDevice),
            Due::Device(_) => Ok(()),
            Due::Login { user, password } => {
                let account = self.device.and_then(|device| Some((device, database.account(device)?)));
                let right = account.filter(|(_, account)| {
                    account.user.as_bytes() == user && Some(&account.password) == password.as_ref()
                });
                match right {
                    Some((device, _)) => self.prove(device),
                    None => {
                        self.state.count(|counts| counts.refused_logins += 1);
                        let padded = self.behaviour.padded_failure;
                        self.say(&Message::UserauthFailure { methods: PASSWORD_METHOD, padded });
                        if self.behaviour.closes_refused {
                            return Err(Ending::Refused);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn prove(&mut self, device: DeviceId) {
        // Before 52 is said: the row says connected by then.
        self.state.register(self.number, device, self.commands.0.clone(), self.end.clone());
        self.say(&Message::UserauthSuccess);
    }
}

/// The next record, `None` at the end; meanwhile what waits is sent, so that neither direction waits for
/// the other. Safe to cancel.
async fn exchange<T: Records>(
    link: &mut T,
    outbox: &mut Outbox,
    services: &mut Services,
) -> io::Result<Option<Bytes>> {
    poll_fn(|cx| {
        send(cx, link, outbox, services)?;
        if outbox.messages() > UNSENT {
            return Poll::Pending; // who does not listen is not listened to
        }
        poll_record(link, cx, |record| (!record.is_empty()).then(|| Bytes::copy_from_slice(record)))
    })
    .await
}

/// Sends until nothing waits, the link takes no more or others have their turn.
fn send<T: Records>(
    cx: &mut Context<'_>,
    link: &mut T,
    outbox: &mut Outbox,
    services: &mut Services,
) -> io::Result<()> {
    for _ in 0..TURN {
        services.fill(outbox);
        if outbox.is_empty() {
            return Ok(());
        }
        match outbox.poll_send(cx, link) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => return Ok(()),
        }
    }
    cx.waker().wake_by_ref();
    Ok(())
}

fn page() -> Bytes {
    let page = "<!DOCTYPE html><html><body>Simulated MPS: APF connections only.</body></html>";
    let length = page.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}").into()
}
