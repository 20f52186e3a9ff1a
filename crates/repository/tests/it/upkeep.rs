mod outbox;
mod sweep;
