//! Typed values out of raw ones. Whatever cannot be read becomes a problem and counts as its default,
//! so that one run finds everything that is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys;
use super::problem::{Place, Problem};
use super::raw::{Raw, Values, article};
use crate::model::Secret;

/// Why a value cannot be used, and what would do.
pub struct Wrong {
    what: String,
    cure: String,
}

impl Wrong {
    /// `what` is wrong, `cure` mends it.
    pub fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into() }
    }

    fn kind(raw: &Raw, wanted: &str) -> Self {
        let found = match raw {
            Raw::Bool(_) => "boolean",
            Raw::Float(_) => "float",
            Raw::Integer(_) => "integer",
            Raw::List(_) => "list",
            Raw::Other(kind) => kind,
            Raw::Text(_) | Raw::Variable(_) => "string",
        };
        Self::new(format!("this is {}", article(found)), format!("write {wanted}"))
    }
}

/// Reads the values of one document or of one entry of a list.
pub struct Reader<'a> {
    values: &'a Values,
    problems: &'a mut Vec<Problem>,
    base: &'a Path,
}

impl<'a> Reader<'a> {
    /// A reader of `values`, whose relative paths begin at `base`.
    pub fn new(values: &'a Values, base: &'a Path, problems: &'a mut Vec<Problem>) -> Self {
        Self { values, problems, base }
    }

    /// Where `key` was written.
    pub fn place(&self, key: &str) -> Place {
        self.values.get(key).map_or(Place::Nowhere, |written| written.place.clone())
    }

    /// `key` is wrong in a way that only shows beside other keys.
    pub fn complain(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem::new(self.place(key), key, what, cure));
    }

    /// Whether `key` was written.
    pub fn is_written(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// `key` is wrong as told.
    pub fn complain_of(&mut self, key: &str, Wrong { what, cure }: Wrong) {
        self.complain(key, what, cure);
    }

    /// The value of `key`, if it is written and right.
    pub fn optional<T>(&mut self, key: &str, parse: impl Fn(&Raw) -> Result<T, Wrong>) -> Option<T> {
        let written = self.values.get(key)?;
        match parse(&written.raw) {
            Ok(value) => Some(value),
            Err(Wrong { what, cure }) => {
                self.problems.push(Problem::new(written.place.clone(), key, what, cure));
                None
            }
        }
    }

    /// The value of `key`, or its default.
    pub fn value<T>(&mut self, key: &str, parse: impl Fn(&Raw) -> Result<T, Wrong>) -> T {
        match self.optional(key, &parse) {
            Some(value) => value,
            None => parse(&default(key)).ok().expect("defaults are valid: the reference is loaded by a test"),
        }
    }

    /// A duration within `range`.
    pub fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        self.value(key, |raw| {
            let cure = format!(
                "write a duration from {} to {}, as \"250ms\", \"10s\" or \"2m\"",
                human(range.start()),
                human(range.end())
            );
            let text = text(raw).map_err(|Wrong { what, .. }| Wrong::new(what, cure.clone()))?;
            let value = humantime::parse_duration(text)
                .map_err(|_| Wrong::new(format!("{text:?} is not a duration"), cure.clone()))?;
            if range.contains(&value) {
                Ok(value)
            } else {
                Err(Wrong::new(format!("{text:?} is out of range"), cure))
            }
        })
    }

    /// A whole number within `range`.
    pub fn count<T: TryFrom<i64>>(&mut self, key: &str, range: RangeInclusive<i64>) -> T {
        self.value(key, |raw| whole(raw, &range))
    }

    /// A whole number within `range`, if it is written.
    pub fn optional_count<T: TryFrom<i64>>(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<T> {
        self.optional(key, |raw| whole(raw, &range))
    }

    /// A number within `range`.
    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> f64 {
        self.value(key, |raw| {
            let cure = format!("a number from {} to {}", range.start(), range.end());
            let value = match raw {
                Raw::Float(text) | Raw::Variable(text) => text.replace('_', "").trim().parse().ok(),
                Raw::Integer(value) => value.map(|value| value as f64),
                _ => return Err(Wrong::kind(raw, &cure)),
            };
            value
                .filter(|value| range.contains(value))
                .ok_or_else(|| Wrong::new("the number is out of range", format!("write {cure}")))
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> bool {
        self.value(key, |raw| match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Variable(text) => text
                .trim()
                .parse()
                .map_err(|_| Wrong::new(format!("{text:?} is neither"), "write true or false")),
            _ => Err(Wrong::kind(raw, "true or false")),
        })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        self.value(key, |raw| {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let cure = format!("write {}", all.join(" or "));
            let text = text(raw).map_err(|Wrong { what, .. }| Wrong::new(what, cure.clone()))?;
            let found = words.iter().find(|(word, _)| *word == text);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| Wrong::new(format!("{text:?} is none of its words"), cure))
        })
    }

    /// A list, each part read by `parse`; every part that is wrong is a problem of its own.
    pub fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<T> {
        let parts = self.value(key, |raw| match raw {
            Raw::List(parts) => Ok(parts.clone()),
            Raw::Variable(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(parts.map(|part| Raw::Text(part.to_owned())).collect())
            }
            _ => Err(Wrong::kind(raw, "a list, as [\"..\", \"..\"]")),
        });
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            match text(&part).and_then(&parse) {
                Ok(value) => values.push(value),
                Err(Wrong { what, cure }) => self.complain(key, what, cure),
            }
        }
        values
    }

    /// A text that stands under `key` or in the file that `key`-file names. Never shown in a problem.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let by_file = format!("{key}-file");
        let here = self.optional(key, |raw| text(raw).map(Secret::new));
        let Some(path) = self.path(&by_file) else { return here };
        if self.is_written(key) {
            self.complain(&by_file, format!("{key} is set as well"), "keep one of the two");
        }
        match std::fs::read_to_string(&path) {
            Ok(content) => Some(Secret::new(content.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                self.complain(&by_file, what, "make the file readable for this user");
                here
            }
        }
    }

    /// A path, from the base if it is relative.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let base = self.base;
        self.optional(key, |raw| match text(raw)? {
            "" => Err(Wrong::new("this is empty", "write a path, or take the key out")),
            path => Ok(base.join(path)),
        })
    }
}

/// The default of `key` as if it were written.
pub fn default(key: &str) -> Raw {
    let text = keys::find(key).and_then(|key| key.default).expect("only keys with a default are read so");
    super::raw::value(text).expect("defaults are TOML: the reference is loaded by a test")
}

/// A text.
pub fn text(raw: &Raw) -> Result<&str, Wrong> {
    match raw {
        Raw::Text(text) => Ok(text),
        Raw::Variable(text) => Ok(text.trim()),
        _ => Err(Wrong::kind(raw, "a string, in double quotes")),
    }
}

/// Whatever can be read from a text; `cure` says how it is written.
pub fn parsed<T: std::str::FromStr<Err: Display>>(text: &str, cure: &str) -> Result<T, Wrong> {
    text.parse().map_err(|why: T::Err| Wrong::new(format!("{text:?}: {why}"), cure))
}

fn whole<T: TryFrom<i64>>(raw: &Raw, range: &RangeInclusive<i64>) -> Result<T, Wrong> {
    let cure = format!("a whole number from {} to {}", range.start(), range.end());
    let value = match raw {
        Raw::Integer(value) => *value,
        Raw::Variable(text) => text.trim().parse().ok(),
        _ => return Err(Wrong::kind(raw, &cure)),
    };
    value
        .filter(|value| range.contains(value))
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| Wrong::new("the number is out of range", format!("write {cure}")))
}

fn human(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}
