//! What a device offers inside its tunnel: WSMAN with digest on 16992, an echo on 16994.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};

use crate::sim::digest::{Challenge, Login};
use crate::sim::mps::Account;
use crate::wire::apf::{ChannelOpen, Message};

/// Channels at once. Firmware's own limit is nowhere documented.
const CHANNELS: usize = 16;

/// Longest request taken, and longest echo kept, in bytes.
const LONGEST: usize = 64 * 1024;

const WSMAN: u32 = 16992;
const REDIRECTION: u32 = 16994;

enum Service {
    Echo,
    /// The request so far.
    Wsman(BytesMut),
}

struct Opened {
    theirs: u32,
    /// Bytes the server still takes.
    credit: usize,
    unsent: BytesMut,
    service: Service,
    /// To be closed once all is sent.
    closing: bool,
}

/// The channels of one session. Every method may append messages to the server to `out`.
pub(super) struct Services {
    window: u32,
    account: Arc<Account>,
    /// What CIM calls PowerState: 2 is on.
    power: Arc<AtomicU32>,
    challenge: Challenge,
    next: u32,
    open: BTreeMap<u32, Opened>,
}

impl Services {
    pub fn new(window: u32, account: Arc<Account>, power: Arc<AtomicU32>) -> Self {
        let random = || format!("{:032X}", rand::random::<u128>());
        let challenge = Challenge { realm: format!("Digest:{}", random()), nonce: random() };
        Self { window, account, power, challenge, next: 1, open: BTreeMap::new() }
    }

    /// The server wants a channel; `false`: refused.
    pub fn open(&mut self, open: &ChannelOpen<'_>, offered: &[u32], out: &mut Vec<Bytes>) -> bool {
        let service = match open.port {
            WSMAN => Some(Service::Wsman(BytesMut::new())),
            REDIRECTION => Some(Service::Echo),
            _ => None,
        };
        let recipient = open.sender;
        let (connect_failed, shortage) = (2, 4);
        let Some(service) = service.filter(|_| offered.contains(&open.port)) else {
            out.push(Message::ChannelOpenFailure { recipient, reason: connect_failed }.to_bytes());
            return false;
        };
        if self.open.len() >= CHANNELS {
            out.push(Message::ChannelOpenFailure { recipient, reason: shortage }.to_bytes());
            return false;
        }
        let sender = self.next;
        self.next += 1;
        let (theirs, credit) = (open.sender, open.window as usize);
        self.open.insert(sender, Opened { theirs, credit, unsent: BytesMut::new(), service, closing: false });
        out.push(Message::ChannelOpenConfirmation { recipient, sender, window: self.window }.to_bytes());
        true
    }

    pub fn credited(&mut self, number: u32, bytes: u32, out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        opened.credit = opened.credit.saturating_add(bytes as usize);
        self.send(number, out);
    }

    /// Data of the server; its window is given back at once, as firmware does.
    pub fn received(&mut self, number: u32, data: &[u8], out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        out.push(Message::ChannelWindowAdjust { recipient: opened.theirs, bytes }.to_bytes());
        let kept = match &mut opened.service {
            Service::Echo => &mut opened.unsent,
            Service::Wsman(request) => request,
        };
        kept.extend_from_slice(data);
        opened.closing |= kept.len() > LONGEST;
        if let Service::Wsman(request) = &mut opened.service
            && let Some(length) = whole_request(request)
        {
            let request = request.split_to(length);
            let power = self.power.load(Ordering::Relaxed);
            let answer = answer(&String::from_utf8_lossy(&request), &self.challenge, &self.account, power);
            opened.unsent.extend_from_slice(answer.as_bytes());
            opened.closing = true; // "Connection: close", as firmware has it
        }
        self.send(number, out);
    }

    /// The server closed a channel: answered by the same, unless we closed it first.
    pub fn closed(&mut self, number: u32, out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.remove(&number) else { return };
        out.push(Message::ChannelClose { recipient: opened.theirs }.to_bytes());
    }

    fn send(&mut self, number: u32, out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        let recipient = opened.theirs;
        while opened.credit > 0 && !opened.unsent.is_empty() {
            let data = opened.unsent.split_to(opened.credit.min(opened.unsent.len()).min(4096));
            opened.credit -= data.len();
            out.push(Message::ChannelData { recipient, data: &data }.to_bytes());
        }
        if opened.closing && opened.unsent.is_empty() {
            self.open.remove(&number);
            out.push(Message::ChannelClose { recipient }.to_bytes());
        }
    }
}

/// Length of the request at the head of `buf`, once all of it is there.
fn whole_request(buf: &[u8]) -> Option<usize> {
    let head = buf.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buf[..head]).ok()?;
    let body = header(text, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    let length = head.checked_add(body)?;
    (buf.len() >= length).then_some(length)
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = request.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// An answer as firmware writes it: 401 with a length, 200 in chunks whose sizes have leading zeros.
fn answer(request: &str, challenge: &Challenge, account: &Account, power: u32) -> String {
    const AGENT: &str = "Server: Intel(R) Active Management Technology 16.1.25";
    let login = Login { user: &account.amt_user, password: &account.amt_password };
    let method = request.split(' ').next().unwrap_or_default();
    let answered = header(request, "Authorization")
        .is_some_and(|authorization| challenge.is_answered(authorization, &login, method));
    if !answered {
        let page = "<!DOCTYPE html><html><head><title>401 Unauthorized</title></head><body></body></html>";
        return format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {}\r\nContent-Type: text/html\r\n{AGENT}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
            challenge.header(),
            page.len()
        );
    }
    let relates_to =
        request.split("MessageID>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a:Envelope xmlns:a=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:b=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" xmlns:g=\"http://schemas.dmtf.org/wbem/wscim/1/\
         cim-schema/2/CIM_AssociatedPowerManagementService\"><a:Header><b:RelatesTo>{relates_to}</b:RelatesTo>\
         </a:Header><a:Body><g:CIM_AssociatedPowerManagementService><g:PowerState>{power}</g:PowerState>\
         </g:CIM_AssociatedPowerManagementService></a:Body></a:Envelope>"
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml; charset=UTF-8\r\n{AGENT}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:04X}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}
