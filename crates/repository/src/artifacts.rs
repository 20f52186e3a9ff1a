//! Which objects rows refer to, which are under publication, and which are to be deleted.

pub(crate) mod deletes;
pub(crate) mod leases;
pub(crate) mod references;
