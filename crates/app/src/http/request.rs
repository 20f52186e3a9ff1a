//! What every request goes through and what handlers of any feature work with.

pub mod body;
pub mod conditions;
pub mod cors;
pub mod cursor;
pub mod device_body;
pub mod error;
pub mod exchange;
pub mod feature;
pub mod identity;
pub mod in_flight;
pub mod query;
pub mod transfer;
