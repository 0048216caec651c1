//! The Quadrille engine's ground: disks, the log, and time as a value.

pub mod disk;
pub mod log;
pub mod time;
