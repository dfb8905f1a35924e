//! The channels of one CIRA connection, seen from the MPS: windows, credit, who reads what.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use crate::wire::apf::{ChannelOpen, Message};

/// Pieces that wait for the reader of a channel. One that does not read loses its channel.
const UNREAD: usize = 1024;

/// Bytes that wait for the device's window. Whoever sends more loses the channel.
const UNSENT: usize = 1 << 20;

/// Numbers of MPS's channels begin here.
const FIRST: u32 = 4;

/// What others want of a connection.
pub(super) enum Command {
    /// Opens a channel to a port of the device; the sender is dropped if the device refuses.
    Open { port: u32, reply: oneshot::Sender<Channel> },
    /// Sends to the device.
    Send { channel: u32, data: Bytes },
    /// Closes a channel.
    Close { channel: u32 },
}

/// A channel to a port of a device. Dropping it closes it.
pub struct Channel {
    number: u32,
    commands: mpsc::Sender<Command>,
    incoming: mpsc::Receiver<Bytes>,
}

impl Channel {
    /// Sends `data` as the device's window allows; `false`: the connection is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        self.commands.send(Command::Send { channel: self.number, data }).await.is_ok()
    }

    /// The next piece the device sent; `None`: the channel is closed. Safe to cancel.
    pub async fn receive(&mut self) -> Option<Bytes> {
        self.incoming.recv().await
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // A full queue: the connection is stuck, and its end closes the channel anyway.
        let _ = self.commands.try_send(Command::Close { channel: self.number });
    }
}

/// Asks the connection behind `commands` for a channel to `port`; `None`: refused, or it is gone.
pub(super) async fn open(commands: &mpsc::Sender<Command>, port: u32) -> Option<Channel> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command::Open { port, reply }).await.ok()?;
    answer.await.ok()
}

struct Opened {
    /// The device's number, once it granted the channel.
    theirs: Option<u32>,
    /// Bytes the device still takes.
    credit: usize,
    unsent: BytesMut,
    /// Bytes received since the last credit was returned.
    taken: u32,
    reader: mpsc::Sender<Bytes>,
    asked: Option<(oneshot::Sender<Channel>, Channel)>,
}

/// All channels of a connection. Every method may append messages to the device to `out`.
pub(super) struct Channels {
    window: u32,
    next: u32,
    open: BTreeMap<u32, Opened>,
}

impl Channels {
    pub const fn new(window: u32) -> Self {
        Self { window, next: FIRST, open: BTreeMap::new() }
    }

    pub fn obey(&mut self, command: Command, commands: &mpsc::Sender<Command>, out: &mut Vec<Bytes>) {
        match command {
            Command::Open { port, reply } => {
                let number = self.next;
                self.next += 1;
                let (reader, incoming) = mpsc::channel(UNREAD);
                let channel = Channel { number, commands: commands.clone(), incoming };
                let opened = Opened {
                    theirs: None,
                    credit: 0,
                    unsent: BytesMut::new(),
                    taken: 0,
                    reader,
                    asked: Some((reply, channel)),
                };
                self.open.insert(number, opened);
                out.push(self.ask(number, port));
            }
            Command::Send { channel, data } => {
                let Some(opened) = self.open.get_mut(&channel) else { return };
                opened.unsent.extend_from_slice(&data);
                opened.send(out);
                if opened.unsent.len() > UNSENT {
                    self.close(channel, out);
                }
            }
            Command::Close { channel } => self.close(channel, out),
        }
    }

    fn ask(&self, number: u32, port: u32) -> Bytes {
        let open = ChannelOpen {
            channel_type: b"forwarded-tcpip",
            sender: number,
            window: self.window,
            address: b"",
            port,
            origin: b"1.2.3.4",
            origin_port: 1024 + number - FIRST,
        };
        Message::ChannelOpen(open).to_bytes()
    }

    pub fn granted(&mut self, number: u32, theirs: u32, window: u32, out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        opened.theirs = Some(theirs);
        opened.credit = window as usize;
        if let Some((reply, channel)) = opened.asked.take() {
            // Whoever asked may be gone: the channel that comes back closes itself.
            drop(reply.send(channel));
        }
        opened.send(out);
    }

    pub fn refused(&mut self, number: u32) {
        self.open.remove(&number);
    }

    pub fn credited(&mut self, number: u32, bytes: u32, out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        opened.credit = opened.credit.saturating_add(bytes as usize);
        opened.send(out);
    }

    /// Data of the device. Credit is returned when more than half of the window is used, as MPS does.
    pub fn received(&mut self, number: u32, data: &[u8], out: &mut Vec<Bytes>) {
        let Some(opened) = self.open.get_mut(&number) else { return };
        if opened.reader.try_send(Bytes::copy_from_slice(data)).is_err() {
            return self.close(number, out);
        }
        opened.taken = opened.taken.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
        let Some(recipient) = opened.theirs.filter(|_| opened.taken > self.window / 2) else { return };
        out.push(Message::ChannelWindowAdjust { recipient, bytes: opened.taken }.to_bytes());
        opened.taken = 0;
    }

    /// The device closed a channel: answered by the same, once.
    pub fn closed(&mut self, number: u32, out: &mut Vec<Bytes>) {
        self.close(number, out);
    }

    fn close(&mut self, number: u32, out: &mut Vec<Bytes>) {
        let Some(recipient) = self.open.remove(&number).and_then(|opened| opened.theirs) else { return };
        out.push(Message::ChannelClose { recipient }.to_bytes());
    }
}

impl Opened {
    fn send(&mut self, out: &mut Vec<Bytes>) {
        let Some(recipient) = self.theirs else { return };
        while self.credit > 0 && !self.unsent.is_empty() {
            let data = self.unsent.split_to(self.credit.min(self.unsent.len()).min(8192));
            self.credit -= data.len();
            out.push(Message::ChannelData { recipient, data: &data }.to_bytes());
        }
    }
}
