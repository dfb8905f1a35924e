//! The live table: refreshed in place on a terminal, one line a change elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};

use super::watch::{Round, Row, Said};

/// Elsewhere than on a terminal a line comes at least this often, in seconds.
const AT_LEAST: f64 = 10.0;

/// Where the demo speaks.
pub struct Screen {
    out: Box<dyn Write + Send>,
    terminal: bool,
    /// Lines of the table that is to be written over.
    lines: usize,
    /// Elsewhere: what the last line said, and when.
    last: Option<(String, f64)>,
}

impl Screen {
    /// Standard output.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        Self::new(stdout.is_terminal(), Box::new(stdout))
    }

    /// Any output.
    pub fn new(terminal: bool, out: Box<dyn Write + Send>) -> Self {
        Self { out, terminal, lines: 0, last: None }
    }

    /// Says something that stays.
    pub fn say(&mut self, text: &str) {
        self.lines = 0;
        self.write(&format!("{text}\n"));
    }

    /// Shows a round.
    pub fn show(&mut self, round: &Round) {
        if self.terminal { self.refresh(round) } else { self.append(round) }
    }

    fn refresh(&mut self, round: &Round) {
        let table = table(round);
        let mut text = String::new();
        if self.lines > 0 {
            // Up to where the table began; a string takes everything.
            let _ = write!(text, "\x1b[{}A", self.lines);
        }
        for line in table.lines() {
            let _ = writeln!(text, "\x1b[2K{line}");
        }
        self.lines = table.lines().count();
        self.write(&text);
    }

    fn append(&mut self, round: &Round) {
        let line = summary(round);
        let news = match &self.last {
            Some((last, at)) => *last != line || round.at - at >= AT_LEAST,
            None => true,
        };
        if news {
            let text =
                format!("{:6.1} s  {line}, wrong answers: {} of {}\n", round.at, round.wrong, round.asked);
            self.write(&text);
            self.last = Some((line, round.at));
        }
    }

    /// A reader that has gone is no reason to end: the verdict is in the exit code, too.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

fn summary(round: &Round) -> String {
    let owners = round.owners();
    let found: usize = owners.values().sum();
    let mut text = format!("{found} of {} devices found", round.rows.len());
    for (owner, devices) in owners {
        // A string takes everything.
        let _ = write!(text, ", {owner}: {devices}");
    }
    text
}

fn table(round: &Round) -> String {
    let mut text = format!("{:36}  {:<14} {}\n", "device", "gateway says", "really at");
    for row in &round.rows {
        text += &line(row);
    }
    let (wrong, asked) = (round.wrong, round.asked);
    text + &format!("{}; wrong answers: {wrong} of {asked}\n", summary(round))
}

fn line(row: &Row) -> String {
    let said = match &row.said {
        Said::Nobody => "nobody",
        Said::Nothing => "(no answer)",
        Said::Owner(owner) => owner,
    };
    let really = row.really.as_deref().unwrap_or("-");
    let mark = if row.wrong { "  WRONG" } else { "" };
    format!("{}  {said:<14} {really}{mark}\n", row.device)
}
