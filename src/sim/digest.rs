//! HTTP digest authentication (RFC 2617, MD5, qop `auth`): what AMT demands of whoever speaks WSMAN.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};

use crate::model::Secret;

/// Whom a device lets in, or who a server claims to be.
#[derive(Clone, Debug)]
pub(super) struct Login<'a> {
    pub user: &'a str,
    pub password: &'a Secret,
}

/// What a device demands: the fields of `WWW-Authenticate`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Challenge {
    pub realm: String,
    pub nonce: String,
}

impl Challenge {
    /// Reads the value of a `WWW-Authenticate` header.
    pub fn parse(header: &str) -> Option<Self> {
        let fields = header.strip_prefix("Digest ")?;
        Some(Self { realm: field(fields, "realm")?.to_owned(), nonce: field(fields, "nonce")?.to_owned() })
    }

    /// The value of the `WWW-Authenticate` header.
    pub fn header(&self) -> String {
        format!("Digest realm=\"{}\", nonce=\"{}\", stale=\"false\", qop=\"auth\"", self.realm, self.nonce)
    }

    /// The value of the `Authorization` header that answers this challenge the first time.
    pub fn answer(&self, login: &Login<'_>, method: &str, uri: &str) -> String {
        let (Self { realm, nonce }, user) = (self, login.user);
        let (nc, cnonce) = ("00000001", format!("{:016x}", rand::random::<u64>()));
        let response = self.response(login, method, uri, &[nc, &cnonce, "auth"].join(":"));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, \
             nc={nc}, cnonce=\"{cnonce}\", response=\"{response}\""
        )
    }

    /// Whether an `Authorization` header's value answers this challenge.
    pub fn is_answered(&self, header: &str, login: &Login<'_>, method: &str) -> bool {
        let Some(fields) = header.strip_prefix("Digest ") else { return false };
        let said = |name| field(fields, name).unwrap_or_default();
        let count = [said("nc"), said("cnonce"), said("qop")].join(":");
        said("username") == login.user
            && said("realm") == self.realm
            && said("nonce") == self.nonce
            && said("response") == self.response(login, method, said("uri"), &count)
    }

    fn response(&self, login: &Login<'_>, method: &str, uri: &str, count: &str) -> String {
        let who = md5(&[login.user, &self.realm, login.password.expose()].join(":"));
        let what = md5(&[method, uri].join(":"));
        md5(&[&who, &self.nonce, count, &what].join(":"))
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().fold(String::with_capacity(32), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

/// The value of one field, quoted or not. No field of ours has an escaped quote in it.
fn field<'a>(mut fields: &'a str, wanted: &str) -> Option<&'a str> {
    loop {
        let (name, rest) = fields.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        if name.trim_matches([' ', ',']) == wanted {
            return Some(value);
        }
        fields = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_answered_as_the_standard_says() {
        let challenge = Challenge {
            realm: "testrealm@host.com".into(),
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093".into(),
        };
        let password = Secret::new("Circle Of Life");
        let login = Login { user: "Mufasa", password: &password };
        let response = challenge.response(&login, "GET", "/dir/index.html", "00000001:0a4f113b:auth");
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn only_the_right_login_answers_a_challenge() {
        let challenge = Challenge { realm: "Digest:0123".into(), nonce: "n, with=\"".replace('"', "") };
        let challenge = Challenge::parse(&challenge.header()).expect("a challenge reads back");
        let (good, bad) = (Secret::new("P@ss"), Secret::new("p@ss"));
        let login = Login { user: "admin", password: &good };
        let answer = challenge.answer(&login, "POST", "/wsman");
        assert!(challenge.is_answered(&answer, &login, "POST"));
        assert!(!challenge.is_answered(&answer, &login, "GET"));
        assert!(!challenge.is_answered(&answer, &Login { user: "admin", password: &bad }, "POST"));
        let other = Challenge { nonce: "another".into(), ..challenge };
        assert!(!other.is_answered(&answer, &login, "POST"));
        assert!(!other.is_answered("Basic YWRtaW4=", &login, "POST"));
    }
}
