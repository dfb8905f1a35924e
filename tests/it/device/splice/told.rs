//! What a gateway that splices tells its operator: at its start, once an hour for each source, one line
//! for each session, and figures.

use tempfile::TempDir;

use super::*;
use crate::gateway::Gateway as Program;

/// The body of `GET path`.
async fn get(admin: SocketAddr, path: &str) -> String {
    let mut tcp = within(TcpStream::connect(admin)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("asked");
    let answer = String::from_utf8(rest(&mut tcp).await).expect("text");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

#[tokio::test]
async fn an_operator_is_told_what_is_spliced() {
    let bare = Bare::start("old").await;
    let folder = TempDir::new().expect("a folder");
    let configuration = format!(
        "[device]\nlisten = [\"127.0.0.1:0\"]\nlegacy-tls = \"splice\"\n[admin]\nlisten = [\"127.0.0.1:0\"]\n\
         [drain]\nnotice = \"0s\"\nwindow = \"1s\"\n[instances.cira-tls]\nverify = \"none\"\n\
         [[instances.static]]\nname = \"old\"\ncira = \"{0}\"\nhttp = \"{0}\"\n",
        bare.address()
    );
    let mut gateway = Program::serve(folder.path(), &configuration).await;
    let warned = gateway.logged("past the guard; such sessions have no GUID").await;
    assert_eq!(warned["level"], "WARN", "{warned}");
    let (to, admin) = (gateway.address("device").await, gateway.address("admin").await);

    for round in 0..2 {
        let mut device = within(TcpStream::connect(to)).await.expect("it listens");
        device.write_all(&hello()).await.expect("said");
        let mut leg = bare.hears(&hello()).await;
        let instances = get(admin, "/admin/v1/instances").await;
        assert!(
            instances.contains("\"spliced-here\":1") && instances.contains("\"sessions-here\":0"),
            "{instances}"
        );
        let metrics = get(admin, "/metrics").await;
        assert!(metrics.contains("mps_gateway_spliced_sessions 1"), "{metrics}");
        leg.write_all(b"alert").await.expect("said");
        drop(leg);
        assert_eq!(rest(&mut device).await, b"alert", "{round}");
    }
    gateway.signal("TERM").await;
    gateway.logged("drained").await;
    let lines = gateway.log();
    let with = |text: &str| -> Vec<_> {
        lines.iter().filter(|l| l["message"].as_str().is_some_and(|m| m.contains(text))).collect()
    };
    let told = with("legacy TLS: spliced");
    assert_eq!(told.len(), 1, "once an hour: {told:?}");
    for (field, value) in [
        ("level", "WARN"),
        ("source", "127.0.0.1"),
        ("version", "tls10"),
        ("key_exchange", "rsa"),
        ("verdict", "version"),
    ] {
        assert_eq!(told[0][field], value, "{}", told[0]);
    }
    let sessions: Vec<_> = lines.iter().filter(|line| line["message"] == "session").collect();
    assert_eq!(sessions.len(), 2, "one line for each session");
    for line in sessions {
        for (field, value) in [
            ("level", "INFO"),
            ("stage", "spliced"),
            ("reason", "closed"),
            ("blame", "instance"),
            ("instance", "old"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert_eq!(
            (&line["spliced"], &line["from_device"], &line["from_instance"]),
            (&true.into(), &68.into(), &5.into())
        );
        assert!(line.get("device").is_none());
    }
}
