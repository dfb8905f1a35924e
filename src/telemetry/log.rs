//! Log set-up: text on a terminal, JSON otherwise.

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging to stderr. `filter` is in `tracing`'s EnvFilter syntax.
pub fn init(_format: Format, _filter: &str) {
    todo!()
}
