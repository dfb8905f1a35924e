//! What a reload does: certificate, instances, verification and bounds, live connections untouched.

use std::sync::Arc;

use tracing::{error, info};

use super::settings::{Settings, Source};
use super::{App, instance_client};
use crate::admin::Reloaded;
use crate::net::instance_tls::Verify;
use crate::telemetry::ReloadOutcome;

impl App {
    /// Reads the settings again and does what can be done while running. Either all of it or, when
    /// the new settings have problems, nothing.
    pub(super) async fn reload(&mut self) -> Reloaded {
        let done = match read(self.outside.source.clone()).await {
            Ok(Some(settings)) => self.take(settings).await,
            Ok(None) => self.certificate_again().await,
            Err(problems) => Err(problems),
        };
        match &done {
            Ok(restart) => {
                info!(?restart, "reloaded; the keys under restart need one");
                self.metrics.reloads.of(ReloadOutcome::Done).increment(1);
            }
            Err(problems) => {
                error!(?problems, "not reloaded: everything stays as it was");
                self.metrics.reloads.of(ReloadOutcome::Refused).increment(1);
            }
        }
        done
    }

    async fn certificate_again(&mut self) -> Reloaded {
        if let (Some(shown), Some(device)) = (&mut self.shown, &self.settings.device) {
            let replaced = shown.replace(&device.certificate).await;
            replaced.map_err(|error| vec![format!("device.certificate: {error}")])?;
        }
        Ok(vec![])
    }

    async fn take(&mut self, new: Settings) -> Reloaded {
        // What can fail comes first.
        let client = if same(self.settings.instance_tls.as_ref(), new.instance_tls.as_ref()) {
            None // the same client goes on, and its tickets with it
        } else {
            Some(instance_client(new.instance_tls.as_ref()).map_err(|error| vec![error.to_string()])?)
        };
        if let (Some(shown), Some(device)) = (&mut self.shown, &new.device) {
            let replaced = shown.replace(&device.certificate).await;
            replaced.map_err(|error| vec![format!("device.certificate: {error}")])?;
        }
        if let Some(client) = client {
            self.instance_tls.store(client);
        }
        self.instances.replace(new.instances.clone());
        if let (Some(plane), Some(device)) = (&self.plane, &new.device) {
            plane.reload(device.settings.clone());
        }
        if let (Some(plane), Some(api)) = (&self.api, &new.api) {
            plane.reload(api.clone());
        }
        let running = self.settings.restart.clone();
        let restart = running.changed(&new.restart);
        // What needs a restart still runs as it was started: the next reload must say so again.
        self.settings = Settings { restart: running, drain: self.settings.drain, ..new };
        Ok(restart)
    }
}

/// Reads the settings off the data path. `None`: there is nothing to read.
async fn read(source: Option<Source>) -> Result<Option<Settings>, Vec<String>> {
    let Some(source) = source else { return Ok(None) };
    let source = Arc::clone(&source);
    match tokio::task::spawn_blocking(move || source()).await {
        Ok(read) => read.map(Some),
        Err(error) => Err(vec![format!("the settings could not be read: {error}")]),
    }
}

fn same(one: Option<&Verify>, other: Option<&Verify>) -> bool {
    match (one, other) {
        (None, None) | (Some(Verify::None), Some(Verify::None)) => true,
        (Some(Verify::Ca(one)), Some(Verify::Ca(other))) => one == other,
        (Some(Verify::Full(one)), Some(Verify::Full(other))) => one == other,
        (Some(Verify::Pin(one)), Some(Verify::Pin(other))) => one == other,
        _ => false,
    }
}
