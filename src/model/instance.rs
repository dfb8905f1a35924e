//! Instances: what they are called and where they listen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// What MPS calls `instance_name`: a pod address, a task name or a host.
///
/// 1 to 255 of `[A-Za-z0-9._:-]`. In a claim's text it is everything after the third colon, so
/// an IPv6 address is a name like any other.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceName(Arc<str>);

/// A text that cannot be an instance's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an instance name: 1 to 255 of letters, digits, '.', '_', ':' and '-'")]
pub struct MalformedInstanceName;

impl InstanceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = MalformedInstanceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedInstanceName)
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host, by name or address, and a TCP port. Written `host:port`, `1.2.3.4:port` or `[v6]:port`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    host: Arc<str>,
    port: u16,
}

/// A text that is not `host:port`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an address: expected host:port, 1.2.3.4:port or [v6]:port")]
pub struct MalformedEndpoint;

impl Endpoint {
    /// The endpoint at `host` (a DNS name or an address, IPv6 without brackets) and `port`.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host: a DNS name or an address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::new(&addr.ip().to_string(), addr.port())
    }
}

impl FromStr for Endpoint {
    type Err = MalformedEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(MalformedEndpoint)?;
        let port = port.parse().map_err(|_| MalformedEndpoint)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => {
                let v6: std::net::Ipv6Addr = v6.parse().map_err(|_| MalformedEndpoint)?;
                return Ok(Self::new(&v6.to_string(), port));
            }
            None => host,
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if host.is_empty() || host.len() > 255 || !host.bytes().all(allowed) {
            return Err(MalformedEndpoint);
        }
        Ok(Self::new(host, port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Instances of one kind. `mps` holds devices, `rps` provisions them.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pool(Arc<str>);

impl Pool {
    /// The pool called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The pool that holds devices.
    pub fn mps() -> Self {
        Self::new("mps")
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_written() {
        for text in ["mps:4433", "10.0.0.11:4433", "[fd00::1]:4433", "stack_mps.1.abc-def:3000"] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
        for text in ["", "mps", ":4433", "mps:", "mps:65536", "fd00::1:4433", "[mps]:1", "m ps:1"] {
            assert_eq!(text.parse::<Endpoint>(), Err(MalformedEndpoint), "{text:?}");
        }
    }

    #[test]
    fn a_name_has_a_length_and_an_alphabet() {
        for text in ["a", "10.0.0.11", "fd00::1", "stack_mps.1.abc", &"n".repeat(255)] {
            assert_eq!(text.parse::<InstanceName>().expect(text).as_str(), text);
        }
        for text in ["", "a b", "a/b", "é", &"n".repeat(256)] {
            assert_eq!(text.parse::<InstanceName>(), Err(MalformedInstanceName), "{text:?}");
        }
    }
}
