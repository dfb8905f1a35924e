//! Legacy TLS, spliced: a hello that cannot be served here reaches an instance untouched.

mod bounds;
mod bytes;
mod openssl;
mod told;

use std::time::Duration;

use mps_gateway::device::LegacyTls;
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// Hellos made with OpenSSL that rustls cannot serve, and one of SSL 2.0's style made by hand.
const LEGACY: [(&str, &str); 5] = [
    (
        "TLS 1.0, RSA key exchange",
        "160301003f0100003b030122e56d2cfdc31d076e4388b4af9b8dfddf661dcd3ff3d454720d4d73147ab8d500\
         0006002f003500ff0100000c002300000016000000170000",
    ),
    (
        "TLS 1.1, RSA and ECDHE",
        "1603010057010000530302a8dfb6879fbea7a1b3d317c0a00a18048a213328793a9ad0be383db4c52613d300\
         0006002fc01300ff01000024000b000403000102000a000c000a001d0017001e00190018002300000016000000170000",
    ),
    (
        "TLS 1.2, RSA key exchange",
        "1603010075010000710303c642cd4d53f1e393382896219a3c2424dd12bb34854700db7c32ca09d7d4996e000008\
         002f0035009c00ff01000040002300000016000000170000000d0030002e040305030603080708080809080a080b\
         080408050806040105010601030302030301020103020202040205020602",
    ),
    (
        "TLS 1.2, ECDHE with CBC",
        "160301008b010000870303c5085b54b9bd69096cab0064897639545749077355910b746944b1471fbc6ebd000006\
         c013002f00ff01000058000b000403000102000a000c000a001d0017001e00190018002300000016000000170000\
         000d0030002e040305030603080708080809080a080b080408050806040105010601030302030301020103020202\
         040205020602",
    ),
    ("SSL 2.0's style", "801f010301000600000010000035000004112233445566778899aabbccddeeff00"),
];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

/// A hello of TLS 1.0.
fn hello() -> Vec<u8> {
    unhex(LEGACY[0].1)
}

/// An instance that hears bytes as they come.
struct Bare {
    name: String,
    listener: TcpListener,
}

impl Bare {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        Self { name: name.to_owned(), listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    fn instance(&self) -> Instance {
        Instance::mps(self.name.parse().expect("a name"), self.address().into(), self.address().into())
    }

    async fn accept(&self) -> TcpStream {
        within(self.listener.accept()).await.expect("the gateway connects").0
    }

    /// The next connection, which says just `expected`.
    async fn hears(&self, expected: &[u8]) -> TcpStream {
        let mut leg = self.accept().await;
        assert_eq!(heard(&mut leg, expected.len()).await, expected);
        leg
    }
}

/// The next `len` bytes.
async fn heard(tcp: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    within(tcp.read_exact(&mut bytes)).await.expect("so many bytes");
    bytes
}

/// Everything until the other side closes.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(tcp.read_to_end(&mut bytes)).await.expect("it closes, and does not reset");
    bytes
}

fn paced(list: Vec<Instance>, connects_per_second: u32) -> instances::Settings {
    instances::Settings { list, avoid: LIMIT, connects_in_flight: 4, connects_per_second }
}

/// A gateway that splices, before nobody yet, with settings as changed.
async fn nobody(change: impl FnOnce(&mut device::Settings)) -> Gateway {
    let tls = InstanceTls::new(&Verify::None).expect("a client");
    Gateway::with(vec![], tls, |settings| {
        settings.legacy_tls = LegacyTls::Splice;
        change(settings);
    })
    .await
}

/// A gateway that splices, before these instances.
async fn before(bare: &[&Bare], change: impl FnOnce(&mut device::Settings)) -> Gateway {
    let gateway = nobody(change).await;
    gateway.instances.replace(paced(bare.iter().map(|bare| bare.instance()).collect(), 1_000));
    gateway
}

impl Gateway {
    /// A legacy device from another address of this host.
    async fn legacy_from(&self, last: u8) -> TcpStream {
        let mut tcp = self.tcp_from(last).await;
        tcp.write_all(&hello()).await.expect("said");
        tcp
    }

    /// How often spliced sessions ended for this reason, by this party's doing.
    fn splice_ended(&self, reason: &str, blame: &str) -> f64 {
        self.metric(&format!("splice_ends_total{{reason=\"{reason}\",blame=\"{blame}\"}}"))
    }

    /// Waits until nothing of any session is left.
    async fn all_spliced_gone(&self) {
        self.all_gone().await;
        assert_eq!(self.metric("spliced_sessions"), 0.0);
        assert!(self.sessions.spliced().is_empty());
    }
}
