//! A small HTTP client: one kept-alive connection, JSON answers.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A client of one address. It connects when it has to, and again after an error.
pub struct Http {
    address: SocketAddr,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Http {
    /// A client of `address`, not yet connected.
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Status and JSON body (null if it is none) of `GET path`; `None` if nobody answers.
    pub async fn get(&mut self, path: &str) -> Option<(u16, Value)> {
        let (status, body) = self.bytes(path).await?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Body of `GET path` as text; `None` if nobody answers.
    pub async fn text(&mut self, path: &str) -> Option<String> {
        let (_, body) = self.bytes(path).await?;
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    async fn bytes(&mut self, path: &str) -> Option<(u16, Bytes)> {
        match timeout(LIMIT, self.try_get(path)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) | Err(_) => {
                self.connection = None;
                None
            }
        }
    }

    async fn try_get(&mut self, path: &str) -> Result<(u16, Bytes), Box<dyn std::error::Error>> {
        let mut connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let request = Request::get(path).header("host", self.address.to_string()).body(Empty::new())?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok((status, body))
    }

    #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error>> {
        let tcp = TcpStream::connect(self.address).await?;
        let (sender, connection) = handshake(TokioIo::new(tcp)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
