//! The middleware of all requests, and the types that handlers of all features use.

pub mod admission;
pub mod answer;
pub mod body;
pub mod client_address;
pub mod conditions;
pub mod cors;
pub mod detached;
pub mod device_body;
pub mod error;
pub mod exchange;
pub mod identity;
pub mod in_flight;
mod multipart;
pub mod paging;
pub mod query;
pub mod refreshes;
mod refusal_delay;
mod security_headers;
pub mod session_cookies;
pub mod sites;
mod spool;
pub mod transfer;
