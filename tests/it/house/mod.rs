//! The rules of the house, kept by tests: who may import whom, what may be depended on.

mod dependencies;
mod layers;
mod readme;
