//! What may be depended on: one TLS stack, one crypto provider, licences that allow what we do.

use std::collections::BTreeSet;
use std::process::Command;

/// Licences under which code may be in the binary. A package needs one alternative made of these.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that would be a second TLS stack, crypto provider or HTTP stack, or that were tried and refused.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("openssl-sys", "rustls is the one TLS stack of the default build"),
    ("native-tls", "rustls is the one TLS stack"),
    ("boring", "rustls is the one TLS stack"),
    ("deadpool-redis", "a multiplexed connection needs no pool"),
    ("reqwest", "hyper is the one HTTP stack"),
];

/// A package that is compiled.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Every package that is compiled into any build of ours, by what cargo really resolves (its
/// metadata would count optional packages that no feature switches on).
fn compiled() -> BTreeSet<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--all-features", "--prefix=none", "--no-dedupe"])
        .args(["--edges=normal,build", "--format={p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints text");
    text.lines()
        .map(|line| {
            let (package, licence) = line.split_once('|').expect("package|licence");
            let mut words = package.split(' ');
            let mut word = || words.next().expect("name and version").to_owned();
            Package { name: word(), version: word(), licence: licence.to_owned() }
        })
        .collect()
}

/// Whether one alternative of an SPDX expression without nested brackets consists of allowed licences.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let groups = expression.split(" AND ").map(|group| group.trim().trim_matches(['(', ')']));
    groups.into_iter().all(|group| group.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_licence_allows_what_we_do() {
    let compiled = compiled();
    assert!(compiled.len() > 100, "only {} packages seen: the search is broken", compiled.len());
    for Package { name, licence, .. } in compiled {
        assert!(allowed(&licence), "{name} is under {licence:?}");
    }
}

#[test]
fn there_is_one_tls_stack_and_one_crypto_provider() {
    let compiled = compiled();
    for Package { name, .. } in &compiled {
        for (banned, reason) in BANNED {
            assert_ne!(name, *banned, "{reason}");
        }
    }
    for single in ["rustls", "tokio-rustls", "aws-lc-rs", "tokio", "hyper", "http"] {
        let versions: Vec<_> = compiled.iter().filter(|p| p.name == single).map(|p| &p.version).collect();
        assert_eq!(versions.len(), 1, "exactly one version of {single}: {versions:?}");
    }
}

#[test]
fn licence_expressions_are_understood() {
    assert!(allowed("MIT OR Apache-2.0"));
    assert!(allowed("MIT/Apache-2.0"));
    assert!(allowed("GPL-3.0 OR MIT"));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!allowed("MIT AND GPL-3.0"));
    assert!(!allowed("GPL-3.0-only"));
    assert!(!allowed("none"));
}
