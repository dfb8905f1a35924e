//! One crate cannot have the compiler keep the layers, so this test does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate it may use. Lower layers never import higher ones.
const RULES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("placement", &["model"]),
    ("telemetry", &["model"]),
    ("lifecycle", &["model", "telemetry"]),
    ("net", &["model", "wire", "telemetry", "lifecycle"]),
    ("http", &["model", "telemetry", "lifecycle", "net"]),
    ("sessions", &["model", "net", "telemetry"]),
    ("directory", &["model", "net", "telemetry", "lifecycle", "sessions"]),
    ("instances", &["model", "net", "telemetry", "lifecycle"]),
    ("route", &["model", "placement", "telemetry", "lifecycle", "directory", "instances", "sessions"]),
    ("api", &["model", "telemetry", "lifecycle", "net", "http", "directory", "instances", "route"]),
    (
        "device",
        &["model", "wire", "telemetry", "lifecycle", "net", "sessions", "directory", "instances", "route"],
    ),
    (
        "admin",
        &["model", "telemetry", "lifecycle", "net", "sessions", "directory", "instances", "route", "device"],
    ),
    ("sim", &["model", "wire", "lifecycle", "net", "telemetry"]),
    (
        "app",
        &[
            "model",
            "telemetry",
            "lifecycle",
            "net",
            "sessions",
            "directory",
            "instances",
            "route",
            "device",
            "api",
            "admin",
            "sim",
        ],
    ),
    (
        "config",
        &[
            "model",
            "telemetry",
            "lifecycle",
            "net",
            "directory",
            "http",
            "instances",
            "api",
            "device",
            "admin",
            "sim",
            "app",
        ],
    ),
    ("cli", &["model", "telemetry", "lifecycle", "net", "wire", "directory", "sim", "app", "config"]),
];

/// Crates of others that only one module may use.
const ONLY_IN: &[(&str, &str)] = &[("redis", "directory"), ("axum", "admin"), ("clap", "cli")];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(of: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(of).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// The text without line comments, so that links in documentation are free.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("readable source");
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Every `name` of `crate::name`, grouped imports (`crate::{a, b::c}`) included.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code[at + "crate::".len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(identifier(rest).to_owned());
            continue;
        };
        let (mut depth, mut start) = (0_usize, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && !c.is_whitespace() => {
                    used.insert(identifier(&group[i..]).to_owned());
                    start = false;
                }
                _ => {}
            }
        }
    }
    used.remove("");
    used
}

fn by_module() -> BTreeMap<String, Vec<PathBuf>> {
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(source()).expect("src") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            modules.insert(name, rust_files(&path));
        } else {
            assert!(matches!(name.as_str(), "lib" | "main"), "{name} is a module without a folder");
        }
    }
    modules
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let modules = by_module();
    let folders: BTreeSet<_> = modules.keys().map(String::as_str).collect();
    let ruled: BTreeSet<_> = RULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, ruled, "every folder of src has a rule, and every rule a folder");

    let mut arrows = 0;
    for (name, allowed) in RULES {
        let files = &modules[*name];
        assert!(!files.is_empty(), "{name} has no source");
        for file in files {
            for used in modules_used(&code(file)) {
                arrows += 1;
                assert!(
                    used == *name || allowed.contains(&used.as_str()),
                    "{} uses crate::{used}, which {name} may not",
                    file.display(),
                );
            }
        }
    }
    assert!(arrows > 50, "only {arrows} imports seen: the search is broken");
}

#[test]
fn rules_point_downwards_only() {
    for (i, (name, allowed)) in RULES.iter().enumerate() {
        for used in *allowed {
            let below = RULES[..i].iter().any(|(lower, _)| lower == used);
            assert!(below, "{name} may use {used}, which is not below it");
        }
    }
}

#[test]
fn some_crates_have_one_home() {
    for (name, home) in ONLY_IN {
        let word = format!("{name}::");
        let mut at_home = 0;
        for (module, files) in by_module() {
            for file in files {
                let code = code(&file);
                let uses = code.match_indices(&word).any(|(at, _)| {
                    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                at_home += usize::from(uses && module == *home);
                assert!(!uses || module == *home, "{} uses {name}: only {home} may", file.display());
            }
        }
        assert!(at_home > 0, "{home} does not use {name}: the search is broken, or the rule is old");
    }
}

#[test]
fn the_search_sees_every_form_of_import() {
    let code = "use crate::net::relay; use crate::{model::{A, B}, wire, }; fn f() { crate::app::x() } \
                use mycrate::other; use super::crate_like;";
    let expected = ["app", "model", "net", "wire"].map(str::to_owned);
    assert_eq!(modules_used(code), BTreeSet::from(expected));
}
