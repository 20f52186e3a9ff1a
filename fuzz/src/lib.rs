//! The parts which fuzz targets of both architectures share.

mod dump;
mod unwind;

pub use dump::{Device, RomFile};
pub use unwind::unwind;
