//! The HTTP surface: the routes by feature, with their views beside them; `routes` has the table of
//! them, `request` what every request needs.

pub mod coredumps;
pub mod devices;
pub mod firmware;
pub mod intake;
pub mod models;
pub mod openapi;
pub mod operations;
pub mod request;
pub mod rom_elfs;
pub mod routes;
pub mod shared;
pub mod testing;
