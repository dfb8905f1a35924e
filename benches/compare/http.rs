//! One question over HTTP: enough for instances and the admin API.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);
const LONGEST: u64 = 1 << 20;

/// The JSON that `address` answers to GET `path`; `Null`: 404.
pub async fn get(address: SocketAddr, path: &str) -> Result<Value, String> {
    let failed = |why: &str| format!("GET http://{address}{path}: {why}");
    let asked = async {
        let mut tcp = TcpStream::connect(address).await?;
        let question = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        tcp.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        tcp.take(LONGEST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(LIMIT, asked).await.map_err(|_| failed("no answer"))?;
    let answer = answer.map_err(|error| failed(&error.to_string()))?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| failed("an answer that is not understood"))
}

/// The JSON of an answer; `None`: no good answer.
pub fn parse(answer: &str) -> Option<Value> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    match head.split(' ').nth(1)? {
        "200" => serde_json::from_str(body).ok(),
        "404" => Some(Value::Null),
        _ => None,
    }
}
