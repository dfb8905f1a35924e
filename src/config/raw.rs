//! What was written, before anybody judged it: the file and the environment as one map of values by
//! full key, each with its place. Knows which keys exist; does not know what they mean.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key};
use super::problem::{Place, Problem};

/// A value as written.
#[derive(Clone, Debug, Hash, PartialEq)]
pub enum Raw {
    /// `true` or `false`.
    Bool(bool),
    /// A number with a fraction, as text (so that it can be hashed and shown as written).
    Float(String),
    /// A whole number; `None` when it does not fit 64 bits.
    Integer(Option<i64>),
    /// A list.
    List(Vec<Raw>),
    /// A date, a time or a table: nothing of ours.
    Other(&'static str),
    /// A string.
    Text(String),
    /// An environment variable: whatever the key wants it to be.
    Variable(String),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Written {
    /// The value.
    pub raw: Raw,
    /// Where.
    pub place: Place,
}

/// Values by full key.
pub type Values = BTreeMap<&'static str, Written>;

/// Everything that was written.
#[derive(Debug, Default)]
pub struct Document {
    /// Values outside of lists of tables.
    pub values: Values,
    /// `[[instances.static]]`: the line each begins at, and its values.
    pub statics: Vec<(Place, Values)>,
    /// Sections that are there, perhaps empty.
    pub sections: BTreeSet<&'static str>,
}

/// Sections of the design that this build cannot serve.
const LATER: &[&str] = &["rpc"];

/// Where the list of instances is.
pub const STATIC: &str = "instances.static";

/// Reads the file's text. What cannot be understood becomes a problem; the rest is kept.
pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Document {
    let lines = Lines::of(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(Place::Nowhere, |span| lines.place(span.start));
        let what = format!("not TOML: {}", error.message().trim());
        problems.push(Problem::new(place, "", what, "see https://toml.io for how values are written"));
    }
    let mut walk = Walk { lines, problems, document: Document::default() };
    walk.table("", root.get_ref());
    walk.document
}

/// Byte offsets to line numbers.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect())
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line(self.0.partition_point(|newline| *newline < offset) + 1)
    }
}

struct Walk<'a> {
    lines: Lines,
    problems: &'a mut Vec<Problem>,
    document: Document,
}

impl Walk<'_> {
    /// A table at `path`: keys, and sections within it.
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let place = self.lines.place(name.span().start);
            let full = if path.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{path}.{}", name.get_ref())
            };
            if let Some(section) = keys::section(&full) {
                self.section(section, place, value);
            } else if full == STATIC {
                self.statics(place, value);
            } else if let Some(key) = keys::find(&full).filter(|key| !key.name.starts_with(STATIC)) {
                let written = Written { raw: raw(value.get_ref()), place };
                self.document.values.insert(key.name, written);
            } else {
                self.problems.push(unknown(place, &full));
            }
        }
    }

    fn section(&mut self, section: &'static str, place: Place, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                self.document.sections.insert(section);
                self.table(section, table);
            }
            other => {
                let what = format!("this is a section, not {}", article(other.type_str()));
                self.problems.push(Problem::new(
                    place,
                    section,
                    what,
                    format!("write [{section}] above its keys"),
                ));
            }
        }
    }

    fn statics(&mut self, place: Place, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(entries) = value.get_ref() else {
            let cure = format!("write [[{STATIC}]] above each");
            self.problems.push(Problem::new(place, STATIC, "this is a list of tables", cure));
            return;
        };
        for entry in entries.iter() {
            let place = self.lines.place(entry.span().start);
            let DeValue::Table(table) = entry.get_ref() else {
                let cure = format!("write [[{STATIC}]] above each");
                self.problems.push(Problem::new(place, STATIC, "this is a list of tables", cure));
                continue;
            };
            let mut values = Values::new();
            for (name, value) in table {
                let full = format!("{STATIC}.{}", name.get_ref());
                let place = self.lines.place(name.span().start);
                match keys::find(&full) {
                    Some(key) => drop(values.insert(key.name, Written { raw: raw(value.get_ref()), place })),
                    None => self.problems.push(unknown(place, &full)),
                }
            }
            self.document.statics.push((place, values));
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Array(list) => Raw::List(list.iter().map(|value| raw(value.get_ref())).collect()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Float(value) => Raw::Float(value.as_str().to_owned()),
        DeValue::Integer(value) => Raw::Integer(i64::from_str_radix(value.as_str(), value.radix()).ok()),
        DeValue::String(value) => Raw::Text(value.to_string()),
        DeValue::Table(_) => Raw::Other("table"),
    }
}

/// The value that `text` is in TOML.
pub fn value(text: &str) -> Option<Raw> {
    DeValue::parse(text).ok().map(|value| raw(value.get_ref()))
}

/// `a string`, `an integer`.
pub fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

fn unknown(place: Place, full: &str) -> Problem {
    let name = full.split('.').next().unwrap_or(full);
    if full == "admin.tokens-file" {
        return Problem::new(place, full, "tokens are not in this build yet", "take it out");
    }
    if LATER.contains(&name) {
        return Problem::new(place, full, "this build has no such plane yet", format!("take [{name}] out"));
    }
    if keys::section(name).is_none() {
        let all: Vec<_> = keys::SECTIONS.iter().map(|section| format!("[{}]", section.name)).collect();
        let cure = format!("the sections are {} and [[{STATIC}]]", all.join(", "));
        return Problem::new(place, full, "unknown section", cure);
    }
    let cure = match keys::nearest(full) {
        Some(near) => format!("did you mean {near}?"),
        None => "`mps-gateway check-config --reference` prints all keys".to_owned(),
    };
    Problem::new(place, full, "unknown key", cure)
}

const PREFIX: &str = "MPS_GATEWAY__";

/// The variable that sets `key`.
pub fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.replace('.', "__").replace('-', "_").to_uppercase())
}

/// Lays the environment over the document. Names with our prefix that are no key are problems.
pub fn overlay(document: &mut Document, environment: &[(String, String)], problems: &mut Vec<Problem>) {
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let place = Place::Environment(name.clone());
        let key = keys::all().find(|key| variable(key) == *name);
        match key {
            Some(key) if key.name.starts_with(STATIC) => {
                let what = "instances cannot be set by the environment";
                problems.push(Problem::new(place, key.name, what, format!("write [[{STATIC}]] in the file")));
            }
            Some(key) => {
                document.sections.extend(keys::sections_of(key.name));
                document.values.insert(key.name, Written { raw: Raw::Variable(value.clone()), place });
            }
            None => {
                let near = name[PREFIX.len()..].to_lowercase().replace("__", ".").replace('_', "-");
                let cure = match keys::nearest(&near).and_then(keys::find) {
                    Some(near) => format!("did you mean {}?", variable(near)),
                    None => "take it away, or correct its name".to_owned(),
                };
                problems.push(Problem::new(place, "", "no key is set by this variable", cure));
            }
        }
    }
}
