//! The ports of identity.

mod refreshes;
mod saved_keys;
