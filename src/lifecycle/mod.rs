//! Life and death of the process: phases, counted tasks, paced leaving, signals.

mod drain;
mod phase;
mod pulse;
mod signals;

pub use drain::{Drain, Outlived, Ticket};
pub use phase::{Life, Phase, Phases};
pub use pulse::Pulse;
pub use signals::{Signals, Wish};
