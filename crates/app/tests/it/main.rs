//! Tests of the whole server over HTTP. One file per subject; `support` has one verb per action.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod crash_groups;
mod database_faults;
mod device_safety;
mod dump_faults;
mod dump_records;
mod dump_symbols;
mod dumps;
mod fleet_dumps;
mod invariants;
mod native_reports;
mod openapi;
mod operation;
mod parsing;
mod real_bundles;
mod records;
mod replicas;
mod rescue;
mod rom_elfs;
mod routing;
mod stale_config;
mod storms;
mod support;
mod sweep;
mod symbol_indexes;
mod transfers;
mod vectors;
