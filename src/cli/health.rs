//! `health`: asks the gateway that runs beside us whether it is ready, for container supervisors.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{check_config, exit};
use crate::config::{Given, Loaded};

/// Supervisors kill a probe that takes longer.
const LIMIT: Duration = Duration::from_secs(3);

/// Prints what readiness says, asked of the api listener or, where there is none, of admin; exit 0 when
/// it is ready.
pub fn run(file: Option<PathBuf>) -> ExitCode {
    let settings = match check_config::load(&Given::of_process(file)) {
        Ok(Loaded { settings, .. }) => settings,
        Err(code) => return code,
    };
    // Where requests are taken, if they are: a listener that hangs is not healthy, whatever admin says.
    let api = settings.api.and_then(|api| api.listen.first().copied()).map(|address| (address, "/-/readyz"));
    let admin = || settings.admin.and_then(|admin| admin.listen.first().copied());
    let Some((address, path)) = api.or_else(|| admin().map(|address| (address, "/readyz"))) else {
        eprintln!("mps-gateway: there is neither [api] nor [admin] to ask");
        return exit::FAILED;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mps-gateway: cannot start: {error}");
            return ExitCode::from(exit::SYSTEM);
        }
    };
    match runtime.block_on(async { timeout(LIMIT, ask(reachable(address), path)).await }) {
        Ok(Ok((status, body))) => {
            println!("{body}");
            if status == StatusCode::OK { exit::OK } else { exit::FAILED }
        }
        Ok(Err(error)) => {
            eprintln!("mps-gateway: {address}: {error}");
            exit::FAILED
        }
        Err(_) => {
            eprintln!("mps-gateway: {address}: no answer within {LIMIT:?}");
            exit::FAILED
        }
    }
}

/// Where a listener is reached from this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        address.set_ip(if address.is_ipv4() { loopback.0 } else { loopback.1 });
    }
    address
}

async fn ask(address: SocketAddr, path: &str) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let io = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    // It takes the sender along, so that the connection ends when the answer is read.
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // When the connection fails, so does the answer.
    let (answer, _ended) = tokio::join!(answer, connection);
    answer
}
