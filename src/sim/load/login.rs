//! From the first message to USERAUTH_SUCCESS.

use super::LoadSettings;
use super::failure::Failure;
use super::tunnel::{Lost, Party};
use crate::model::DeviceId;
use crate::sim::device::preamble;
use crate::sim::transfer::feed::Heard;
use crate::sim::transfer::outbox::Outbox;
use crate::wire::apf::{AUTH_SERVICE, Message, UserauthRequest};

/// A device that logs in.
pub(super) struct Login<'a> {
    settings: &'a LoadSettings,
    proven: bool,
}

impl<'a> Login<'a> {
    /// Says what a device says before it is asked.
    pub fn begin(settings: &'a LoadSettings, device: DeviceId, outbox: &mut Outbox) -> Self {
        outbox.say(&Message::ProtocolVersion(preamble(device)));
        outbox.say(&Message::ServiceRequest { service: AUTH_SERVICE });
        Self { settings, proven: false }
    }
}

impl Party for Login<'_> {
    fn hear(&mut self, heard: Heard<'_>, outbox: &mut Outbox) -> Result<(), Lost> {
        let Heard::Message(message) = heard else { return Ok(()) };
        match message {
            Message::ServiceAccept { service: AUTH_SERVICE } => {
                let (user, password) = (&self.settings.user, self.settings.password.expose());
                let login = UserauthRequest::password(user.as_bytes(), password.as_bytes());
                outbox.say(&Message::UserauthRequest(login));
            }
            Message::UserauthSuccess => self.proven = true,
            Message::UserauthFailure { .. } => return Err(Lost::Failed(Failure::LoginRefused)),
            Message::Disconnect { .. } => return Err(Lost::Disconnected),
            // Console's echo of PROTOCOL_VERSION, and whatever else servers may say.
            _ => {}
        }
        Ok(())
    }

    fn fill(&mut self, _: &mut Outbox) {}

    fn is_done(&self) -> bool {
        self.proven
    }
}
