//! `pin HOST:PORT`: what to write into `instances.cira-tls.pins`.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use humantime::format_rfc3339_seconds;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::exit;
use crate::model::Endpoint;
use crate::net::connect::peer_certificate;
use crate::net::instance_tls::Pin;

/// How long an instance may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Whose pins.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the instance listens for devices, `host:port`.
    instance: Endpoint,
}

/// Prints them.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(pins(&arguments.instance)) {
        Ok(report) => {
            print!("{report}");
            exit::OK
        }
        Err(problem) => {
            eprintln!("mps-gateway: {problem}");
            exit::FAILED
        }
    }
}

/// Asks an instance for its certificate, trusting anything: the report says what it showed.
async fn pins(instance: &Endpoint) -> Result<String, String> {
    let leaf = peer_certificate(instance, LIMIT).await.map_err(|error| {
        let mut told = format!("{instance}: {error}");
        let mut cause = error.source();
        while let Some(because) = cause {
            // A string takes everything.
            let _ = write!(told, ": {because}");
            cause = because.source();
        }
        told
    })?;
    report(&leaf).map_err(|problem| format!("{instance} shows a malformed certificate: {problem}"))
}

fn report(leaf: &CertificateDer<'_>) -> Result<String, String> {
    let [spki, certificate] = Pin::of(leaf).map_err(|error| error.to_string())?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let until = std::time::UNIX_EPOCH + Duration::from_secs(until);
    Ok(format!(
        "{spki}  # its key: stays when the certificate is renewed with the same key\n\
         {certificate}  # exactly this certificate\n\
         # common name: {}\n# valid until: {}\n\
         # Compare with what the instance's operator says: nothing here proves who answered.\n",
        // It comes from the other side: no escape sequence of it reaches a terminal.
        name.map_or_else(|| "none".to_owned(), |name| name.escape_debug().to_string()),
        format_rfc3339_seconds(until),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sim::mps::{Database, Mps, MpsSettings};
    use crate::sim::pki::{Authority, Keys};

    #[tokio::test]
    async fn the_pins_of_a_running_mps_are_printed() {
        let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
        let leaf = authority.issue("mps.example", &[]).expect("a leaf");
        let settings = MpsSettings::new("mps-1", Some(leaf.identity()), Arc::new(Database::empty()));
        let mps = Mps::start(settings).await.expect("free ports");
        let report = pins(&mps.cira().into()).await.expect("it shows a certificate");
        for pin in leaf.pins() {
            assert!(report.contains(&pin.to_string()), "{report}");
        }
        assert!(report.contains("common name: mps.example\n"), "{report}");
    }

    #[tokio::test]
    async fn who_does_not_answer_or_speaks_no_tls_is_named() {
        let plain = MpsSettings::new("mps-1", None, Arc::new(Database::empty()));
        let mps = Mps::start(plain).await.expect("free ports");
        let told = pins(&mps.http().into()).await.expect_err("that is the web port");
        assert!(told.starts_with(&format!("{}: tls: ", mps.http())), "{told}");
        let free = mps.http();
        mps.stop().await;
        let told = pins(&free.into()).await.expect_err("nobody listens");
        assert!(told.contains("refused"), "{told}");
    }
}
