//! Locks that `PostgreSQL` holds until the transaction ends. `SQLite` has one writer and needs
//! none.
//!
//! They are taken in one order, so that no two transactions wait for each other: publications,
//! models, devices by id, dumps, queued deletes.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::schema::{coredumps, device_models, devices};
use crate::statement::{Dialect, Statement};

diesel::define_sql_function! {
    /// Waits for the advisory lock of this number.
    #[sql_name = "pg_advisory_xact_lock"]
    fn advisory_lock(number: BigInt) -> diesel::sql_types::Text;
}

/// An arbitrary number that no other lock of Coredock has.
const PUBLICATIONS: i64 = 0x7075_626c_6973_6821;

/// Admits one transaction at a time. Every transaction that takes or checks leases, writes versions
/// or queues deletes of their objects begins with it, so that what it reads of them stays true
/// until it commits.
pub(crate) fn publications<'q, D: Dialect>(_: D) -> Statement<'q, D, ()> {
    D::lock(diesel::select(advisory_lock(PUBLICATIONS)))
}

/// Keeps a model from being deleted, if it exists.
pub(crate) fn model_exists<'q, D: Dialect>(_: D, id: i64) -> Statement<'q, D, ()> {
    D::lock(device_models::table.find(id).select(device_models::id).for_key_share())
}

/// Keeps a model from getting further devices.
pub(crate) fn model<'q, D: Dialect>(_: D, id: i64) -> Statement<'q, D, ()> {
    D::lock(device_models::table.find(id).select(device_models::id).for_update())
}

/// Admits one transaction at a time that inserts or prunes dumps of a device.
pub(crate) fn device<'q, D: Dialect>(_: D, id: i64) -> Statement<'q, D, ()> {
    D::lock(devices::table.find(id).select(devices::id).for_update())
}

/// Like [`device()`], for several devices in the order of their ids.
pub(crate) fn devices<D: Dialect>(_: D, ids: &[i64]) -> Statement<'_, D, ()> {
    let of_ids = devices::table.filter(devices::id.eq_any(ids)).order(devices::id);
    D::lock(of_ids.select(devices::id).for_update())
}

/// Waits for every other transaction that changes the dump.
pub(crate) fn dump<'q, D: Dialect>(_: D, id: i64) -> Statement<'q, D, ()> {
    D::lock(coredumps::table.find(id).select(coredumps::id).for_update())
}
