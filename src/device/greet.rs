//! The first stages of a session: PROXY header, hello, handshake, preamble, admission.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::PollSemaphore;

use super::admission::Patience;
use super::contested::WINDOW;
use super::ending::{SessionError, Stage};
use super::session::{DeviceLeg, Trip};
use super::settings::{LegacyTls, LoginBackoff};
use crate::directory::{Answer, Freshness, Standing};
use crate::model::DeviceId;
use crate::net::head::{HeadError, read_head};
use crate::net::relay::{Side, close};
use crate::net::rewind::Rewind;
use crate::wire::apf::{self, FirstWord, PREAMBLE_LEN};
use crate::wire::client_hello::{self, Hello, Legacy};
use crate::wire::proxy_protocol::{self, ProxyHeader};

/// A connection whose hello was judged, none of it taken.
pub(super) enum Greeted {
    /// rustls can serve it.
    Served(Rewind<TcpStream>),
    /// It cannot, and the hello is to be spliced.
    Legacy(Rewind<TcpStream>),
}

/// A device's first message, as a value and as it was said.
pub(super) struct Preamble {
    pub device: DeviceId,
    pub bytes: [u8; PREAMBLE_LEN],
}

impl Trip {
    /// From a network of `device.proxy-from` a PROXY header must come; from elsewhere it is garbage.
    pub(super) async fn proxy_header(&mut self, tcp: TcpStream) -> Result<Rewind<TcpStream>, SessionError> {
        let balancer = self.source.ip();
        if !self.settings.proxy_from.iter().any(|network| network.contains(balancer)) {
            return Ok(Rewind::new(bytes::Bytes::new(), tcp));
        }
        let head = read_head(tcp, proxy_protocol::MAX_LEN, proxy_protocol::parse);
        let head = timeout(self.settings.proxy_timeout, head).await.map_err(|_| SessionError::Slow)?;
        let (header, tcp) = head.map_err(SessionError::Proxy)?;
        if let ProxyHeader::Proxied { source, .. } = header {
            self.source = source;
        }
        Ok(tcp)
    }

    /// Judges the hello before rustls sees a byte of it. One that breaks the rules of TLS is answered with
    /// an alert; so is a legacy one, unless it is to be spliced.
    pub(super) async fn hello(&mut self, tcp: Rewind<TcpStream>) -> Result<Greeted, SessionError> {
        self.stage = Stage::Hello;
        let leaf = self.plane.parts.tls.leaf_key();
        // A refusal is a finding, too: the connection is needed to say it.
        let judge = |buf: &[u8]| Ok(client_hello::judge(buf, leaf).transpose().map(|judged| (judged, 0)));
        let head = read_head(tcp, client_hello::MAX_LEN, judge);
        let head = timeout(self.settings.hello_timeout, head).await.map_err(|_| SessionError::Slow)?;
        let (judged, tcp) = head.map_err(SessionError::Hello)?;
        let hello = match judged {
            Ok(hello) => hello,
            Err(not_hello) => {
                if let Some(description) = not_hello.alert() {
                    self.refuse(tcp.flatten(), alert(3, description)).await;
                }
                return Err(SessionError::Hello(HeadError::Refused(not_hello)));
            }
        };
        self.hello = Some(hello.version);
        let labels = (hello.version, hello.key_exchange, (&hello).into());
        self.plane.counts.hellos.of(labels).increment(1);
        self.came_to(Patience::HalfOpen);
        match (hello.verdict, self.settings.legacy_tls) {
            (Ok(()), _) => Ok(Greeted::Served(tcp.flatten())),
            (Err(legacy), LegacyTls::Refuse) => {
                self.refuse(tcp.flatten(), legacy_alert(&hello, legacy)).await;
                Err(SessionError::Legacy(legacy))
            }
            (Err(legacy), LegacyTls::Splice) => {
                self.tell_of_legacy(&hello, legacy);
                Ok(Greeted::Legacy(tcp.flatten()))
            }
        }
    }

    async fn refuse(&self, mut tcp: Rewind<TcpStream>, alert: [u8; 7]) {
        let said = timeout(self.settings.grace, tcp.write_all(&alert)).await;
        if matches!(said, Ok(Ok(()))) {
            close(tcp, self.settings.grace).await;
        }
    }

    pub(super) fn came_to(&self, patience: Patience) {
        if let Some(place) = &self.place {
            place.came_to(patience);
        }
    }

    /// Shakes hands, in turns with the others.
    pub(super) async fn handshake(&mut self, tcp: Rewind<TcpStream>) -> Result<DeviceLeg, SessionError> {
        self.stage = Stage::Handshake;
        let began = Instant::now();
        let parts = &self.plane.parts;
        let mut device = Box::new(parts.tls.stream(tcp).map_err(SessionError::Handshake)?);
        let shaking = in_turns(Arc::clone(&self.plane.handshakes), device.shake());
        match timeout(self.settings.handshake_timeout, shaking).await {
            Ok(Ok(())) => {
                parts.metrics.handshake_seconds.record(began.elapsed().as_secs_f64());
                Ok(device)
            }
            Ok(Err(error)) => {
                // In clear: what is said last is an alert, and nothing that comes is of interest.
                close(device.into_io(), self.settings.grace).await;
                Err(SessionError::Handshake(error))
            }
            Err(_) => Err(SessionError::Slow),
        }
    }

    /// Reads the 93 bytes in which the device says who it is; answers a browser with a page.
    pub(super) async fn preamble(&mut self, device: &mut DeviceLeg) -> Result<Preamble, SessionError> {
        self.stage = Stage::Preamble;
        let mut bytes = [0; PREAMBLE_LEN];
        let first = timeout(self.settings.preamble_timeout, first_message(device, &mut bytes)).await;
        match first.map_err(|_| SessionError::Slow)?? {
            First::Device(id) => {
                self.device = Some(id);
                self.traffic.heard_device(PREAMBLE_LEN);
                self.came_to(Patience::Login);
                Ok(Preamble { device: id, bytes })
            }
            First::Look(word) => {
                let page = page(word);
                // Whether it is heard is of no matter: the connection is closed either way.
                let _ = timeout(self.settings.grace, async {
                    device.write_all(page.as_bytes()).await?;
                    device.flush().await
                })
                .await;
                Err(SessionError::Page)
            }
        }
    }

    /// Whether this device may try to log in from here.
    pub(super) async fn admit(&mut self, device: DeviceId) -> Result<(), SessionError> {
        self.stage = Stage::Connect;
        let source = self.source.ip();
        let contested = self.plane.contested.lock().is_contested(device, Instant::now());
        if contested && self.somebody_is_there(device, source).await {
            self.plane.parts.metrics.contested_refusals.increment(1);
            return Err(SessionError::Contested);
        }
        let admitted = self.settings.login_backoff == LoginBackoff::Off
            || self.plane.backoff.lock().admits(source, device, Instant::now());
        if admitted { Ok(()) } else { Err(SessionError::BackedOff) }
    }

    /// Whether another device of this GUID is active: here, or (as far as its claim tells) elsewhere.
    async fn somebody_is_there(&self, device: DeviceId, source: IpAddr) -> bool {
        match self.plane.parts.sessions.get(device) {
            // The same source: it is the incumbent itself, calling again.
            Some(there) => there.source != source && there.traffic.device_silence() < WINDOW,
            None => {
                let owner = self.plane.parts.keeper.owner(device, Freshness::Cached).await;
                matches!(owner, Answer::Owned { standing: Standing::Live, .. })
            }
        }
    }
}

/// The health of this listener, for people and probes: that it answers. No figures for strangers.
fn page(word: FirstWord) -> String {
    const BODY: &str = "<!doctype html>\n<title>Management presence gateway</title>\n\
        <p>This port is well. Intel AMT devices call here.</p>\n";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        BODY.len()
    );
    if word == FirstWord::Head { head } else { head + BODY }
}

enum First {
    Device(DeviceId),
    /// `GET` or `HEAD`.
    Look(FirstWord),
}

/// The first message, whatever its boundaries. What follows it stays unread.
async fn first_message(
    device: &mut DeviceLeg,
    bytes: &mut [u8; PREAMBLE_LEN],
) -> Result<First, SessionError> {
    let mut heard = 0;
    loop {
        match apf::first_word(&bytes[..heard]).map_err(SessionError::Preamble)? {
            Some(look @ (FirstWord::Get | FirstWord::Head)) => return Ok(First::Look(look)),
            Some(FirstWord::Preamble) | None => {}
        }
        if let Ok(Some(preamble)) = apf::preamble(&bytes[..heard]) {
            return Ok(First::Device(preamble.device));
        }
        heard += match device.read(&mut bytes[heard..]).await {
            Ok(0) => return Err(SessionError::Closed(Side::Device)),
            Ok(more) => more,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(SessionError::Closed(Side::Device));
            }
            Err(error) => return Err(SessionError::Failed(Side::Device, error)),
        };
    }
}

/// A fatal TLS alert, as a server says it that does not know the offered versions or suites.
fn legacy_alert(hello: &Hello, legacy: Legacy) -> [u8; 7] {
    const HANDSHAKE_FAILURE: u8 = 40;
    const ILLEGAL_PARAMETER: u8 = 47;
    const PROTOCOL_VERSION: u8 = 70;
    let description = match legacy {
        Legacy::Format => ILLEGAL_PARAMETER,
        Legacy::Group | Legacy::Signature | Legacy::Suite => HANDSHAKE_FAILURE,
        Legacy::Version => PROTOCOL_VERSION,
    };
    let minor = match hello.version {
        client_hello::Version::Ssl => 0,
        client_hello::Version::Tls10 => 1,
        client_hello::Version::Tls11 => 2,
        client_hello::Version::Tls12 | client_hello::Version::Tls13 => 3,
    };
    alert(minor, description)
}

/// A fatal TLS alert in clear, in a record of version 3.`minor`.
const fn alert(minor: u8, description: u8) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, minor, 0, 2, FATAL, description]
}

/// Does `work` in turns: whoever has something to compute waits, first come first served, until a turn
/// is free, and gives it back as soon as it waits for its peer. So whoever stalls holds nobody up, and
/// in a storm at most so many handshakes are ready to run while relays want to.
async fn in_turns<F: Future>(turns: Arc<Semaphore>, work: F) -> F::Output {
    let mut turns = PollSemaphore::new(turns);
    let mut work = pin!(work);
    poll_fn(|cx| {
        let turn = ready!(turns.poll_acquire(cx)).expect("nobody closes the semaphore of a plane");
        let done = work.as_mut().poll(cx);
        drop(turn);
        match done {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
