//! The load: `simulate devices` as a process on the load's CPU, and what it says.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::house::House;
use crate::program::Program;
use crate::said::{Progress, Said, faults};

/// It says something each second.
const SILENCE: Duration = Duration::from_secs(20);
/// How long it may take to end once it was told to.
const END: Duration = Duration::from_secs(30);

/// A load that runs.
pub struct Load {
    program: Program,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Devices that call `target`, as `options` of `simulate devices` say.
    pub fn start(
        program: &Path,
        house: &House,
        target: SocketAddr,
        options: &[String],
    ) -> Result<Self, String> {
        let mut command: Vec<OsString> = vec![program.into()];
        command.extend(["simulate", "devices", "--json", "--target"].map(OsString::from));
        command.push(target.to_string().into());
        command.extend(["--guids".into(), house.files.guids.as_os_str().to_owned()]);
        command.extend(["--ca".into(), house.files.root.as_os_str().to_owned()]);
        command.extend(options.iter().map(OsString::from));
        let command: Vec<_> = command.iter().map(OsString::as_os_str).collect();
        let mut program = Program::start("load", house.cpus.load, &command, house.folder(), true)?;
        let output = program.output().ok_or("an output that is piped")?;
        Ok(Self { program, lines: BufReader::new(output).lines() })
    }

    /// Its process.
    pub const fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it says next.
    pub async fn next(&mut self) -> Result<Said, String> {
        match timeout(SILENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => Said::parse(&line),
            Ok(Ok(None)) => {
                self.program.gone(END).await?;
                Err(self.program.failed("ended without a summary"))
            }
            Ok(Err(error)) => Err(self.program.failed(&error.to_string())),
            Err(_) => Err(self.program.failed(&format!("says nothing for {SILENCE:?}"))),
        }
    }

    /// How it stands now. That it is over already is an error.
    pub async fn progress(&mut self) -> Result<Progress, String> {
        match self.next().await? {
            Said::Progress(progress) => Ok(progress),
            Said::Summary(summary) => Err(self.program.failed(&format!("ended too early: {summary}"))),
        }
    }

    /// Tells it to end, and returns its summary. Anything that failed is an error.
    pub async fn stop(mut self) -> Result<Value, String> {
        self.program.terminate();
        let summary = loop {
            if let Said::Summary(summary) = self.next().await? {
                break summary;
            }
        };
        // Its exit code is about more than faults: whether it was cut short, whether everybody had a turn.
        self.program.gone(END).await?;
        match faults(&summary) {
            Some(faults) => Err(format!("{faults}: {summary}")),
            None => Ok(summary),
        }
    }
}
