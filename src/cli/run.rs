//! `run`: the gateway itself, until a signal.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{check_config, exit, runtime};
use crate::app::{App, BindError, Ended, Outside, Settings, Source};
use crate::config::{self, Given, Loaded};
use crate::directory::OpenError;
use crate::lifecycle::{Signals, Wish};
use crate::telemetry::{self, Format, build};

/// Runs until a signal has been obeyed.
pub fn run(file: Option<PathBuf>) -> ExitCode {
    let given = Given::of_process(file);
    let Loaded { settings, warnings } = match check_config::load(&given) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    telemetry::init_log(settings.log.format.unwrap_or_else(Format::of_stderr), &settings.log.filter);
    let config = given.file.as_ref().map(|file| file.display().to_string());
    info!(version = build::VERSION, commit = build::COMMIT, config, "mps-gateway starts");
    for warning in &warnings {
        warn!("{warning}");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let outside = Outside { source: Some(source(given)), store: None };
    let code = runtime.block_on(async {
        // Signals before anything else: from here on none ends us without our doing.
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "cannot listen to signals");
                return ExitCode::from(exit::SYSTEM);
            }
        };
        let (wish, wishes) = mpsc::channel(4);
        tokio::select! {
            ended = live(settings, outside, wishes) => match ended {
                Ok(Ended::Drained | Ended::Outlived(_)) => exit::OK,
                Ok(Ended::CutShort) => exit::FAILED,
                Err(error) => {
                    error!("{error}");
                    code_of(&error)
                }
            },
            () = forward(signals, wish) => unreachable!("signals do not end"),
        }
    });
    // Whatever is still in a system call (a look-up of a name) does not keep us.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn live(
    settings: Settings,
    outside: Outside,
    mut wishes: mpsc::Receiver<Wish>,
) -> Result<Ended, BindError> {
    let app = tokio::select! {
        app = App::bind(settings, outside) => app?,
        () = stopped(&mut wishes) => return Ok(Ended::Drained), // nobody called yet
    };
    Ok(app.run(wishes).await)
}

async fn stopped(wishes: &mut mpsc::Receiver<Wish>) {
    while wishes.recv().await == Some(Wish::Reload) {} // the settings are fresh
}

/// Wishes in their order. One that finds no room is dropped: as many wait already as can matter.
async fn forward(mut signals: Signals, wishes: mpsc::Sender<Wish>) {
    loop {
        let wish = signals.next().await;
        info!(?wish, "signal");
        if wishes.try_send(wish).is_err() {
            warn!(?wish, "too many signals at once: this one is left out");
        }
    }
}

fn source(given: Given) -> Source {
    Arc::new(move || {
        let loaded = config::load(&given).map_err(|problems| problems.lines())?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        Ok(loaded.settings)
    })
}

fn code_of(error: &BindError) -> ExitCode {
    ExitCode::from(match error {
        BindError::Address { .. } => exit::UNAVAILABLE,
        BindError::Certificate(_) | BindError::InstanceTls(_) | BindError::Directory(OpenError::Url(_)) => {
            exit::CONFIG
        }
        BindError::Directory(OpenError::Schema(_)) => exit::PROTOCOL,
        BindError::Generate(_) | BindError::System { .. } => exit::SYSTEM,
    })
}
