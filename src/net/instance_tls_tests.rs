use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::net::fixtures::Leaf;
use crate::net::server_tls::ServerTls;
use crate::net::tls_stream::ClientStream;

async fn meet(
    server: &ServerTls,
    client: &InstanceTls,
    name: &str,
) -> Result<ClientStream<DuplexStream>, String> {
    let (near, far) = tokio::io::duplex(65536);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let serve = async {
        let mut stream = server.handshake(far).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        std::io::Result::Ok(stream)
    };
    let (client, served) =
        tokio::join!(ClientStream::handshake(near, client.session(name).expect("a session")), serve);
    let mut client = client.map_err(|error| error.to_string())?;
    let _served = served.map_err(|error| error.to_string())?;
    client.read_u8().await.map_err(|error| error.to_string())?; // tickets come before it
    Ok(client)
}

fn server(leaf: &Leaf) -> ServerTls {
    ServerTls::new(leaf.identity()).expect("a good identity")
}

fn client(verify: Verify) -> InstanceTls {
    InstanceTls::new(&verify).expect("good settings")
}

#[tokio::test]
async fn a_pin_of_the_leaf_or_its_key_is_enough_and_any_other_leaf_is_refused() {
    let (leaf, other) = (Leaf::like_mps("mps"), Leaf::ecdsa("mps"));
    let pins = Pin::of(&leaf.chain()[0]).expect("a certificate");
    let strange = Pin::Spki([7; 32]);
    for pin in pins {
        let client = client(Verify::Pin(vec![strange, pin]));
        meet(&server(&leaf), &client, "10.0.0.11").await.expect("pinned");
        let error = meet(&server(&other), &client, "10.0.0.12").await.expect_err("not pinned");
        let shown = Pin::of(&other.chain()[0]).expect("a certificate")[0];
        assert!(error.contains(&shown.to_string()), "{error} names what is shown");
    }
    meet(&server(&leaf), &client(Verify::Pin(vec![])), "10.0.0.11").await.expect_err("nothing is pinned");
}

/// The key's hash under the other kind's name must not match.
#[tokio::test]
async fn a_pin_is_of_one_kind() {
    let leaf = Leaf::ecdsa("mps");
    let [Pin::Spki(spki), Pin::Cert(cert)] = Pin::of(&leaf.chain()[0]).expect("a certificate") else {
        panic!("first the key, then the leaf");
    };
    let swapped = client(Verify::Pin(vec![Pin::Cert(spki), Pin::Spki(cert)]));
    meet(&server(&leaf), &swapped, "10.0.0.11").await.expect_err("kinds are not mixed");
}

#[tokio::test]
async fn the_root_accepts_what_mps_generates_under_any_name_and_no_other_root() {
    let (leaf, other) = (Leaf::like_mps("mps"), Leaf::ecdsa("mps"));
    let client = client(Verify::Ca(vec![leaf.root()]));
    for name in ["10.0.0.11", "fd00::1", "stack_mps.1.abc"] {
        meet(&server(&leaf), &client, name).await.expect(name);
    }
    meet(&server(&other), &client, "10.0.0.12").await.expect_err("another root");
}

#[tokio::test]
async fn full_checks_the_name_too() {
    let leaf = Leaf::ecdsa("mps.example.org");
    let client = client(Verify::Full(vec![leaf.root()]));
    meet(&server(&leaf), &client, "mps.example.org").await.expect("its name");
    meet(&server(&leaf), &client, "rps.example.org").await.expect_err("another name");
    let odd = Leaf::like_mps("mps.example.org");
    let full = InstanceTls::new(&Verify::Full(vec![odd.root()])).expect("good settings");
    meet(&server(&odd), &full, "mps.example.org").await.expect_err("URIs are no names of hosts");
}

#[tokio::test]
async fn none_accepts_anything() {
    meet(&server(&Leaf::like_mps("mps")), &client(Verify::None), "10.0.0.11").await.expect("anything");
}

#[tokio::test]
async fn sessions_resume_per_instance_and_a_new_client_starts_anew() {
    let leaf = Leaf::ecdsa("mps");
    let server = server(&leaf);
    let pins = Pin::of(&leaf.chain()[0]).expect("a certificate").to_vec();
    let first = client(Verify::Pin(pins.clone()));
    let kind = |stream: ClientStream<DuplexStream>| stream.get_ref().1.handshake_kind();
    for (client, name, expected) in [
        (&first, "10.0.0.11", HandshakeKind::Full),
        (&first, "10.0.0.11", HandshakeKind::Resumed),
        (&first, "10.0.0.12", HandshakeKind::Full),
        (&client(Verify::Pin(pins)), "10.0.0.11", HandshakeKind::Full),
    ] {
        assert_eq!(kind(meet(&server, client, name).await.expect("pinned")), Some(expected), "{name}");
    }
}

#[test]
fn roots_that_are_none_are_refused() {
    for verify in
        [Verify::Ca(vec![]), Verify::Full(vec![]), Verify::Ca(vec![CertificateDer::from(vec![1, 2, 3])])]
    {
        InstanceTls::new(&verify).map(|_| ()).expect_err("no root");
    }
}

#[test]
fn a_pin_reads_back_in_every_spelling() {
    let bytes: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 7 % 256).expect("below 256"));
    for pin in [Pin::Cert(bytes), Pin::Spki(bytes)] {
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    for text in [hex.concat(), hex.concat().to_lowercase(), hex.join(":")] {
        assert_eq!(format!("cert-sha256:{text}").parse(), Ok(Pin::Cert(bytes)), "{text}");
    }
    let base64 = Pin::Cert(bytes).to_string();
    for text in
        ["", "cert-sha256:", "cert-sha256:00", "sha256:00", &base64[12..], &base64[..50], "cert-sha256:é"]
    {
        assert_eq!(text.parse::<Pin>(), Err(MalformedPin), "{text:?}");
    }
}
