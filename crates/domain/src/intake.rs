//! From the delivery of a dump to its row (contract §4.5, §6.1–§6.3): no crash is lost.

pub mod fair_queue;
pub mod receive;
pub mod replay;
