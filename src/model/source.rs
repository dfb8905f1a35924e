//! Where somebody calls from, as coarse as one caller can be told from another.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A source of connections: an IPv4 address, or the /64 of an IPv6 address, of which one host has as
/// many as it likes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Source([u8; 16]);

impl Source {
    /// The source that `address` belongs to. An IPv4 address is the same however it is written.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => (u128::from(v6) & !u128::from(u64::MAX)).to_be_bytes(),
        })
    }

    /// 16 bytes that tell it from others: what placement hashes. An IPv4 address is mapped (RFC 4291).
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn v4(&self) -> Option<Ipv4Addr> {
        Ipv6Addr::from(self.0).to_ipv4_mapped()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v4() {
            Some(v4) => write!(f, "{v4}"),
            None => write!(f, "{}/64", Ipv6Addr::from(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_and_an_ipv6_network_are_one_source_each() {
        let source = |text: &str| Source::of(text.parse().expect(text));
        for (one, other, same, shown) in [
            ("203.0.113.9", "::ffff:203.0.113.9", true, "203.0.113.9"),
            ("203.0.113.9", "203.0.113.8", false, "203.0.113.9"),
            ("2001:db8:1:2::3", "2001:db8:1:2:ffff::4", true, "2001:db8:1:2::/64"),
            ("2001:db8:1:2::3", "2001:db8:1:3::3", false, "2001:db8:1:2::/64"),
        ] {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
            assert_eq!(source(one).to_string(), shown);
        }
    }
}
