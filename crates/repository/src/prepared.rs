//! Updates whose statements stay prepared on each connection.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};

/// A statement that stays prepared, so that the server parses and plans it once. Diesel prepares an
/// `UPDATE` anew each time, because its columns may differ from call to call and fill the cache of
/// statements with many texts. Each update of this crate has few.
pub(crate) struct Prepared<T>(pub(crate) T);

impl<T> QueryId for Prepared<T> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for Prepared<T> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use diesel::pg::Pg;
    use diesel::prelude::*;
    use diesel::query_builder::QueryFragment;
    use diesel::sqlite::Sqlite;

    use super::Prepared;
    use crate::schema::coredumps;
    use crate::statement::AnyQuery;

    #[test]
    fn an_update_stays_prepared_behind_any_query() {
        let update = || diesel::update(coredumps::table.find(1)).set(coredumps::occurrences.eq(2));
        let prepared: AnyQuery<'_, Sqlite> = AnyQuery::new(Prepared(update()));
        assert!(prepared.is_safe_to_cache_prepared(&Sqlite).unwrap());
        let prepared: AnyQuery<'_, Pg> = AnyQuery::new(Prepared(update()));
        assert!(prepared.is_safe_to_cache_prepared(&Pg).unwrap());
        let anew: AnyQuery<'_, Pg> = AnyQuery::new(update());
        assert!(!anew.is_safe_to_cache_prepared(&Pg).unwrap());
    }
}
