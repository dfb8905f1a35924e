//! The relay on real sockets: what a record costs the thread that relays, whoever feeds it.
//!
//! Times here are CPU time of that thread, kernel included: on a machine of two cores wall clock would
//! tell more about the two ends than about what lies between them. Linux only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use criterion::Throughput;
use mps_gateway::model::Endpoint;
use mps_gateway::net::connect::connect;
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::net::relay::{Limits, relay};
use mps_gateway::net::server_tls::ServerTls;
use mps_gateway::net::traffic::Traffic;
use mps_gateway::wire::apf::Message;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::guard::proven;
use crate::table::{Run, Table};

mod tls;

use tls::{Alone, Configs};

const LIMITS: Limits = Limits {
    silence: Duration::from_secs(120),
    stall: Duration::from_secs(60),
    grace: Duration::from_secs(2),
};
/// Longest record of TLS.
const RECORD: usize = 16 * 1024;

pub fn measure(table: &mut Table) {
    let configs = Configs::new();
    for (name, tls) in [("plain", None), ("TLS 1.2 to 1.3", Some(&configs))] {
        let echo = Flow { name: "64 bytes and back", said: record(64), records: 2, run: Lane::echoes };
        let bulk = Flow { name: "16 KiB", said: record(RECORD), records: 1, run: Lane::bulk };
        for flow in [echo, bulk] {
            beside(table, name, tls, &flow);
        }
    }
}

/// What passes each time.
struct Flow {
    name: &'static str,
    said: Bytes,
    records: u64,
    run: fn(&mut Lane, u64, &[u8]) -> Duration,
}

fn beside(table: &mut Table, name: &str, tls: Option<&Configs>, flow: &Flow) {
    let mut ours = Lane::new(Relayer::Ours, tls);
    let mut copy = Lane::new(Relayer::Copy, tls);
    let mut ours = |times| (flow.run)(&mut ours, times, &flow.said);
    let mut copy = |times| (flow.run)(&mut copy, times, &flow.said);
    let part = format!("relay, {name}: {}", flow.name);
    let size = Throughput::Bytes(flow.records * flow.said.len() as u64);
    match tls {
        None => table.part(&part, size, &mut ours, &mut [("tokio's copy", &mut copy)]),
        Some(configs) => {
            let mut alone = Alone::new(configs, flow.said.clone());
            let mut alone = |times: u64| alone.records(flow.records * times);
            let floors: &mut [(_, Run<'_>)] =
                &mut [("tokio's copy", &mut copy), ("rustls alone", &mut alone)];
            table.part(&part, size, &mut ours, floors);
        }
    }
}

/// A record of so many bytes that the guard lets pass: channel data.
fn record(bytes: usize) -> Bytes {
    const HEAD: usize = 9;
    let data = vec![7; bytes - HEAD];
    let record = Message::ChannelData { recipient: 1, data: &data }.to_bytes();
    assert_eq!(record.len(), bytes);
    record
}

/// Who stands between the two ends.
#[derive(Clone, Copy)]
enum Relayer {
    /// Ours, guard included.
    Ours,
    /// Tokio's: what one writes when nothing else matters.
    Copy,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A device and an instance, here, and a relay between them on a thread of its own.
struct Lane {
    runtime: Runtime,
    ends: Option<[Box<dyn Stream>; 2]>,
    clock: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    fn new(relayer: Relayer, tls: Option<&Configs>) -> Self {
        let runtime = runtime();
        let (tell, told) = mpsc::channel();
        let (device, instance, thread) = runtime.block_on(async {
            let listener = listen().await;
            let upstream = listener.local_addr().expect("bound");
            let configs = tls.cloned();
            let thread = std::thread::spawn(move || relay_one(relayer, configs.as_ref(), upstream, &tell));
            let (address, _) = told.recv().expect("it listens");
            let device = async { tls::device(dial(address).await, tls).await };
            let instance = async { tls::instance(accept(&listener).await, tls).await };
            let (device, instance) = tokio::join!(device, instance);
            (device, instance, thread)
        });
        let (_, clock) = told.recv().expect("it relays");
        let mut lane = Self { runtime, ends: Some([device, instance]), clock, thread: Some(thread) };
        lane.echoes(1, &record(64)); // whatever is sent once was sent
        lane
    }

    /// Nanoseconds that the relay's thread has spent on a processor.
    fn spent(&self) -> u64 {
        let text = std::fs::read_to_string(&self.clock).expect("Linux keeps the time of threads");
        let (spent, _) = text.split_once(' ').expect("three numbers");
        spent.parse().expect("nanoseconds")
    }

    fn echoes(&mut self, times: u64, said: &[u8]) -> Duration {
        let before = self.spent();
        let [device, instance] = self.ends.as_mut().expect("until it is dropped");
        let mut heard = vec![0; said.len()];
        self.runtime.block_on(async {
            for _ in 0..times {
                pass(device, instance, said, &mut heard).await;
                pass(instance, device, said, &mut heard).await;
            }
        });
        assert_eq!(heard, said);
        Duration::from_nanos(self.spent() - before)
    }

    fn bulk(&mut self, times: u64, said: &[u8]) -> Duration {
        let before = self.spent();
        let [device, instance] = self.ends.as_mut().expect("until it is dropped");
        let mut heard = vec![0; said.len()];
        self.runtime.block_on(async {
            let say = async {
                for _ in 0..times {
                    device.write_all(said).await.expect("a record is sent");
                }
                device.flush().await.expect("all are sent");
            };
            let hear = async {
                for _ in 0..times {
                    instance.read_exact(&mut heard).await.expect("and comes");
                }
            };
            tokio::join!(say, hear);
        });
        assert_eq!(heard, said);
        Duration::from_nanos(self.spent() - before)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let ends = self.ends.take();
        self.runtime.block_on(async { drop(ends) });
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking(), "the relay failed");
    }
}

async fn pass(from: &mut Box<dyn Stream>, to: &mut Box<dyn Stream>, said: &[u8], heard: &mut [u8]) {
    from.write_all(said).await.expect("a record is sent");
    from.flush().await.expect("a record is sent");
    to.read_exact(heard).await.expect("and comes");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port")
}

async fn accept(listener: &TcpListener) -> TcpStream {
    let (tcp, _) = listener.accept().await.expect("somebody calls");
    tcp.set_nodelay(true).expect("a fresh socket");
    tcp
}

async fn dial(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await.expect("somebody listens");
    tcp.set_nodelay(true).expect("a fresh socket");
    tcp
}

/// Relays one connection to `upstream`; tells where it listens, and then that it relays.
fn relay_one(
    relayer: Relayer,
    tls: Option<&Configs>,
    upstream: SocketAddr,
    tell: &mpsc::Sender<(SocketAddr, PathBuf)>,
) {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
    let clock = PathBuf::from("/proc").join(thread).join("schedstat");
    runtime().block_on(async {
        let listener = listen().await;
        let address = listener.local_addr().expect("bound");
        let ready = || tell.send((address, clock.clone())).expect("the bench waits");
        ready();
        let tcp = accept(&listener).await;
        match relayer {
            Relayer::Ours => ours(tcp, upstream, tls, ready).await,
            Relayer::Copy => copy(tcp, upstream, tls, ready).await,
        }
    });
}

async fn ours(mut tcp: TcpStream, upstream: SocketAddr, tls: Option<&Configs>, ready: impl FnOnce()) {
    let (mut follower, traffic) = (proven(), Traffic::begin());
    let (endpoint, limit) = (Endpoint::from(upstream), Duration::from_secs(10));
    let stop = std::future::pending::<()>();
    match tls {
        None => {
            let mut leg = connect(&endpoint, None, limit).await.expect("the instance answers");
            ready();
            relay(&mut tcp, &mut leg, &mut follower, &traffic, &LIMITS, stop).await;
        }
        Some(configs) => {
            let server = ServerTls::new(configs.identity()).expect("a good identity");
            let mut device = Box::new(server.handshake(tcp).await.expect("a device"));
            let client = InstanceTls::new(&Verify::None).expect("nothing to verify");
            let mut leg = connect(&endpoint, Some(&client), limit).await.expect("the instance answers");
            ready();
            relay(&mut device, &mut leg, &mut follower, &traffic, &LIMITS, stop).await;
        }
    }
}

async fn copy(tcp: TcpStream, upstream: SocketAddr, tls: Option<&Configs>, ready: impl FnOnce()) {
    let mut device = tls::as_server(tcp, tls).await;
    let mut leg = tls::as_client(dial(upstream).await, tls).await;
    ready();
    // However it ends: the bench closes both sides when it has what it wants.
    let _ = copy_bidirectional_with_sizes(&mut device, &mut leg, RECORD, RECORD).await;
}
