//! `openssl s_client`: one run of it is one connection, and what it prints is what the client saw.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::house::House;
use crate::gateway::within;
use crate::required::required;

/// One run of `openssl s_client`.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    said: Vec<u8>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Seen {
    status: ExitStatus,
    /// Standard output and error, as text.
    text: String,
}

/// Whether `openssl` is there.
pub fn installed() -> Option<()> {
    let found = std::process::Command::new("openssl").arg("version").output();
    required("openssl", "apt-get install openssl", found.ok().map(drop))
}

impl Client {
    /// Calls the gateway of `house`, checks its certificate, and offers what `options` say.
    pub fn call(house: &House, options: &str) -> Self {
        let mut command = Command::new("openssl");
        let address = house.device.to_string();
        command.args(["s_client", "-connect", &address, "-nocommands", "-verify_return_error", "-CAfile"]);
        command.arg(house.root()).args(options.split_whitespace()).env_remove("OPENSSL_CONF");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("openssl starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, input, output, said: Vec::new() }
    }

    /// Sends `bytes` into the tunnel.
    pub async fn say(&mut self, bytes: &[u8]) {
        // It may have left already: then what it saw says why.
        let _ = self.input.write_all(bytes).await;
        let _ = self.input.flush().await;
    }

    /// Waits until `bytes` came out of the tunnel. What was printed till then counts as heard.
    pub async fn hears(&mut self, name: &str, bytes: &[u8]) {
        let heard = async {
            loop {
                if let Some(at) = self.said.windows(bytes.len()).position(|w| w == bytes) {
                    return at;
                }
                let more = self.output.read_buf(&mut self.said).await.expect("a pipe");
                assert!(more > 0, "{name}: it ended before {bytes:02x?}\n{}", lossy(&self.said));
            }
        };
        within(name, heard).await;
    }

    /// Lets it go: whoever hears the end of its input says close_notify and leaves.
    pub async fn leaves(self, name: &str) -> Seen {
        drop(self.input);
        let (mut said, mut output) = (self.said, self.output);
        within(name, output.read_to_end(&mut said)).await.expect("a pipe");
        let ended = within(name, self.child.wait_with_output()).await.expect("a child of ours");
        said.extend(ended.stderr);
        Seen { status: ended.status, text: lossy(&said) }
    }

    /// Waits until the gateway ends it.
    pub async fn ends(mut self, name: &str) -> Seen {
        within(name, self.output.read_to_end(&mut self.said)).await.expect("a pipe");
        self.leaves(name).await
    }
}

impl Seen {
    /// Whether it left content: nothing broke, the close included.
    pub fn content(&self) -> bool {
        self.status.success()
    }

    /// The number of the fatal alert it was sent.
    pub fn alert(&self) -> Option<u8> {
        after(&self.text, "SSL alert number ")?.trim().parse().ok()
    }

    /// Version and suite, and whether the session was resumed.
    pub fn negotiated(&self) -> Option<(&str, &str, bool)> {
        let line = self.text.lines().find(|line| line.contains(", Cipher is "))?;
        let (how, rest) = line.split_once(", ")?;
        let (version, suite) = rest.split_once(", Cipher is ")?;
        (version != "(NONE)").then_some((version, suite, how == "Reused"))
    }

    /// The group of the key exchange, as OpenSSL calls it.
    pub fn group(&self) -> Option<&str> {
        let named = after(&self.text, " Temp Key: ")?; // "Server" or, of late, "Peer"
        named.trim_start_matches("ECDH, ").split(',').next()
    }
}

/// What follows `word` in its line.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(word)).map(|(_, rest)| rest)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
