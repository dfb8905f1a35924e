//! The keys of the CIRA plane: every bound of a session.

use super::Key;

/// Keys of `[device]`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key::new("device.listen", r#"["0.0.0.0:4433"]"#, "list of addresses",
        "Where devices call. \"[::]:4433\" takes IPv4 as well. 4433 is the port of MPS."),
    Key::absent("device.certificate", r#""cira.crt""#, "path, from the folder of this file",
        "PEM: leaf, then chain. All replicas must show the same, whose root devices trust and whose common\n\
         name is the MPS name they were given. Needed with a shared directory; with memory: one is made up\n\
         at each start. A changed file is noticed within 10 s.").new_sessions(),
    Key::absent("device.private-key", r#""cira.key""#, "path, from the folder of this file",
        "PEM: the leaf's key, PKCS#8, PKCS#1 or SEC1. 2048 bits suit all firmware; AMT 12 refuses 3072.").new_sessions(),
    Key::new("device.legacy-tls", r#""refuse""#, "refuse | splice",
        "What happens to a hello that offers nothing we can serve (AMT 11 and older, perhaps 12). Either way\n\
         it is counted by version and key exchange. splice relays it as it is to an instance chosen by the\n\
         caller's address, which must accept such TLS itself: no GUID, so no routing to an owner and no\n\
         claim; no guard, so anybody steps around the guard by sending an old hello. Not with plain\n\
         instances (instances.cira-tls.enabled = false).").new_sessions(),
    Key::new("device.guard", r#""strict""#, "strict | preamble",
        "How long bytes of a device are judged: for the whole session, or only until it is authenticated.\n\
         preamble is for firmware that strict mistreats; tell us when you need it: with it, whoever has a\n\
         password may say DISCONNECT or a second identity after its login, and MPS believes it.").new_sessions(),
    Key::new("device.hold", r#""30s""#, "duration",
        "How long a device waits when no instance can take it. Firmware that is refused stays away for many\n\
         minutes; half of max-connections may wait.").new_sessions(),
    Key::new("device.max-connections", "100000", "count",
        "Connections at once. More wait in the kernel's queue. Each takes two open files and about 20 KiB,\n\
         half of it the kernel's. No more than the limit of open files allows, less 512."),
    Key::new("device.max-preauth", "2000", "count",
        "Connections at once on their way to a login, of which each may have one connection to an instance:\n\
         what an attacker without password can take. Devices that wait for an instance (hold) and\n\
         connections that are being closed are not among them.").live(),
    Key::new("device.max-spliced", "2000", "count",
        "Connections at once that are spliced (legacy-tls), those that wait for an instance included. They\n\
         never prove themselves, so an attacker without password can keep as many, and as many connections\n\
         to instances. When all are taken, the address (IPv6: /64) with the most gives its youngest up to\n\
         one with fewer; else the newcomer is closed. Somewhat more than there are such devices will do.\n\
         Behind a balancer that sends no PROXY header all are one address: whoever fills it keeps it. Where\n\
         open files allow no more connections than this, half of those.").new_sessions(),
    Key::new("device.proxy-from", "[]", "list of networks",
        "Load balancers, as 10.0.0.0/8 or one address: connections from there must begin with a PROXY header\n\
         (v1 or v2), all others must not.").new_sessions(),
    Key::new("device.proxy-timeout", r#""5s""#, "duration",
        "Time for the PROXY header, which a balancer sends at once.").new_sessions(),
    Key::new("device.hello-timeout", r#""10s""#, "duration",
        "Time for the TLS hello; enough for a slow mobile network.").new_sessions(),
    Key::new("device.handshake-timeout", r#""10s""#, "duration",
        "Time for the TLS handshake, waiting for its turn included.").new_sessions(),
    Key::new("device.max-handshakes", "0", "count, 0: four for each core",
        "Handshakes at once. The rest wait for their turn, so that sessions which live keep the processor."),
    Key::new("device.preamble-timeout", r#""10s""#, "duration",
        "Time for the first APF message, in which a device names itself.").new_sessions(),
    Key::new("device.connect-timeout", r#""3s""#, "duration",
        "Time for one connect to an instance, TLS included.").new_sessions(),
    Key::new("device.connect-total", r#""10s""#, "duration",
        "Time for all connects of one device.").new_sessions(),
    Key::new("device.connect-candidates", "3", "count",
        "Instances tried for one device before it is held.").new_sessions(),
    Key::new("device.proof-device-silence", r#""30s""#, "duration",
        "Before it is authenticated, silence of a device ends its session.").new_sessions(),
    Key::new("device.proof-timeout", r#""85s""#, "duration",
        "Time for the instance to authenticate a device: MPS asks its database and its secret store, and\n\
         devices give up after 90 s.").new_sessions(),
    Key::new("device.max-login-failures", "3", "count",
        "Wrong passwords that end a session.").new_sessions(),
    Key::new("device.login-backoff", r#""source""#, "source | off",
        "Whom failed logins keep away: the GUID that failed, from the network that failed, for 30 s each\n\
         after six. Behind a balancer that sends no PROXY header all sources are one network: write off, or\n\
         anybody who knows a GUID keeps that device away from this replica.").new_sessions(),
    Key::new("device.claim-wait", r#""250ms""#, "duration",
        "How long an authenticated device waits for the directory. It is served in any case.").new_sessions(),
    Key::new("device.silence", r#""120s""#, "duration",
        "Silence of both sides that ends a session: several APF keep-alives.").new_sessions(),
    Key::new("device.stall", r#""60s""#, "duration",
        "A write that makes no progress for so long ends the session.").new_sessions(),
    Key::new("device.grace", r#""2s""#, "duration",
        "How long the end of a session may take before its sockets are dropped.").new_sessions(),
];
