//! Asks over HTTP, as any client would.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long all answers of one call may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes.
const LONGEST: usize = 64 * 1024;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// `GET`s each of `paths` over one connection: status and JSON of each, in order.
pub async fn get(address: SocketAddr, paths: Vec<String>) -> Result<Vec<(StatusCode, Value)>, Problem> {
    timeout(LIMIT, asking(address, paths)).await?
}

async fn asking(address: SocketAddr, paths: Vec<String>) -> Result<Vec<(StatusCode, Value)>, Problem> {
    let io = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(io).await?;
    // It takes the sender along, so that the connection ends when the last answer is read.
    let answers = async move {
        let mut answers = Vec::with_capacity(paths.len());
        for path in paths {
            let request =
                Request::get(path).header(header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await?.to_bytes();
            answers.push((status, serde_json::from_slice(&body)?));
        }
        Ok::<_, Problem>(answers)
    };
    // When the connection fails, so do the answers.
    let (answers, _ended) = tokio::join!(answers, connection);
    answers
}
