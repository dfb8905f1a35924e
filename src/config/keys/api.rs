//! The keys of the api plane: every bound of a request.

use super::Key;

/// Keys of `[api]`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key::new("api.listen", r#"["0.0.0.0:8003"]"#, "list of addresses",
        "Where requests come, as a rule from Kong. 8003 is the port of mps-router."),
    Key::new("api.routes", r#"["/ mps"]"#, "list of routes",
        "Which pool answers which path: \"PREFIX POOL\", or \"PREFIX POOL strip\" to take the prefix off on the\n\
         way. The longest prefix of whole segments counts. Pools: mps, rps.").live(),
    Key::new("api.trusted-proxies", "[]", "list of networks",
        "Proxies, as 10.0.0.0/8 or one address, whose X-Forwarded-For, -Proto and -Host are believed and\n\
         added to; what anybody else says there is replaced.").new_sessions(),
    Key::new("api.canonical-guid", "true", "true | false",
        "Whether a device's GUID is sent on in lower case: MPS answers 404 to any other spelling.").live(),
    Key::new("api.max-connections", "20000", "count",
        "Connections at once, WebSockets included; more wait in the kernel's queue. Each takes up to two open\n\
         files. No more than the limit of open files allows, less 512."),
    Key::new("api.max-head", "16384", "bytes, 8192 to 1048576",
        "The longest head of a request. Node, and so MPS, takes no longer one. It may have 100 lines.").new_sessions(),
    Key::new("api.max-body", "10485760", "bytes",
        "The longest body of a request. It is never held in memory as a whole. MPS takes 100 kB of JSON.").live(),
    Key::new("api.replay-limit", "65536", "bytes, at most 1048576",
        "A body up to this length is kept while its request is under way, so that it can be sent to another\n\
         instance when a device has moved.").live(),
    Key::new("api.head-timeout", r#""10s""#, "duration",
        "Time for the head of a request, from its first byte.").new_sessions(),
    Key::new("api.body-timeout", r#""30s""#, "duration",
        "Silence of a caller in the middle of a body.").live(),
    Key::new("api.idle-timeout", r#""75s""#, "duration",
        "Silence of a caller between two requests: longer than Kong keeps a connection (60 s), so that it is\n\
         Kong that closes and no request is lost on the way.").new_sessions(),
    Key::new("api.stall", r#""60s""#, "duration",
        "A write that makes no progress for so long ends the connection.").new_sessions(),
    Key::new("api.connect-timeout", r#""3s""#, "duration",
        "Time for one connect to an instance."),
    Key::new("api.response-timeout", r#""120s""#, "duration",
        "Silence of an instance before its answer and within it. MPS gives a device 10 s for each step."),
    Key::new("api.instance-idle", r#""3500ms""#, "duration, less than 5s",
        "How long a connection to an instance waits for its next request. Node, and so MPS, closes after 5 s."),
    Key::new("api.instance-connections", "256", "count",
        "Connections to one instance that wait for their next request."),
    Key::new("api.upgrade-idle", r#""1h""#, "duration",
        "Silence of both sides that ends a WebSocket. A still KVM screen says nothing; who is gone is noticed\n\
         by TCP keep-alive within a minute.").new_sessions(),
    Key::new("api.grace", r#""2s""#, "duration",
        "How long the end of a WebSocket may take before its sockets are dropped.").new_sessions(),
];
