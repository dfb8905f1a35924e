//! What can go wrong, and how connections end: closed sets.

use std::io;

use rustls::AlertDescription as Alert;

use super::tunnel::Lost;

/// How far a connection was when it failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// From the first message to USERAUTH_SUCCESS.
    Login,
    /// What is done after the login: ports offered, channels, data.
    Work,
}

/// Why a device failed. Its [`Failure::reason`] is from a closed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// TLS: the server said this alert.
    Alert(Alert),
    /// The server refused the channel a device opened, as real ones do.
    ChannelRefused,
    /// The server closed, or the connection broke.
    Closed(Stage),
    /// Data arrived changed, or not all of it.
    Corrupt,
    /// The server said DISCONNECT.
    Disconnected,
    /// The server refused the login.
    LoginRefused,
    /// The server said what no device understands, or refused what servers grant.
    Malformed,
    /// We lack a port, a file or memory: this says nothing about the server.
    Ours,
    /// TCP was refused.
    Refused,
    /// No answer in time.
    TimedOut(Stage),
    /// TLS failed in another manner.
    Tls,
    /// TCP cannot get there.
    Unreachable,
    /// The server's certificate is not to be trusted.
    Untrusted,
}

impl Failure {
    /// A label: a closed set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Alert(alert) => reason_of(alert),
            Self::ChannelRefused => "channel refused",
            Self::Closed(Stage::Tcp) => "closed in tcp",
            Self::Closed(Stage::Tls) => "closed in tls",
            Self::Closed(Stage::Login) => "closed before proof",
            Self::Closed(Stage::Work) => "closed at work",
            Self::Corrupt => "corrupt",
            Self::Disconnected => "disconnect",
            Self::LoginRefused => "login refused",
            Self::Malformed => "malformed",
            Self::Ours => "out of ports or files",
            Self::Refused => "refused",
            Self::TimedOut(Stage::Tcp) => "timed out in tcp",
            Self::TimedOut(Stage::Tls) => "timed out in tls",
            Self::TimedOut(Stage::Login) => "timed out before proof",
            Self::TimedOut(Stage::Work) => "timed out at work",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
            Self::Untrusted => "tls certificate not trusted",
        }
    }

    /// TCP did not come about.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            _ if is_ours(error) => Self::Ours,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed(Stage::Tcp),
            io::ErrorKind::TimedOut => Self::TimedOut(Stage::Tcp),
            _ => Self::Unreachable,
        }
    }

    /// The TLS handshake did not come about.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted,
            Some(_) => Self::Tls,
            None => Self::Closed(Stage::Tls),
        }
    }

    /// A connection that was there was lost in `stage`.
    pub(super) fn of_lost(lost: &Lost, stage: Stage) -> Self {
        match lost {
            Lost::Broken(error) => {
                let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                match tls {
                    Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
                    Some(_) => Self::Tls,
                    None => Self::Closed(stage),
                }
            }
            Lost::Closed => Self::Closed(stage),
            Lost::Disconnected => Self::Disconnected,
            Lost::Failed(failure) => *failure,
            Lost::Malformed => Self::Malformed,
        }
    }
}

fn is_ours(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

/// Those a server has reason to say.
const fn reason_of(alert: Alert) -> &'static str {
    match alert {
        Alert::AccessDenied => "tls alert/access_denied",
        Alert::BadCertificate => "tls alert/bad_certificate",
        Alert::CertificateRequired => "tls alert/certificate_required",
        Alert::CloseNotify => "tls alert/close_notify",
        Alert::DecodeError => "tls alert/decode_error",
        Alert::HandshakeFailure => "tls alert/handshake_failure",
        Alert::IllegalParameter => "tls alert/illegal_parameter",
        Alert::InsufficientSecurity => "tls alert/insufficient_security",
        Alert::InternalError => "tls alert/internal_error",
        Alert::ProtocolVersion => "tls alert/protocol_version",
        Alert::UnexpectedMessage => "tls alert/unexpected_message",
        Alert::UnrecognisedName => "tls alert/unrecognized_name",
        Alert::UserCanceled => "tls alert/user_canceled",
        _ => "tls alert/other",
    }
}

/// How a connection that had logged in ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The device had done its work.
    Done,
    /// The device failed at its work.
    Failed,
    /// The device had stayed as long as it was to.
    Held,
    /// The run was over.
    Over,
    /// The server closed.
    ServerClosed,
    /// The server said DISCONNECT.
    ServerDisconnected,
    /// The server said what no device understands.
    ServerMalformed,
    /// The server broke the connection without closing it.
    ServerReset,
    /// The server said nothing for too long.
    ServerSilent,
}

impl Ended {
    /// Who and why: a closed set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Done => "device: done",
            Self::Failed => "device: failed",
            Self::Held => "device: held as long as told",
            Self::Over => "device: the run is over",
            Self::ServerClosed => "server: closed",
            Self::ServerDisconnected => "server: disconnect",
            Self::ServerMalformed => "server: malformed",
            Self::ServerReset => "server: reset",
            Self::ServerSilent => "server: silent",
        }
    }

    /// Whether it was the server's doing.
    pub const fn is_servers(self) -> bool {
        match self {
            Self::Done | Self::Failed | Self::Held | Self::Over => false,
            Self::ServerClosed
            | Self::ServerDisconnected
            | Self::ServerMalformed
            | Self::ServerReset
            | Self::ServerSilent => true,
        }
    }
}
