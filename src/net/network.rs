//! IP networks: who may speak for others.

use std::net::IpAddr;

/// An IP network, `10.0.0.0/8` or a single address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address is the same however it is written.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                same(u32::from(ours).into(), u32::from(theirs).into(), 32 - self.prefix.min(32))
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                same(ours.into(), theirs.into(), 128 - self.prefix.min(128))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether two addresses are the same but for their last `free` bits.
fn same(ours: u128, theirs: u128, free: u8) -> bool {
    (ours ^ theirs).checked_shr(free.into()).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_what_shares_its_leading_bits() {
        for (network, prefix, inside, outside) in [
            ("10.0.0.0", 8, "10.255.0.1", Some("11.0.0.0")),
            ("192.168.4.0", 22, "192.168.7.255", Some("192.168.8.0")),
            ("10.1.2.3", 32, "::ffff:10.1.2.3", Some("10.1.2.2")),
            ("0.0.0.0", 0, "203.0.113.1", Some("fd00::1")),
            ("fd00::", 8, "fd12:3456::1", Some("fe00::1")),
            ("fd00::1", 128, "fd00::1", Some("fd00::2")),
            ("::", 0, "2001:db8::1", None),
        ] {
            let network = Network { address: network.parse().expect(network), prefix };
            assert!(network.contains(inside.parse().expect(inside)), "{network:?} {inside}");
            let outside = outside.map(|o| o.parse().expect(o));
            assert!(outside.is_none_or(|outside| !network.contains(outside)), "{network:?} {outside:?}");
        }
    }
}
