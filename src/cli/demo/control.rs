//! A door for whoever watches: `POST /stop/mps-1` stops a simulated MPS, `POST /start/mps-1` starts it.
//!
//! The instances live in this process, so that nobody can `kill` one of them.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::lifecycle::Drain;
use crate::net::listener::{Accepted, Listener};
use crate::sim::mps::Mps;

/// Connections at once, and how long each may last.
const CONNECTIONS: usize = 16;
const LIFE: Duration = Duration::from_secs(30);

/// Serves until `drain` begins; the address it listens on.
pub fn serve(all: Vec<Arc<Mps>>, seconds: u64, drain: &Drain) -> io::Result<SocketAddr> {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), Arc::new(Semaphore::new(CONNECTIONS)))?;
    let address = listener.local_addr();
    let tasks = drain.clone();
    drain.spawn(async move {
        loop {
            let Accepted { tcp, room, .. } = tokio::select! {
                biased;
                () = tasks.begun() => return,
                accepted = listener.accept() => accepted,
            };
            let (all, leaving) = (all.clone(), tasks.clone());
            tasks.spawn(async move {
                let service = service_fn(|request| answer(request, &all, seconds));
                let mut http = http1::Builder::new();
                let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), service);
                tokio::select! {
                    // How it ended is the client's business.
                    _ = timeout(LIFE, serving) => {}
                    () = leaving.begun() => {}
                }
                drop(room);
            });
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
    all: &[Arc<Mps>],
    seconds: u64,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = obey(request.method(), request.uri().path(), all, seconds).await;
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = status;
    Ok(response)
}

async fn obey(method: &Method, path: &str, all: &[Arc<Mps>], seconds: u64) -> (StatusCode, String) {
    let (_, wish) = path.split_once('/').unwrap_or_default();
    let (verb, name) = wish.split_once('/').unwrap_or_default();
    let Some(mps) = all.iter().find(|mps| mps.name() == name) else {
        return (StatusCode::NOT_FOUND, "POST /stop/mps-1 or /start/mps-1 (or mps-2)".to_owned());
    };
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "it takes a POST: curl -X POST ..".to_owned());
    }
    match verb {
        "stop" if !mps.is_running().await => (StatusCode::CONFLICT, format!("{name} is stopped already")),
        "stop" => {
            let devices = mps.connected().len();
            mps.stop().await;
            let told = format!("{name} is dead; its {devices} devices should be back within {seconds} s");
            (StatusCode::OK, told)
        }
        "start" => match mps.restart().await {
            Ok(()) => {
                (StatusCode::OK, format!("{name} runs; devices stay where they are until they reconnect"))
            }
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        },
        _ => (StatusCode::NOT_FOUND, "stop or start, nothing else".to_owned()),
    }
}
