//! The ports of what runs in the background: queued deletes and the sweep.

mod outbox;
mod sweep;
