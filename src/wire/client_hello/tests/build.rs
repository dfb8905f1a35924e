//! Builds hellos, good and bad ones.

use std::collections::HashMap;
use std::sync::LazyLock;

use rustls::crypto::aws_lc_rs;

/// A hello in the making.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) client_version: u16,
    pub(super) session_id: Vec<u8>,
    pub(super) suites: Vec<u16>,
    pub(super) compressions: Vec<u8>,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

/// Public keys that rustls takes, by group: made once, since nobody checks that they are fresh.
static KEYS: LazyLock<HashMap<u16, Vec<u8>>> = LazyLock::new(|| {
    let started = aws_lc_rs::DEFAULT_KX_GROUPS.iter().map(|group| {
        let exchange = group.start().expect("a key exchange starts");
        (u16::from(group.name()), exchange.pub_key().to_vec())
    });
    started.collect()
});

/// A key for `group` that rustls takes, or bytes of no meaning for a group it does not know.
pub(super) fn key(group: u16) -> Vec<u8> {
    KEYS.get(&group).cloned().unwrap_or_else(|| vec![7; 32])
}

pub(super) fn list8(items: &[u8]) -> Vec<u8> {
    [&[u8::try_from(items.len()).expect("a short list")], items].concat()
}

pub(super) fn list16(items: &[u8]) -> Vec<u8> {
    [&u16::try_from(items.len()).expect("a short list").to_be_bytes(), items].concat()
}

pub(super) fn bytes(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

impl Parts {
    /// TLS 1.2 with nothing but these suites.
    pub(super) fn tls12(suites: &[u16]) -> Self {
        Self {
            client_version: 0x0303,
            session_id: Vec::new(),
            suites: suites.to_vec(),
            compressions: vec![0],
            extensions: Vec::new(),
        }
    }

    pub(super) fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.push((kind, body));
        self
    }

    pub(super) fn groups(self, groups: &[u16]) -> Self {
        self.with(10, list16(&bytes(groups)))
    }

    pub(super) fn schemes(self, schemes: &[u16]) -> Self {
        self.with(13, list16(&bytes(schemes)))
    }

    pub(super) fn versions(self, versions: &[u16]) -> Self {
        self.with(43, list8(&bytes(versions)))
    }

    pub(super) fn shares(self, groups: &[u16]) -> Self {
        let shares: Vec<_> =
            groups.iter().flat_map(|group| [bytes(&[*group]), list16(&key(*group))].concat()).collect();
        self.with(51, list16(&shares))
    }

    /// The second hello, after a HelloRetryRequest for `group`.
    pub(super) fn retried(mut self, group: u16) -> Self {
        const EARLY_DATA: u16 = 42;
        self.extensions.retain(|(kind, _)| *kind != EARLY_DATA);
        for (kind, body) in &mut self.extensions {
            if *kind == 51 {
                *body = list16(&[bytes(&[group]), list16(&key(group))].concat());
            }
        }
        self
    }

    /// The handshake message.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut body = self.client_version.to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.extend(list8(&self.session_id));
        body.extend(list16(&bytes(&self.suites)));
        body.extend(list8(&self.compressions));
        if !self.extensions.is_empty() {
            let extensions: Vec<_> = self
                .extensions
                .iter()
                .flat_map(|(kind, body)| [bytes(&[*kind]), list16(body)].concat())
                .collect();
            body.extend(list16(&extensions));
        }
        let length = u32::try_from(body.len()).expect("a short hello").to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// The hello in records of at most `most` bytes.
    pub(super) fn records(&self, most: usize) -> Vec<u8> {
        records(&self.message(), most)
    }
}

pub(super) fn records(message: &[u8], most: usize) -> Vec<u8> {
    message.chunks(most.max(1)).flat_map(|part| [vec![0x16, 3, 1], list16(part)].concat()).collect()
}
