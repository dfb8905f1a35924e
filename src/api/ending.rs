//! How requests end: a closed set, each with its status, a label, somebody to blame and a sentence.

use hyper::StatusCode;

use crate::http::refusal::Refusal;
use crate::telemetry::{Label as _, Labels, label_set};

/// Seconds after which to ask again: an owner that died has its devices back elsewhere by then.
const LATER: u16 = 5;

label_set! {
    /// Whose doing an end was. Closed set: a metric label.
    pub enum Blame {
        /// Whoever asked.
        Caller = "caller",
        /// The directory.
        Directory = "directory",
        /// The instance, or that there is none.
        Instance = "instance",
        /// Nobody's: all went well.
        Nobody = "nobody",
        /// This gateway or its operator.
        Us = "us",
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $status:literal, $blame:ident, $message:literal;)+) => {
        /// Why a request ended. Closed set: with its blame, labels of a metric; fields of the log.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason { $($(#[$doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The label's text, and the word for programs.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whose doing it was.
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)+ }
            }

            /// The status of our answer; for those that are not answered by us, of the log alone.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)+ }
            }
        }
    };
}

reasons! {
    /// The target names a device ambiguously.
    Ambiguous = "ambiguous", 400, Caller, "the target names another device once it is decoded";
    /// An instance answered.
    Answered = "answered", 200, Nobody, "answered";
    /// A body longer than allowed.
    BodyTooLong = "body-too-long", 413, Caller, "the body is longer than api.max-body";
    /// The caller left before it was answered.
    CallerLeft = "left", 499, Caller, "the caller left";
    /// The directory is away, and nobody knew the device.
    DirectoryAway = "directory-away", 503, Directory, "who has the device cannot be found out now";
    /// A WebSocket was ended by a drain.
    Draining = "draining", 101, Us, "this replica leaves";
    /// A head longer than allowed.
    HeadTooLong = "head-too-long", 431, Caller, "the head is longer than api.max-head, or has too many lines";
    /// The instance's connection broke before its answer, or within it.
    InstanceBroke = "broke", 502, Instance, "the instance's connection broke, or what it said is no HTTP";
    /// A WebSocket's instance closed it.
    InstanceClosed = "closed", 101, Instance, "the instance closed";
    /// The instance did not answer in time.
    InstanceSlow = "slow", 504, Instance, "the instance did not answer in time";
    /// What came is no HTTP, or could be read in two ways.
    Malformed = "malformed", 400, Caller, "this is no HTTP/1.1 request, or could be read in two ways";
    /// Nobody is there to answer.
    NoInstance = "no-instance", 503, Instance, "no instance can be reached";
    /// No route for this path.
    NoRoute = "no-route", 404, Caller, "no route leads there";
    /// A page of ours.
    Own = "own", 200, Nobody, "a page of ours";
    /// The instance that has the device cannot be reached.
    OwnerDown = "owner-down", 503, Instance, "the instance that has the device cannot be reached";
    /// Both sides of a WebSocket were silent.
    Silent = "silent", 101, Caller, "both sides were silent";
    /// A request that did not come in time.
    Slow = "slow", 408, Caller, "the request did not come in time";
    /// A side of a WebSocket took no bytes.
    Stalled = "stalled", 101, Caller, "a side took no bytes";
    /// A WebSocket's caller closed it.
    UpgradeLeft = "closed", 101, Caller, "the caller closed";
}

impl Reason {
    /// The answer of ours.
    pub fn refusal(self) -> Refusal {
        let status = match self {
            Self::CallerLeft => StatusCode::BAD_REQUEST, // in the middle of its body, and may yet listen
            _ => StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(LATER);
        Refusal { status, error: self.reason(), message: self.message(), retry_after }
    }
}

/// Two labels of which one decides the other: as many series as there are reasons.
impl Labels for Reason {
    fn count() -> usize {
        Self::ALL.len()
    }

    fn place(self) -> usize {
        self as usize
    }

    fn texts(place: usize) -> Vec<&'static str> {
        let reason = Self::ALL[place];
        vec![reason.reason(), reason.blame().label()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_and_its_blame_are_unique_and_in_their_place() {
        let series: std::collections::BTreeSet<_> = (0..Reason::count()).map(Reason::texts).collect();
        assert_eq!(series.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| reason.place() == place));
        assert!(Reason::ALL.iter().is_sorted_by_key(|r| format!("{r:?}")), "by name");
    }

    #[test]
    fn whoever_may_ask_again_is_told_when() {
        for reason in Reason::ALL {
            let refusal = reason.refusal();
            assert_eq!(refusal.retry_after.is_some(), refusal.status == 503, "{reason:?}");
        }
    }
}
