//! With certificates made as MPS makes them, but small.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::import::{ImportError, import as split};
use super::*;

/// A secret as MPS stores it, and the pins of its leaf.
fn secret() -> (Value, [Pin; 2]) {
    let authority = Authority::new(Keys::P256, "MPSRoot-0a1b2c").expect("a root");
    let leaf = authority.issue("mps.example", &[]).expect("a leaf");
    let secret = json!({
        "mps_tls_config": {
            // node-forge ends lines as DOS does.
            "cert": leaf.pem().replace('\n', "\r\n"),
            "key": leaf.key_pem().expose(),
            "minVersion": "TLSv1", "requestCert": true, "rejectUnauthorized": false, "ciphers": null,
        },
        "web_tls_config": { "ca": authority.root_pem(), "cert": leaf.pem(), "key": leaf.key_pem().expose() },
        "root_key": "not for us",
    });
    (secret, leaf.pins())
}

fn bytes(json: &Value) -> Vec<u8> {
    serde_json::to_vec(json).expect("JSON")
}

fn arguments(file: &Path, into: &Path, force: bool) -> Import {
    Import { file: file.to_owned(), into: Into { into: into.to_owned(), force } }
}

#[test]
fn the_secret_is_found_in_every_envelope() {
    let (secret, pins) = secret();
    let kv1 = json!({ "request_id": "..", "data": secret });
    let kv2 = json!({ "data": { "data": secret, "metadata": { "version": 3 } } });
    for whole in [&secret, &kv1, &kv2] {
        let imported = split(&bytes(whole)).expect("the secret of MPS");
        assert_eq!(Pin::of(&imported.identity.chain[0]).expect("a leaf"), pins);
        assert!(!imported.leaf.contains('\r'));
    }
}

#[test]
fn what_is_wrong_with_a_secret_is_said() {
    let (good, _) = secret();
    let (other, _) = secret();
    let with = |pointer: &str, value: &Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value.clone();
        split(&bytes(&changed)).expect_err(pointer).to_string()
    };
    assert!(matches!(split(b"{"), Err(ImportError::Json(_))));
    assert!(matches!(split(b"{\"data\":{\"data\":{}}}"), Err(ImportError::Other)));
    assert_eq!(with("/mps_tls_config/cert", &Value::Null), "\"mps_tls_config.cert\" is missing or no text");
    assert_eq!(with("/web_tls_config/ca", &json!([])), "\"web_tls_config.ca\" is missing or no text");
    assert_eq!(
        with("/mps_tls_config/key", &other["mps_tls_config"]["key"]),
        "mps_tls_config: the private key does not belong to the certificate"
    );
    assert_eq!(
        with("/web_tls_config/ca", &other["web_tls_config"]["ca"]),
        "web_tls_config.ca: certificate 2 of the chain did not issue the one before it"
    );
}

#[test]
fn an_import_writes_files_that_load_and_the_key_is_for_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (secret, [spki, _]) = secret();
    let file = folder.path().join("MPSCerts.json");
    std::fs::write(&file, bytes(&secret)).expect("written");
    let into = folder.path().join("new/certs");
    let report = import(&arguments(&file, &into, false)).expect("the secret of MPS");
    assert!(report.contains(&spki.to_string()), "{report}");
    assert!(report.contains("for mps.example"), "{report}");
    let (leaf, key) = (into.join("cira.crt"), into.join("cira.key"));
    Identity::load(&leaf, &key).expect("an identity");
    assert_eq!(key.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    assert!(into.join("root.crt").exists());
    assert!(!into.join("root.key").exists(), "the gateway has no use for it");
}

#[test]
fn what_is_there_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("MPSCerts.json");
    std::fs::write(&file, bytes(&secret().0)).expect("written");
    let key = folder.path().join("cira.key");
    std::fs::write(&key, "precious").expect("written");
    let told = import(&arguments(&file, folder.path(), false)).expect_err("a file is in the way");
    assert!(told.contains("cira.key would be replaced (--force allows it)"), "{told}");
    assert_eq!(std::fs::read_to_string(&key).expect("untouched"), "precious");
    assert!(!folder.path().join("cira.crt").exists(), "nothing was written");
    import(&arguments(&file, folder.path(), true)).expect("by force");
    assert_ne!(std::fs::read_to_string(&key).expect("replaced"), "precious");
    assert_eq!(key.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn generated_certificates_are_as_large_as_mps_makes_them_and_belong_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let into = Into { into: folder.path().to_owned(), force: false };
    let arguments = Generate { common_name: "mps.example".into(), names: vec!["localhost".into()], into };
    generate(&arguments).expect("certificates");
    let at = |name: &str| folder.path().join(name);
    let identity = Identity::load(&at("cira.crt"), &at("cira.key")).expect("an identity");
    assert_eq!((identity.key_bits, identity.common_name.as_deref()), (2048, Some("mps.example")));
    let root = Identity::load(&at("root.crt"), &at("root.key")).expect("the root and its key");
    assert_eq!(root.key_bits, 3072);
    let chain = [at("cira.crt"), at("root.crt")].map(|path| std::fs::read(path).expect("readable")).concat();
    Identity::from_pem(&chain, &std::fs::read(at("cira.key")).expect("readable")).expect("a chain");
    assert!(generate(&arguments).expect_err("all is there").contains("root.key"));
}
