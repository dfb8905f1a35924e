//! One connection of a device, from its first message to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::client::TlsStream;

use super::raw::preamble;
use super::services::Services;
use super::{DeviceError, DeviceSettings, Manner, Stage, Status};
use crate::model::DeviceId;
use crate::net::records::{next_record, write_record};
use crate::wire::apf::{AUTH_SERVICE, GlobalRequest, Message, PFWD_SERVICE, UserauthRequest};

/// What the device waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// SERVICE_ACCEPT of the first service.
    Auth,
    /// The answer to a login.
    Login,
    /// SERVICE_ACCEPT of the second service.
    Pfwd,
    /// REQUEST_SUCCESS of the port with this index.
    Forward(usize),
    /// Nothing.
    Idle,
}

pub(super) struct Session {
    stream: TlsStream<TcpStream>,
    device: DeviceId,
    settings: Arc<DeviceSettings>,
    status: watch::Sender<Status>,
    services: Services,
    heard: BytesMut,
    out: Vec<Bytes>,
    step: Step,
    logins: u32,
    /// A refusal may be followed by a zero byte, or not: that depends on the server.
    padding: bool,
    cookie: u32,
    interval: Duration,
    /// The server closed, and this device does not care.
    deaf: bool,
}

impl Session {
    pub fn new(
        stream: TlsStream<TcpStream>,
        device: DeviceId,
        settings: Arc<DeviceSettings>,
        status: watch::Sender<Status>,
        power: Arc<AtomicU32>,
    ) -> Self {
        Self {
            stream,
            device,
            services: Services::new(settings.window, Arc::clone(&settings.account), power),
            interval: settings.keepalive,
            settings,
            status,
            heard: BytesMut::new(),
            out: Vec::new(),
            step: Step::Auth,
            logins: 0,
            padding: false,
            cookie: 0,
            deaf: false,
        }
    }

    /// Speaks until something ends it. Dropping it vanishes without a word; [`Session::leave`] says goodbye.
    pub async fn run(&mut self) -> DeviceError {
        match self.speak().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// close_notify and FIN.
    pub async fn leave(mut self) {
        use tokio::io::AsyncWriteExt as _;
        // Whoever is gone cannot be told.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }

    async fn speak(&mut self) -> Result<std::convert::Infallible, DeviceError> {
        self.begin();
        self.flush().await?;
        let mut heard = Instant::now();
        let mut said = heard;
        loop {
            let patience = match self.step {
                Step::Idle => self.settings.silence,
                _ => self.settings.answer,
            };
            tokio::select! {
                record = next_record(&mut self.stream), if !self.deaf => {
                    heard = Instant::now();
                    match record.map_err(DeviceError::Io)? {
                        Some(record) => self.hear(&record)?,
                        None if self.settings.ignore_fin => self.deaf = true,
                        None => return Err(DeviceError::Closed),
                    }
                }
                () = sleep_until(said + self.interval), if self.step == Step::Idle => {
                    said = Instant::now();
                    self.cookie = self.cookie.wrapping_add(1);
                    self.say(&Message::KeepaliveRequest { cookie: self.cookie });
                }
                () = sleep_until(heard + patience), if !self.deaf => return Err(DeviceError::Silent),
            }
            self.flush().await?;
        }
    }

    fn begin(&mut self) {
        self.say(&Message::ProtocolVersion(preamble(self.device)));
        self.say(&Message::ServiceRequest { service: AUTH_SERVICE });
        if self.settings.manner == Manner::Pipelined {
            self.log_in();
            self.say(&Message::ServiceRequest { service: PFWD_SERVICE });
            for i in 0..self.settings.ports.len() {
                self.forward(i);
            }
            self.step = Step::Login;
        }
    }

    fn say(&mut self, message: &Message<'_>) {
        self.out.push(message.to_bytes());
    }

    fn log_in(&mut self) {
        let account = Arc::clone(&self.settings.account);
        let (user, password) = (account.user.as_bytes(), account.password.expose().as_bytes());
        self.say(&Message::UserauthRequest(UserauthRequest::password(user, password)));
        self.logins += 1;
        self.step = Step::Login;
    }

    /// Offers the port with this index; `false`: there is none.
    fn forward(&mut self, i: usize) -> bool {
        let Some(&port) = self.settings.ports.get(i) else { return false };
        self.say(&Message::GlobalRequest(GlobalRequest::Forward { address: b"", port }));
        true
    }

    async fn flush(&mut self) -> Result<(), DeviceError> {
        let out = std::mem::take(&mut self.out);
        let stream = &mut self.stream;
        match self.settings.manner {
            Manner::Bytewise => {
                for byte in out.concat().chunks(1) {
                    write_record(stream, byte).await.map_err(DeviceError::Io)?;
                }
            }
            Manner::Coalesced if out.len() > 1 => {
                for record in out.concat().chunks(16 * 1024) {
                    write_record(stream, record).await.map_err(DeviceError::Io)?;
                }
            }
            Manner::Coalesced | Manner::OneByOne | Manner::Pipelined => {
                for message in out {
                    write_record(stream, &message).await.map_err(DeviceError::Io)?;
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, record: &[u8]) -> Result<(), DeviceError> {
        self.heard.extend_from_slice(record);
        let heard = std::mem::take(&mut self.heard);
        let mut rest = &heard[..];
        loop {
            if self.padding && rest.first() == Some(&0) {
                rest = &rest[1..];
            }
            self.padding &= rest.is_empty();
            let message = Message::parse(rest).map_err(|_| DeviceError::Malformed)?;
            let Some((message, length)) = message else { break };
            rest = &rest[length..];
            self.answer(&message)?;
        }
        // A fresh buffer: an idle device holds none.
        self.heard = BytesMut::from(rest);
        Ok(())
    }

    fn answer(&mut self, message: &Message<'_>) -> Result<(), DeviceError> {
        let out = &mut self.out;
        match *message {
            Message::ServiceAccept { service } => self.accepted(service),
            Message::UserauthSuccess if self.step == Step::Login => self.proven(),
            Message::UserauthFailure { padded, .. } => {
                self.padding = !padded;
                if self.logins >= self.settings.logins {
                    return Err(DeviceError::Refused);
                }
                self.log_in();
            }
            Message::ForwardSuccess { .. } => {
                if let Step::Forward(i) = self.step {
                    self.step = if self.forward(i + 1) { Step::Forward(i + 1) } else { Step::Idle };
                }
            }
            Message::KeepaliveReply { .. } => self.note(|status| status.keepalives += 1),
            Message::KeepaliveRequest { cookie } => self.say(&Message::KeepaliveReply { cookie }),
            Message::KeepaliveOptionsRequest { interval, timeout } => {
                if self.settings.obey_options && interval > 0 {
                    self.interval = Duration::from_secs(interval.into());
                }
                let in_force = u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX);
                self.say(&Message::KeepaliveOptionsReply { interval: in_force, timeout });
            }
            Message::ChannelOpen(open) => {
                let granted = self.services.open(&open, &self.settings.ports, out);
                self.note(|status| status.channels += u64::from(granted));
            }
            Message::ChannelWindowAdjust { recipient, bytes } => {
                self.services.credited(recipient, bytes, out)
            }
            Message::ChannelData { recipient, data } => self.services.received(recipient, data, out),
            Message::ChannelClose { recipient } => self.services.closed(recipient, out),
            Message::Disconnect { .. } => return Err(DeviceError::Disconnected),
            Message::RequestFailure => return Err(DeviceError::Malformed),
            // Console's echo of PROTOCOL_VERSION, and whatever else servers may say.
            _ => {}
        }
        Ok(())
    }

    fn accepted(&mut self, service: &[u8]) {
        match self.step {
            Step::Auth if service == AUTH_SERVICE => self.log_in(),
            Step::Pfwd if service == PFWD_SERVICE => {
                self.step = if self.forward(0) { Step::Forward(0) } else { Step::Idle };
            }
            _ => {}
        }
    }

    fn proven(&mut self) {
        if self.settings.manner == Manner::Pipelined {
            self.step = Step::Idle;
        } else {
            self.say(&Message::ServiceRequest { service: PFWD_SERVICE });
            self.step = Step::Pfwd;
        }
        self.note(|status| {
            status.stage = Stage::Proven;
            status.proofs += 1;
            status.failures = 0;
        });
    }

    fn note(&self, note: impl FnOnce(&mut Status)) {
        self.status.send_modify(note);
    }
}

/// Connects and shakes hands as the settings say.
pub(super) async fn connect(
    settings: &DeviceSettings,
    attempt: usize,
) -> Result<TlsStream<TcpStream>, DeviceError> {
    let target = settings.targets[attempt % settings.targets.len()];
    let dialling = async {
        let tcp = match settings.source {
            None => TcpStream::connect(target).await?,
            Some(source) => {
                let socket = if target.is_ipv4() {
                    tokio::net::TcpSocket::new_v4()?
                } else {
                    tokio::net::TcpSocket::new_v6()?
                };
                socket.bind((source, 0).into())?;
                socket.connect(target).await?
            }
        };
        tcp.set_nodelay(true)?;
        Ok::<_, io::Error>(tcp)
    };
    let shaking = async {
        let mut tcp = dialling.await.map_err(DeviceError::Connect)?;
        write_record(&mut tcp, &settings.prelude).await.map_err(DeviceError::Connect)?;
        settings.tls.handshake(tcp).await.map_err(DeviceError::Handshake)
    };
    tokio::time::timeout(settings.answer, shaking).await.map_err(|_| DeviceError::Silent)?
}
