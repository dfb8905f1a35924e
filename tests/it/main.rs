//! Everything that needs a whole gateway, a foreign program or the tree itself. One binary, by area.

mod house;
