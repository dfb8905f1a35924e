//! Signals, as wishes.

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// SIGHUP: read certificates and settings again.
    Reload,
    /// SIGTERM or SIGINT: drain; a second one: exit at once.
    Stop,
}

/// The signals this process listens to.
pub struct Signals {}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> std::io::Result<Self> {
        todo!()
    }

    /// The next wish. Safe to cancel.
    pub async fn next(&mut self) -> Wish {
        todo!()
    }
}
