//! The words everyone shares: who a device is, who an instance is, who holds whom.
//!
//! Values only: no I/O, no clock, no randomness (identities are made by their owners and passed in).

mod claim;
mod device_id;
mod instance;
mod secret;
mod source;

pub use claim::{Claim, Epoch, MalformedClaim, ReplicaId, SessionId, SessionKey};
pub use device_id::{DeviceId, MalformedDeviceId};
pub use instance::{Endpoint, InstanceName, MalformedEndpoint, MalformedInstanceName, Pool};
pub use secret::Secret;
pub use source::Source;
