//! The body of a ClientHello: what it offers, read as strictly as rustls reads it.
//!
//! `None` everywhere means that rustls would answer with a decode error.

use rustls_pki_types::ServerName;

/// What a hello offers. Lists of 16-bit numbers are kept as they are: see [`numbers`].
#[derive(Debug, Default)]
pub(super) struct Offer<'a> {
    pub(super) client_version: u16,
    pub(super) suites: &'a [u8],
    pub(super) compressions: &'a [u8],
    pub(super) versions: Option<&'a [u8]>,
    pub(super) groups: Option<&'a [u8]>,
    pub(super) schemes: Option<&'a [u8]>,
    pub(super) points: Option<&'a [u8]>,
    pub(super) shares: Option<Vec<Share>>,
    name: Name,
    client_certificates: &'a [u8],
    server_certificates: &'a [u8],
    certificate_compressions: &'a [u8],
    psk: Option<Psk>,
    psk_modes: bool,
}

/// A key share of TLS 1.3.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) group: u16,
    /// In bytes.
    pub(super) length: usize,
}

/// How many sessions a hello wants to resume, and how many proofs it brings.
#[derive(Clone, Copy, Debug)]
struct Psk {
    identities: usize,
    binders: usize,
}

/// The server name extension.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Name {
    /// Not there, a DNS name or an address (which rustls ignores).
    #[default]
    Harmless,
    /// Well-formed, but no host name in it: rustls refuses it.
    Invalid,
}

/// The numbers of a list of 16-bit numbers.
pub(super) fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

const RAW_PUBLIC_KEY: u8 = 2;
const X509: u8 = 0;

impl<'a> Offer<'a> {
    /// Reads the body of a ClientHello.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader(body);
        let mut offer = Self { client_version: r.u16()?, ..Self::default() };
        r.take(32)?; // random
        if r.list8()?.len() > 32 {
            return None; // session id
        }
        offer.suites = even(filled(r.list16()?)?)?;
        offer.compressions = filled(r.list8()?)?;
        if r.0.is_empty() {
            return Some(offer);
        }
        let mut extensions = Reader(r.list16()?);
        if !r.0.is_empty() {
            return None;
        }
        offer.read_extensions(&mut extensions)?;
        Some(offer)
    }

    fn read_extensions(&mut self, r: &mut Reader<'a>) -> Option<()> {
        let mut seen = Vec::new();
        while !r.0.is_empty() {
            let kind = r.u16()?;
            let mut body = Reader(r.list16()?);
            self.extension(kind, &mut body)?;
            let last = r.0.is_empty();
            if !body.0.is_empty() || (kind == PRE_SHARED_KEY && !last) {
                return None;
            }
            seen.push(kind);
        }
        seen.sort_unstable();
        let unique = seen.windows(2).all(|pair| pair[0] != pair[1]);
        unique.then_some(())
    }

    /// Reads one extension of all that rustls reads; any other is skipped.
    fn extension(&mut self, kind: u16, r: &mut Reader<'a>) -> Option<()> {
        match kind {
            SERVER_NAME => self.name = server_name(r)?,
            STATUS_REQUEST => status_request(r)?,
            SUPPORTED_GROUPS => self.groups = Some(even(filled(r.list16()?)?)?),
            EC_POINT_FORMATS => self.points = Some(filled(r.list8()?)?),
            SIGNATURE_ALGORITHMS => self.schemes = Some(even(filled(r.list16()?)?)?),
            ALPN => each(filled(r.list16()?)?, |r| filled(r.list8()?).map(drop))?,
            CLIENT_CERTIFICATE_TYPE => self.client_certificates = filled(r.list8()?)?,
            SERVER_CERTIFICATE_TYPE => self.server_certificates = filled(r.list8()?)?,
            EXTENDED_MASTER_SECRET | EARLY_DATA => {} // empty, or it is too long
            COMPRESS_CERTIFICATE => self.certificate_compressions = even(filled(r.list8()?)?)?,
            PRE_SHARED_KEY => self.psk = Some(psk(r)?),
            SUPPORTED_VERSIONS => self.versions = Some(even(filled(r.list8()?)?)?),
            COOKIE => drop(filled(r.list16()?)?),
            PSK_MODES => {
                filled(r.list8()?)?;
                self.psk_modes = true;
            }
            CERTIFICATE_AUTHORITIES => each(r.list16()?, |r| filled(r.list16()?).map(drop))?,
            KEY_SHARE => self.shares = Some(shares(r)?),
            TICKET_REQUEST => drop(r.take(2)?),
            RENEGOTIATION_INFO => drop(r.list8()?),
            ENCRYPTED_CLIENT_HELLO => encrypted_client_hello(r)?,
            ENCRYPTED_OUTER_EXTENSIONS => drop(even(filled(r.list8()?)?)?),
            _ => r.0 = &[],
        }
        Some(())
    }

    /// What rustls demands in every version beyond what can be negotiated.
    pub(super) fn is_consistent(&self) -> bool {
        let certificates = |types: &[u8]| types.contains(&X509) || !types.contains(&RAW_PUBLIC_KEY);
        self.name == Name::Harmless
            && certificates(self.client_certificates)
            && certificates(self.server_certificates)
    }

    /// What rustls demands of a hello for TLS 1.3 beyond what can be negotiated.
    pub(super) fn is_consistent_in_tls13(&self) -> bool {
        let shares = self.shares.iter().flatten().map(|share| share.group);
        distinct(shares.collect())
            && distinct(numbers(self.certificate_compressions).collect())
            && self.psk.is_none_or(|psk| self.psk_modes && psk.identities == psk.binders)
    }
}

const SERVER_NAME: u16 = 0;
const STATUS_REQUEST: u16 = 5;
const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const CLIENT_CERTIFICATE_TYPE: u16 = 19;
const SERVER_CERTIFICATE_TYPE: u16 = 20;
const EXTENDED_MASTER_SECRET: u16 = 23;
const COMPRESS_CERTIFICATE: u16 = 27;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const COOKIE: u16 = 44;
const PSK_MODES: u16 = 45;
const CERTIFICATE_AUTHORITIES: u16 = 47;
const KEY_SHARE: u16 = 51;
const TICKET_REQUEST: u16 = 58;
const RENEGOTIATION_INFO: u16 = 0xff01;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_OUTER_EXTENSIONS: u16 = 0xfd00;

fn server_name(r: &mut Reader<'_>) -> Option<Name> {
    const HOST_NAME: u8 = 0;
    let mut list = Reader(filled(r.list16()?)?);
    let mut found = None;
    while !list.0.is_empty() {
        if list.u8()? != HOST_NAME {
            break; // nobody knows how long that is
        }
        let name = filled(list.list16()?)?;
        let verdict = if ServerName::try_from(name).is_ok() { Name::Harmless } else { Name::Invalid };
        if found.replace(verdict).is_some() {
            return None;
        }
    }
    Some(found.unwrap_or(Name::Invalid))
}

fn status_request(r: &mut Reader<'_>) -> Option<()> {
    const OCSP: u8 = 1;
    if r.u8()? != OCSP {
        r.0 = &[];
        return Some(());
    }
    each(r.list16()?, |r| r.list16().map(drop))?;
    r.list16().map(drop)
}

fn psk(r: &mut Reader<'_>) -> Option<Psk> {
    let mut found = Psk { identities: 0, binders: 0 };
    each(filled(r.list16()?)?, |r| {
        filled(r.list16()?)?;
        r.take(4)?; // age
        found.identities += 1;
        Some(())
    })?;
    each(filled(r.list16()?)?, |r| {
        filled(r.list8()?)?;
        found.binders += 1;
        Some(())
    })?;
    Some(found)
}

fn shares(r: &mut Reader<'_>) -> Option<Vec<Share>> {
    let mut found = Vec::new();
    each(r.list16()?, |r| {
        found.push(Share { group: r.u16()?, length: filled(r.list16()?)?.len() });
        Some(())
    })?;
    Some(found)
}

fn encrypted_client_hello(r: &mut Reader<'_>) -> Option<()> {
    const OUTER: u8 = 0;
    const INNER: u8 = 1;
    match r.u8()? {
        OUTER => {
            r.take(5)?; // suite and configuration
            r.list16()?;
            filled(r.list16()?).map(drop)
        }
        INNER => Some(()),
        _ => None,
    }
}

fn distinct(mut numbers: Vec<u16>) -> bool {
    numbers.sort_unstable();
    numbers.windows(2).all(|pair| pair[0] != pair[1])
}

fn filled(list: &[u8]) -> Option<&[u8]> {
    (!list.is_empty()).then_some(list)
}

fn even(list: &[u8]) -> Option<&[u8]> {
    list.len().is_multiple_of(2).then_some(list)
}

/// Reads items until the list is used up.
fn each<'a>(list: &'a [u8], mut item: impl FnMut(&mut Reader<'a>) -> Option<()>) -> Option<()> {
    let mut r = Reader(list);
    while !r.0.is_empty() {
        item(&mut r)?;
    }
    Some(())
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A list whose length is one byte.
    fn list8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A list whose length is two bytes.
    fn list16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}
