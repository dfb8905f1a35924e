//! Who the devices are.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::DeviceId;

/// The GUID of each device: those of a list, or so many in a row.
#[derive(Clone, Debug)]
pub enum Guids {
    /// Device `i` is this number plus `i`.
    From(DeviceId),
    /// Device `i` is the `i`th; behind the last one they begin again. Not empty.
    List(Arc<[DeviceId]>),
}

/// A list of GUIDs that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedGuids {
    /// Not one in it.
    #[error("no GUID in it")]
    Empty,
    /// A line is no GUID.
    #[error("line {line}: {text:?} is no GUID (8-4-4-4-12 hexadecimal digits)")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A device would displace itself.
    #[error("line {line}: {device} is there twice")]
    Twice {
        /// Which, from 1.
        line: usize,
        /// Who.
        device: DeviceId,
    },
}

impl Default for Guids {
    /// From `4c4c4544-0000-1000-8000-000000000000` on, which looks like Dell's and is none.
    fn default() -> Self {
        Self::From(DeviceId::from_bytes(*b"LLED\0\0\x10\0\x80\0\0\0\0\0\0\0"))
    }
}

impl Guids {
    /// One GUID a line, each once; empty lines and those that begin with `#` do not count.
    pub fn parse(text: &str) -> Result<Self, MalformedGuids> {
        let (mut guids, mut seen) = (Vec::new(), HashSet::new());
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = |_| MalformedGuids::Line { line: i + 1, text: line.to_owned() };
            let device: DeviceId = line.parse().map_err(malformed)?;
            if !seen.insert(device) {
                return Err(MalformedGuids::Twice { line: i + 1, device });
            }
            guids.push(device);
        }
        if guids.is_empty() { Err(MalformedGuids::Empty) } else { Ok(Self::List(guids.into())) }
    }

    /// The GUID of device `i`.
    pub fn get(&self, i: usize) -> DeviceId {
        match self {
            Self::From(base) => {
                let number = u128::from_be_bytes(*base.as_bytes()).wrapping_add(i as u128);
                DeviceId::from_bytes(number.to_be_bytes())
            }
            Self::List(list) => list[i % list.len()],
        }
    }

    /// How many different ones there are; `None`: more than anybody needs.
    pub fn how_many(&self) -> Option<usize> {
        match self {
            Self::From(_) => None,
            Self::List(list) => Some(list.len()),
        }
    }
}
