//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Environment(String),
    /// Nowhere: it is missing, or only the default.
    Nowhere,
}

/// One thing that is wrong, or a warning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Which key, `section.name`; a section, or empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

impl Problem {
    /// A problem that can be mended by `cure`.
    pub fn new(
        place: Place,
        key: impl Into<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { place, key: key.into(), what: what.into(), cure: cure.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(line) => write!(f, "line {line}: ")?,
            Place::Environment(name) => write!(f, "{name}: ")?,
            Place::Nowhere => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.cure)
    }
}

/// Everything that is wrong with a configuration, all at once.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Problems {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// At least one problem, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// One line for each problem, the file's name in front.
    pub fn lines(&self) -> Vec<String> {
        let file = self.file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default();
        self.problems.iter().map(|problem| format!("{file}{problem}")).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}
