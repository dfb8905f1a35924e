//! The identity of a device: its SMBIOS system UUID.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The identity a device claims in its first message: its system UUID.
///
/// Displayed in lower case with hyphens, the only spelling MPS looks up (its in-memory map is
/// keyed by lower-case text).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(Uuid);

/// A text that is not 36 characters of hexadecimal digits and hyphens in the canonical places.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a device GUID: expected 8-4-4-4-12 hexadecimal digits")]
pub struct MalformedDeviceId;

impl DeviceId {
    /// Length of the text form, in bytes.
    pub const TEXT_LEN: usize = 36;

    /// The identity whose 16 bytes are in text order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Reads the 16 bytes of an APF message, whose first three groups are little-endian
    /// (SMBIOS 2.6 and later; the same mixed order as Microsoft's GUID).
    pub const fn from_wire(raw: [u8; 16]) -> Self {
        Self(Uuid::from_bytes_le(raw))
    }

    /// The 16 bytes as an APF message carries them.
    pub const fn to_wire(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// The 16 bytes in text order: what hashing and placement use.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for DeviceId {
    type Err = MalformedDeviceId;

    /// One spelling only, in either case, so that one device is never two keys.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != Self::TEXT_LEN {
            return Err(MalformedDeviceId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| MalformedDeviceId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(hex: &str) -> [u8; 16] {
        let value = u128::from_str_radix(hex, 16).expect("32 hexadecimal digits");
        value.to_be_bytes()
    }

    #[test]
    fn two_real_devices_read_as_their_vendors_print_them() {
        for (on_the_wire, text) in [
            ("44454c4c4d00104d8050b2c04f325133", "4c4c4544-004d-4d10-8050-b2c04f325133"),
            ("80b362d130c3e31182a540a8f0a2a536", "d162b380-c330-11e3-82a5-40a8f0a2a536"),
        ] {
            let device = DeviceId::from_wire(wire(on_the_wire));
            assert_eq!(device.to_string(), text);
            assert_eq!(device.to_wire(), wire(on_the_wire));
            assert_eq!(text.to_uppercase().parse(), Ok(device), "either case is the same device");
        }
    }

    #[test]
    fn only_the_hyphenated_spelling_is_a_device() {
        for text in [
            "",
            "4c4c4544004d4d108050b2c04f325133",
            "{4c4c4544-004d-4d10-8050-b2c04f3251}",
            "urn:uuid:4c4c4544-004d-4d10-8050-b2c",
            "4c4c4544-004d-4d10-8050-b2c04f32513g",
            "4c4c454-4004d-4d10-8050-b2c04f325133",
            " 4c4c4544-004d-4d10-8050-b2c04f32513",
        ] {
            assert_eq!(text.parse::<DeviceId>(), Err(MalformedDeviceId), "{text:?}");
        }
    }
}
