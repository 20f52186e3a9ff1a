//! A pooled connection to either database.

use deadpool::managed::{Manager, Object};

use crate::failure::Failure;
use crate::postgres::LentPostgres;
use crate::sqlite::LentSqlite;

/// A connection lent for one read or one transaction.
pub(crate) enum Connection {
    Sqlite(LentSqlite),
    Postgres(Box<LentPostgres>),
}

/// Runs one statement, or several that are sent at once, written once for both databases.
macro_rules! on {
    ($connection:expr, |$dialect:ident| $batch:expr) => {
        match &mut *$connection {
            $crate::connection::Connection::Sqlite(lent) => {
                let $dialect = $crate::sqlite::SqliteDialect;
                lent.start($batch)
            }
            $crate::connection::Connection::Postgres(lent) => {
                let $dialect = $crate::postgres::PostgresDialect;
                lent.start($batch)
            }
        }
        .await
    };
}

pub(crate) use on;

/// A pooled connection which returns to its pool by [`Lent::give_back`] only. If it is dropped
/// earlier, because a future was cancelled or a rollback failed, it is closed: its open transaction
/// ends, and no other caller inherits its state.
pub(crate) struct Lent<M: Manager> {
    object: Option<Object<M>>,
}

impl<M: Manager> Lent<M> {
    #[expect(clippy::expect_used, reason = "the object is taken only by value or on drop")]
    pub(crate) fn get(&mut self) -> &mut M::Type {
        self.object.as_mut().expect("a lent connection has its object until it is given back")
    }

    pub(crate) fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl<M: Manager> From<Object<M>> for Lent<M> {
    fn from(object: Object<M>) -> Self {
        Self { object: Some(object) }
    }
}

impl<M: Manager> Drop for Lent<M> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Connection {
    pub(crate) fn give_back(self) {
        match self {
            Self::Sqlite(lent) => lent.give_back(),
            Self::Postgres(lent) => lent.give_back(),
        }
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(lent) => lent.begin().await?,
            Self::Postgres(lent) => lent.begin(),
        }
        Ok(())
    }

    /// Commits after an `Ok`, rolls back after an `Err`, and gives the connection back if that
    /// succeeded.
    pub(crate) async fn finish<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.end(result.is_ok()).await?;
        result
    }

    async fn end(mut self, commits: bool) -> Result<(), Failure> {
        let ended = match &mut self {
            Self::Sqlite(lent) => lent.end(commits).await,
            Self::Postgres(lent) => lent.end(commits).await,
        };
        match ended {
            Ok(()) => self.give_back(),
            Err(error) if commits => return Err(error.into()),
            // The caller gets the error which led to the rollback; the connection is closed.
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether each statement runs on tokio's blocking pool.
    pub(crate) fn uses_blocking_pool(&mut self) -> bool {
        match self {
            Self::Sqlite(lent) => !lent.is_on_caller_thread(),
            Self::Postgres(_) => false,
        }
    }

    /// From now on statements that block run on the thread that polls them.
    pub(crate) fn run_on_caller_thread(&mut self) {
        if let Self::Sqlite(lent) = self {
            lent.set_on_caller_thread(true);
        }
    }

    /// A `FROM` item with one row for each element of the JSON array in the second bind; the
    /// element is in the column `value`.
    pub(crate) fn elements_of_second_bind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "json_each($2)",
            Self::Postgres(_) => "json_array_elements($2::json)",
        }
    }
}
