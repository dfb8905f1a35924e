//! Log set-up: text on a terminal, JSON otherwise.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Format {
    /// Text when stderr is a terminal, JSON when it is a file or a collector.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// What rustls warns of is what a stranger said (a name that is an address, a renegotiation): as many
/// lines as anybody likes, of what the one line of a session says. It comes first: `filter` may differ.
const QUIET: &str = "rustls=error";

/// Starts logging to stderr. `filter` is in `tracing`'s EnvFilter syntax; what of it cannot be read is
/// left out. Only the first call of a process has an effect.
pub fn init(format: Format, filter: &str) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(format!("{QUIET},{filter}")))
        .with_writer(io::stderr)
        .with_ansi(format == Format::Text && io::stderr().is_terminal());
    // A second start in one process (tests, demo) keeps the first one's log: not a failure.
    let _already_started = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Text => lines.compact().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_the_log_twice_is_harmless() {
        init(Format::Json, "off");
        init(Format::Text, "info,not=a=filter");
    }
}
