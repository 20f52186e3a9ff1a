//! How times are stored in columns.

use coredock_domain::timestamp::Timestamp;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::query_builder::QueryId;
use diesel::sql_types::{SqlOrd, SqlType};

use crate::columns::Column;
use crate::failure::Failure;

/// The SQL type of instants: a text on `SQLite`, `timestamptz` on `PostgreSQL`.
#[derive(Debug, Clone, Copy, QueryId, SqlType)]
#[diesel(sqlite_type(name = "Text"))]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
pub struct UtcTimestamp;

impl SqlOrd for UtcTimestamp {}

/// An instant that is written to a column.
#[derive(Debug, Clone, Copy, AsExpression)]
#[diesel(sql_type = UtcTimestamp)]
pub(crate) struct At(pub(crate) Timestamp);

/// The value of a column of instants; `None` if it is not an instant that the domain can express.
#[derive(Debug, Clone, Copy, FromSqlRow)]
#[diesel(sql_type = UtcTimestamp)]
pub(crate) struct StoredTime(Option<Timestamp>);

impl StoredTime {
    pub(crate) fn read(self, column: Column) -> Result<Timestamp, Failure> {
        column.require(self.0)
    }
}

mod sqlite {
    use diesel::serialize::{IsNull, Output, Result, ToSql};
    use diesel::sql_types::Text;
    use diesel::sqlite::{Sqlite, SqliteValue};

    use super::{At, FromSql, StoredTime, Timestamp, UtcTimestamp, deserialize};

    impl ToSql<UtcTimestamp, Sqlite> for At {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> Result {
            out.set_value(self.0.to_string());
            Ok(IsNull::No)
        }
    }

    impl FromSql<UtcTimestamp, Sqlite> for StoredTime {
        fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
            let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
            Ok(Self(Timestamp::parse(&text)))
        }
    }
}

mod postgres {
    use diesel::data_types::PgTimestamp;
    use diesel::pg::{Pg, PgValue};
    use diesel::serialize::{Output, Result, ToSql};
    use diesel::sql_types::Timestamptz;

    use super::{At, FromSql, StoredTime, Timestamp, UtcTimestamp, deserialize};

    /// The epoch of `PostgreSQL`, 2000-01-01T00:00:00Z, in microseconds since 1970.
    const EPOCH: i64 = 946_684_800_000_000;

    impl ToSql<UtcTimestamp, Pg> for At {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> Result {
            let time = PgTimestamp(self.0.micros() - EPOCH);
            <PgTimestamp as ToSql<Timestamptz, Pg>>::to_sql(&time, &mut out.reborrow())
        }
    }

    impl FromSql<UtcTimestamp, Pg> for StoredTime {
        fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
            let time = <PgTimestamp as FromSql<Timestamptz, Pg>>::from_sql(value)?;
            Ok(Self(time.0.checked_add(EPOCH).map(Timestamp::from_micros)))
        }
    }
}
