//! What fuzz targets of different devices have in common.

mod dump;
mod unwind;

pub use dump::Device;
pub use unwind::unwind;
