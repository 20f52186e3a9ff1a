//! The HTTP routes by feature, with their views. `routes` has the route table, and `request` has
//! the parts which all requests share.

pub mod coredumps;
pub mod devices;
pub mod firmware;
pub mod identity;
pub mod intake;
pub mod models;
pub mod openapi;
pub mod operations;
pub mod request;
pub mod rom_elfs;
pub mod routes;
pub mod shared;
pub mod testing;
