//! Every key, once: parser, defaults, environment and reference are all fed from here.

mod api;
mod device;
mod rest;

/// What a reload does to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// It takes effect at once.
    Live,
    /// Sessions from now on follow it; those that live keep what they had.
    NewSessions,
    /// Nothing: the answer to a reload names it.
    Restart,
}

impl Reload {
    /// As the reference says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewSessions => "new sessions",
            Self::Restart => "restart",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// In which unit, or what kind of value.
    pub unit: &'static str,
    /// What it does and why its default is what it is. Lines of at most 100.
    pub why: &'static str,
    /// Its default, in TOML; `None`: nothing, or it must be given.
    pub default: Option<&'static str>,
    /// How a value looks where there is no default, in TOML.
    pub example: &'static str,
    /// What a reload does to it.
    pub reload: Reload,
    /// Whether it is a secret: never shown, and `..-file` names a file that holds it.
    pub secret: bool,
}

impl Key {
    const fn new(name: &'static str, default: &'static str, unit: &'static str, why: &'static str) -> Self {
        let (reload, secret) = (Reload::Restart, false);
        Self { name, unit, why, default: Some(default), example: "", reload, secret }
    }

    const fn absent(
        name: &'static str,
        example: &'static str,
        unit: &'static str,
        why: &'static str,
    ) -> Self {
        let (reload, secret) = (Reload::Restart, false);
        Self { name, unit, why, default: None, example, reload, secret }
    }

    const fn live(self) -> Self {
        Self { reload: Reload::Live, ..self }
    }

    const fn new_sessions(self) -> Self {
        Self { reload: Reload::NewSessions, ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// One section.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name, `instances.cira-tls`.
    pub name: &'static str,
    /// What it is about.
    pub what: &'static str,
}

/// All sections, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "device",
        what: "The CIRA plane: where devices call. It is open when this section is there.",
    },
    Section {
        name: "api",
        what: "REST and WebSockets. It is open when this section is there, or no configuration file is.",
    },
    Section {
        name: "admin",
        what: "Probes, metrics and the admin API. Without a configuration file it is open on loopback.",
    },
    Section { name: "directory", what: "Who owns which device: what all replicas must agree on." },
    Section {
        name: "drain",
        what: "How a replica leaves after SIGTERM or SIGINT; a second signal exits at once.",
    },
    Section { name: "log", what: "What is logged, to stderr." },
    Section { name: "instances", what: "The MPS instances behind us, and how they are treated." },
    Section {
        name: "instances.cira-tls",
        what: "TLS on the way to instances. MPS shows its leaf alone, without names that could be checked.",
    },
];

/// All keys, by section, in the order of the reference; the keys of one `[[instances.static]]` last.
pub fn all() -> impl Iterator<Item = &'static Key> {
    device::KEYS.iter().chain(api::KEYS).chain(rest::KEYS)
}

/// The key `name`, given in full. `..-file` of a secret is a key too: the secret's own.
pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The section `name`.
pub fn section(name: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|section| section.name == name).map(|section| section.name)
}

/// The sections that `key` stands in, outermost first.
pub fn sections_of(key: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS
        .iter()
        .map(|section| section.name)
        .filter(move |section| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that somebody who wrote `wrong` probably meant.
pub fn nearest(wrong: &str) -> Option<&'static str> {
    let distance = |key: &Key| (edits(wrong, key.name), key.name);
    let (edits, name) = all().map(distance).min()?;
    let length = wrong.rsplit('.').next().unwrap_or(wrong).len();
    (edits <= length.div_ceil(3)).then_some(name)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_a_section_and_has_a_reason() {
        assert!(all().count() > 40, "the table is not empty");
        for key in all() {
            let (section, _) = key.name.rsplit_once('.').expect("a section in front");
            assert!(
                self::section(section).is_some() || section == crate::config::raw::STATIC,
                "{}",
                key.name
            );
            assert!(all().filter(|other| other.name == key.name).count() == 1, "{} is there twice", key.name);
            assert!(!key.why.is_empty() && !key.unit.is_empty(), "{}", key.name);
            assert!(key.why.lines().all(|line| line.len() <= 100), "{}", key.name);
            assert_eq!(key.default.is_none(), !key.example.is_empty(), "{}: default or example", key.name);
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(nearest("device.holdd"), Some("device.hold"));
        assert_eq!(nearest("device.max-conections"), Some("device.max-connections"));
        assert_eq!(nearest("device.colour-of-the-box"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
