//! PROXY protocol v1 and v2: who is behind the load balancer.
//!
//! Only what a TCP balancer sends is taken: TCP over IPv4 or IPv6, v2 LOCAL, and the two forms of
//! "no idea who" (v1 UNKNOWN, v2 with an unspecified family). Datagrams and UNIX sockets are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A PROXY header: the address of who connected to the load balancer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyHeader {
    /// v2 LOCAL (or v1 UNKNOWN): the balancer itself speaks, such as a health check.
    Local,
    /// Somebody behind the balancer.
    Proxied {
        /// Who connected.
        source: SocketAddr,
        /// What they connected to.
        destination: SocketAddr,
    },
}

/// The bytes are no PROXY header, or one we do not take (not TCP, too long).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a PROXY protocol header")]
pub struct NotProxy;

/// Longest header taken, in bytes: v2 with room for TLVs.
pub const MAX_LEN: usize = 2048;

/// Longest v1 line, in bytes, line end included.
const V1_MAX_LEN: usize = 107;

const V1_WORD: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
const V2_UNSPECIFIED: u8 = 0x00;
const V2_TCP4: u8 = 0x11;
const V2_TCP6: u8 = 0x21;

/// Reads a header at the head of `buf`: the header and its length in bytes.
/// `Ok(None)` means "so far so good, need more bytes". No header is longer than [`MAX_LEN`].
pub fn parse(buf: &[u8]) -> Result<Option<(ProxyHeader, usize)>, NotProxy> {
    if buf.starts_with(V2_SIGNATURE) {
        v2(buf)
    } else if buf.starts_with(V1_WORD) {
        v1(buf)
    } else if V2_SIGNATURE.starts_with(buf) || V1_WORD.starts_with(buf) {
        Ok(None)
    } else {
        Err(NotProxy)
    }
}

fn v1(buf: &[u8]) -> Result<Option<(ProxyHeader, usize)>, NotProxy> {
    let within = &buf[..buf.len().min(V1_MAX_LEN)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() < V1_MAX_LEN { Ok(None) } else { Err(NotProxy) };
    };
    let line = std::str::from_utf8(&within[V1_WORD.len()..end]).map_err(|_| NotProxy)?;
    let mut words = line.split(' ');
    let header = match words.next() {
        Some("UNKNOWN") => return Ok(Some((ProxyHeader::Local, end + 2))), // the rest is to be ignored
        Some("TCP4") => v1_addresses::<Ipv4Addr>(&mut words)?,
        Some("TCP6") => v1_addresses::<Ipv6Addr>(&mut words)?,
        _ => return Err(NotProxy),
    };
    if words.next().is_some() { Err(NotProxy) } else { Ok(Some((header, end + 2))) }
}

fn v1_addresses<'a, A>(words: &mut impl Iterator<Item = &'a str>) -> Result<ProxyHeader, NotProxy>
where
    A: FromStr + Into<IpAddr>,
{
    let mut word = || words.next().ok_or(NotProxy);
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| NotProxy);
    let (source, destination) = (address(word()?)?, address(word()?)?);
    let (source_port, destination_port) = (v1_port(word()?)?, v1_port(word()?)?);
    Ok(ProxyHeader::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Decimal, without sign and leading zeros.
fn v1_port(text: &str) -> Result<u16, NotProxy> {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    if canonical { text.parse().map_err(|_| NotProxy) } else { Err(NotProxy) }
}

fn v2(buf: &[u8]) -> Result<Option<(ProxyHeader, usize)>, NotProxy> {
    let Some(head) = buf.first_chunk::<V2_HEAD>() else {
        let command = buf.get(12).copied().unwrap_or(V2_PROXY);
        return if matches!(command, V2_LOCAL | V2_PROXY) { Ok(None) } else { Err(NotProxy) };
    };
    let (command, family) = (head[12], head[13]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let total = V2_HEAD + length;
    let least = match (command, family) {
        (V2_LOCAL, _) | (V2_PROXY, V2_UNSPECIFIED) => 0,
        (V2_PROXY, V2_TCP4) => 12,
        (V2_PROXY, V2_TCP6) => 36,
        _ => return Err(NotProxy),
    };
    if total > MAX_LEN || length < least {
        return Err(NotProxy);
    }
    let Some(body) = buf.get(V2_HEAD..total) else { return Ok(None) };
    let header = match least {
        12 => v2_addresses::<4>(body),
        36 => v2_addresses::<16>(body),
        _ => Some(ProxyHeader::Local),
    };
    header.map(|header| Some((header, total))).ok_or(NotProxy)
}

/// Two addresses of `N` bytes, then two ports; TLVs may follow.
fn v2_addresses<const N: usize>(body: &[u8]) -> Option<ProxyHeader>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let ports = rest.first_chunk::<4>()?;
    Some(ProxyHeader::Proxied {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([ports[0], ports[1]])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([ports[2], ports[3]])),
    })
}

impl ProxyHeader {
    /// This header as a v1 line. Addresses of two families are both written as IPv6.
    pub fn to_v1(self) -> Vec<u8> {
        let Self::Proxied { source, destination } = self else { return b"PROXY UNKNOWN\r\n".to_vec() };
        let (from, to, word) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (IpAddr::V4(from), IpAddr::V4(to), "TCP4"),
            (from, to) => (IpAddr::V6(v6(from)), IpAddr::V6(v6(to)), "TCP6"),
        };
        format!("PROXY {word} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
    }

    /// This header in v2, with `tlvs` behind the addresses. `None`: longer than [`MAX_LEN`].
    /// Addresses of two families are both written as IPv6.
    pub fn to_v2(self, tlvs: &[u8]) -> Option<Vec<u8>> {
        let (command, family, mut body) = match self {
            Self::Local => (V2_LOCAL, V2_UNSPECIFIED, Vec::new()),
            Self::Proxied { source, destination } => {
                let (family, mut body) = match (source.ip(), destination.ip()) {
                    (IpAddr::V4(from), IpAddr::V4(to)) => (V2_TCP4, [from.octets(), to.octets()].concat()),
                    (from, to) => (V2_TCP6, [v6(from).octets(), v6(to).octets()].concat()),
                };
                body.extend(source.port().to_be_bytes());
                body.extend(destination.port().to_be_bytes());
                (V2_PROXY, family, body)
            }
        };
        body.extend(tlvs);
        let length = u16::try_from(body.len()).ok().filter(|n| usize::from(*n) + V2_HEAD <= MAX_LEN)?;
        let mut out = V2_SIGNATURE.to_vec();
        out.extend([command, family]);
        out.extend(length.to_be_bytes());
        out.extend(body);
        Some(out)
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxied(source: &str, destination: &str) -> ProxyHeader {
        ProxyHeader::Proxied {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        }
    }

    fn v2_bytes(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("a short body").to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn lines_of_version_1_are_read() {
        for (line, header) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.2 56324 4433\r\n",
                proxied("192.0.2.1:56324", "198.51.100.2:4433"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", proxied("[2001:db8::1]:0", "[::1]:65535")),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Local),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ProxyHeader::Local),
        ] {
            let behind = [line.as_bytes(), b"\x16\x03\x01"].concat();
            assert_eq!(parse(&behind), Ok(Some((header, line.len()))), "{line:?}");
        }
    }

    #[test]
    fn lines_that_only_look_like_version_1_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 4433 1\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 56324 4433\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY \r\n",
            "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(NotProxy), "{line:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_at_its_bound_and_not_before() {
        let line = [V1_WORD, &[b'x'; 200]].concat();
        assert_eq!(parse(&line[..V1_MAX_LEN - 1]), Ok(None));
        assert_eq!(parse(&line[..V1_MAX_LEN]), Err(NotProxy));
        let longest = [b"PROXY UNKNOWN".as_slice(), &[b'x'; V1_MAX_LEN - 15], b"\r\n"].concat();
        assert_eq!(parse(&longest), Err(NotProxy), "UNKNOWNxx is no word");
        let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; V1_MAX_LEN - 16], b"\r\n"].concat();
        assert_eq!(parse(&longest), Ok(Some((ProxyHeader::Local, V1_MAX_LEN))));
    }

    #[test]
    fn version_2_skips_tlvs_and_leaves_the_rest() {
        let header = proxied("192.0.2.1:56324", "198.51.100.2:4433");
        let bytes = header.to_v2(&[0x04, 0, 2, 9, 9]).expect("short");
        assert_eq!(bytes[12..16], [0x21, 0x11, 0, 17]);
        let behind = [bytes.as_slice(), b"rest"].concat();
        assert_eq!(parse(&behind), Ok(Some((header, bytes.len()))));
    }

    #[test]
    fn version_2_says_local_where_the_specification_does() {
        for (command, family, body) in [
            (V2_LOCAL, V2_UNSPECIFIED, [].as_slice()),
            (V2_LOCAL, V2_TCP4, &[1; 12]),
            (V2_LOCAL, 0x12, &[1; 3]),
            (V2_PROXY, V2_UNSPECIFIED, &[7; 5]),
        ] {
            let bytes = v2_bytes(command, family, body);
            assert_eq!(parse(&bytes), Ok(Some((ProxyHeader::Local, bytes.len()))), "{command:x} {family:x}");
        }
    }

    #[test]
    fn version_2_refuses_what_is_not_tcp_too_short_or_too_long() {
        for (command, family, length) in [
            (V2_PROXY, 0x12, 12),
            (V2_PROXY, 0x22, 36),
            (V2_PROXY, 0x31, 216),
            (V2_PROXY, 0x10, 12),
            (V2_PROXY, V2_TCP4, 11),
            (V2_PROXY, V2_TCP6, 35),
            (0x22, V2_TCP4, 12),
            (0x11, V2_TCP4, 12),
            (V2_PROXY, V2_TCP4, MAX_LEN - V2_HEAD + 1),
        ] {
            let bytes = v2_bytes(command, family, &vec![0; length]);
            assert_eq!(parse(&bytes), Err(NotProxy), "{command:x} {family:x} {length}");
        }
        let longest = v2_bytes(V2_PROXY, V2_TCP4, &[0; MAX_LEN - V2_HEAD]);
        assert!(matches!(parse(&longest), Ok(Some((_, MAX_LEN)))));
    }

    fn headers() -> impl Strategy<Value = ProxyHeader> {
        let addresses = prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        ];
        prop_oneof![
            Just(ProxyHeader::Local),
            (addresses, any::<(u16, u16)>()).prop_map(|((from, to), (a, b))| ProxyHeader::Proxied {
                source: SocketAddr::new(from, a),
                destination: SocketAddr::new(to, b),
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back_and_every_prefix_asks_for_more(
            header in headers(), tlvs in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            for bytes in [header.to_v1(), header.to_v2(&tlvs).expect("short")] {
                prop_assert_eq!(parse(&bytes), Ok(Some((header, bytes.len()))));
                for cut in 0..bytes.len() {
                    prop_assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {}", cut);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_behind_a_good_beginning_never_panic(
            beginning in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let beginning = [b"".as_slice(), V1_WORD, V2_SIGNATURE][beginning];
            if let Ok(Some((_, len))) = parse(&[beginning, &bytes].concat()) {
                prop_assert!(len <= MAX_LEN && len <= beginning.len() + bytes.len());
            }
        }
    }
}
