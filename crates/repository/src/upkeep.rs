//! The ports of the background work on objects: queued deletes and the sweep.

mod outbox;
mod sweep;
