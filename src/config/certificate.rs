//! The device certificate: problems that keep a gateway from starting, and what is only worth a word.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::problem::Problem;
use super::read::Reader;
use crate::app::Certificate;
use crate::net::identity::{Identity, IdentityError, LeafKey};

const CERTIFICATE: &str = "device.certificate";
const KEY: &str = "device.private-key";
const DAY: Duration = Duration::from_secs(86_400);
/// A renewal takes a change window: a word in time.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// Reads the pair of keys; `memory` says that no other replica must show the same certificate.
pub fn device(reader: &mut Reader<'_>, memory: bool, warnings: &mut Vec<Problem>) -> Certificate {
    let (certificate, private_key) = (reader.path(CERTIFICATE), reader.path(KEY));
    match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => {
            judge(reader, &certificate, &private_key, warnings);
            return Certificate::Files { certificate, private_key };
        }
        (Some(_), None) if !reader.is_written(KEY) => {
            reader.complain(KEY, "missing beside device.certificate", "name the PEM file of its key");
        }
        (None, Some(_)) if !reader.is_written(CERTIFICATE) => {
            reader.complain(
                CERTIFICATE,
                "missing beside device.private-key",
                "name the PEM file of its leaf",
            );
        }
        (None, None) if !memory && !reader.is_written(CERTIFICATE) && !reader.is_written(KEY) => {
            let cure = "name the PEM files that all replicas show: `mps-gateway certs import` takes those of MPS, \
                        `mps-gateway certs generate` makes new ones";
            reader.complain(CERTIFICATE, "missing, and the directory is shared", cure);
        }
        _ => {} // generated, or a problem was told already
    }
    Certificate::Generated
}

fn judge(reader: &mut Reader<'_>, certificate: &Path, key: &Path, warnings: &mut Vec<Problem>) {
    match Identity::load(certificate, key) {
        Ok(identity) => {
            let place = reader.place(CERTIFICATE);
            let found = remarks(&identity, SystemTime::now());
            warnings.extend(
                found.into_iter().map(|(what, cure)| Problem::new(place.clone(), CERTIFICATE, what, cure)),
            );
        }
        Err(error) => {
            let (at, cure) = match &error {
                IdentityError::Read { path, .. } if *path == key.display().to_string() => {
                    (KEY, "write the path of a PEM file this user may read")
                }
                IdentityError::Read { .. } => {
                    (CERTIFICATE, "write the path of a PEM file this user may read")
                }
                IdentityError::NoCertificate(_) => {
                    (CERTIFICATE, "name a PEM file: leaf first, then its chain")
                }
                IdentityError::NoKey(_) => (KEY, "name the PEM file of the leaf's key"),
                IdentityError::Unusable(_) => (CERTIFICATE, "use an RSA or P-256 certificate"),
                IdentityError::UnusableKey(_) => (KEY, "use an unencrypted PKCS#8, PKCS#1 or SEC1 key"),
                IdentityError::Mismatch => (KEY, "name the key that the certificate was made with"),
                IdentityError::Chain(_) => {
                    (CERTIFICATE, "order the file: leaf, then its issuer, then the issuer's")
                }
            };
            let what = match std::error::Error::source(&error) {
                Some(source) if !error.to_string().contains(&source.to_string()) => {
                    format!("{error}: {source}")
                }
                _ => error.to_string(),
            };
            reader.complain(at, what, cure);
        }
    }
}

/// What a usable certificate may still be reproached with: what, and what to do.
pub fn remarks(identity: &Identity, now: SystemTime) -> Vec<(String, &'static str)> {
    let mut remarks = vec![];
    let renew = "renew it; a changed file is noticed within 10 s";
    match identity.not_after.duration_since(now) {
        Err(ago) => {
            remarks.push((format!("it expired {} days ago", ago.duration().as_secs() / DAY.as_secs()), renew))
        }
        Ok(left) if left < SOON => {
            remarks.push((format!("it expires in {} days", left.as_secs() / DAY.as_secs()), renew));
        }
        Ok(_) => {}
    }
    if identity.not_before > now {
        remarks.push(("it is not valid yet".to_owned(), "check this machine's clock, or wait"));
    }
    if identity.common_name.is_none() {
        let cure = "devices compare the common name with the MPS name they were given";
        remarks.push(("it has no common name".to_owned(), cure));
    }
    match identity.leaf_key {
        LeafKey::EcdsaP256 | LeafKey::EcdsaP384 | LeafKey::EcdsaP521 => {
            let cure = "most firmware wants RSA; use RSA with 2048 bits unless all yours is known to take it";
            remarks.push(("its key is ECDSA".to_owned(), cure));
        }
        LeafKey::Rsa if identity.key_bits < 2048 => {
            remarks.push((format!("its key has {} bits", identity.key_bits), "use RSA with 2048 bits"));
        }
        LeafKey::Rsa if identity.key_bits >= 3072 => {
            let cure = "AMT 12 refuses such a leaf; use 2048 bits unless no device is that old";
            remarks.push((format!("its key has {} bits", identity.key_bits), cure));
        }
        LeafKey::Rsa => {}
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::pki::{Authority, Keys};

    fn said(identity: &Identity, now: SystemTime) -> Vec<String> {
        remarks(identity, now).into_iter().map(|(what, _)| what).collect()
    }

    #[test]
    fn expiry_size_and_name_are_worth_a_word() {
        let authority = Authority::new(Keys::P256, "root").expect("made");
        let mut identity = authority.issue("mps.example.com", &[]).expect("made").identity();
        let now = SystemTime::now();
        assert_eq!(said(&identity, now), ["its key is ECDSA"]);

        (identity.leaf_key, identity.key_bits) = (LeafKey::Rsa, 2048);
        assert_eq!(said(&identity, now), [""; 0], "what MPS makes");
        for (days, expected) in
            [(31, None), (29, Some("it expires in 29 days")), (0, Some("it expires in 0 days"))]
        {
            identity.not_after = now + days * DAY + Duration::from_secs(1);
            assert_eq!(said(&identity, now), Vec::from_iter(expected), "{days} days left");
        }
        identity.not_after = now - 3 * DAY;
        (identity.key_bits, identity.common_name) = (3072, None);
        let expected = ["it expired 3 days ago", "it has no common name", "its key has 3072 bits"];
        assert_eq!(said(&identity, now), expected);
        (identity.key_bits, identity.not_after, identity.not_before) = (1024, now + 60 * DAY, now + DAY);
        let expected = ["it is not valid yet", "it has no common name", "its key has 1024 bits"];
        assert_eq!(said(&identity, now), expected);
    }
}
