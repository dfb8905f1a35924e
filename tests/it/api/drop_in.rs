//! Started and probed as mps-router is: by its environment and its flags, without a file.

use std::net::{Ipv4Addr, TcpListener};

use tokio::process::Command;

use crate::gateway::within;
use crate::process::Process;

/// Exit code of `mps-gateway FLAG` with the router's environment.
async fn probe(flag: &str, port: &str) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mps-gateway"));
    command.arg(flag).env_clear().env("PORT", port).kill_on_drop(true);
    within("the probe ends", command.output()).await.expect("it starts").status.code()
}

#[tokio::test]
async fn the_flags_of_the_router_say_by_exit_code_whether_the_listener_answers() {
    // Its own environment names one port only, so it has to be found free beforehand.
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = found.local_addr().expect("bound").port().to_string();
    drop(found);
    let flags = ["-health", "--health", "-health=true", "--health=true"];
    for flag in flags {
        assert_eq!(probe(flag, &port).await, Some(1), "{flag}: nobody is there");
    }
    let mut router = Process::start(&[], &[("PORT", &port), ("MPS_HOST", "127.0.0.1")]);
    router.until(|line| line.contains("serving").then_some(())).await;
    for flag in flags {
        assert_eq!(probe(flag, &port).await, Some(0), "{flag}: {}", router.said());
    }
    router.signal("STOP").await;
    assert_eq!(probe("-health", &port).await, Some(1), "it hangs");
    router.signal("CONT").await;
    assert_eq!(probe("--health=perhaps", &port).await, Some(64), "no such answer");
}
