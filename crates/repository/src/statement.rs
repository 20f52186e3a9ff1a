//! Statements without the types of their queries.
//!
//! The type of a query names every table, column and bind in it. Per type of query, only the code
//! that renders its text and its binds is compiled; per type of row, only the code that reads it.
//! The futures which wait for a database are compiled once, for boxed queries: one set of them per
//! query and backend needed more memory than many machines have.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::deserialize::FromSqlRow;
use diesel::query_builder::{AsQuery, AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::CompatibleType;
use diesel::query_dsl::methods::LimitDsl;
use diesel::result::Error;
use diesel::row::Row;
use diesel::sql_types::Untyped;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection};
use futures::future::BoxFuture;

use crate::sqlite::SqliteConn;

pub(crate) type SqliteRow = <SqliteConn as AsyncConnectionCore>::Row<'static, 'static>;
pub(crate) type PostgresRow = <AsyncPgConnection as AsyncConnectionCore>::Row<'static, 'static>;

/// The methods that turn queries into statements. The value of the dialect only selects the
/// backend: each branch of `on!` passes a different type.
pub(crate) trait RunQueryDsl<D: Dialect>: Sized {
    /// Counts the rows that the query writes.
    fn execute<'q>(self, _: D) -> Statement<'q, D, usize>
    where
        Self: QueryFragment<D::Backend> + Send + 'q,
    {
        Statement {
            work: Work::Execute(AnyQuery::new(self)),
            read: |answer| Ok(if let Answer::Count(count) = answer { count } else { 0 }),
        }
    }

    /// All rows.
    fn load<'q, U>(self, _: D) -> Statement<'q, D, Vec<U>>
    where
        Self: Loads<'q, D, U>,
    {
        self.all_rows()
    }

    /// All rows of a statement that writes.
    fn get_results<'q, U>(self, _: D) -> Statement<'q, D, Vec<U>>
    where
        Self: Loads<'q, D, U>,
    {
        self.all_rows()
    }

    /// The row of a query that returns at most one; [`Error::NotFound`] if it returns none.
    fn get_result<'q, U>(self, _: D) -> Statement<'q, D, U>
    where
        Self: Loads<'q, D, U>,
    {
        self.one_row()
    }

    /// The first row; [`Error::NotFound`] if there is none.
    fn first<'q, U>(self, _: D) -> Statement<'q, D, U>
    where
        Self: LimitDsl,
        Self::Output: Loads<'q, D, U>,
    {
        self.limit(1).one_row()
    }
}

impl<T, D: Dialect> RunQueryDsl<D> for T {}

/// The code that is compiled per backend.
pub(crate) trait Dialect: Copy {
    type Backend: Backend;
    type Row: for<'row> Row<'row, Self::Backend>;

    /// The rows of an answer; none if the answer is not from this backend.
    fn rows(answer: Answer) -> Vec<Self::Row>;

    /// A statement that waits for a lock, on a backend which needs locks.
    fn lock<'q>(query: impl Locks + 'q) -> Statement<'q, Self, ()>;
}

/// Queries that take row locks or advisory locks on `PostgreSQL`.
pub(crate) trait Locks: QueryFragment<diesel::pg::Pg> + Send {}

impl<T: QueryFragment<diesel::pg::Pg> + Send> Locks for T {}

/// Queries whose rows can be read as `U`.
pub(crate) trait Loads<'q, D: Dialect, U> {
    fn all_rows(self) -> Statement<'q, D, Vec<U>>;

    fn one_row(self) -> Statement<'q, D, U>;
}

impl<'q, D, U, Q, C> Loads<'q, D, U> for Q
where
    D: Dialect,
    Q: AsQuery,
    Q::Query: QueryFragment<D::Backend> + Send + 'q,
    Q::SqlType: CompatibleType<U, D::Backend, SqlType = C>,
    U: FromSqlRow<C, D::Backend>,
{
    fn all_rows(self) -> Statement<'q, D, Vec<U>> {
        Statement { work: Work::Load(AnyQuery::new(self.as_query())), read: rows::<D, U, C> }
    }

    fn one_row(self) -> Statement<'q, D, U> {
        let work = Work::Load(AnyQuery::new(self.as_query()));
        Statement { work, read: first_row::<D, U, C> }
    }
}

/// A query of any type.
pub(crate) struct AnyQuery<'q, DB>(Box<dyn QueryFragment<DB> + Send + 'q>);

impl<'q, DB: Backend> AnyQuery<'q, DB> {
    pub(crate) fn new(query: impl QueryFragment<DB> + Send + 'q) -> Self {
        Self(Box::new(query))
    }
}

impl<DB> QueryId for AnyQuery<'_, DB> {
    type QueryId = ();

    /// The cache of prepared statements is keyed by their texts.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB> Query for AnyQuery<'_, DB> {
    type SqlType = Untyped;
}

impl<DB: Backend> QueryFragment<DB> for AnyQuery<'_, DB> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    /// Asks the query itself, because a walk would only ask the parts of one that is
    /// [`Prepared`](crate::prepared::Prepared). The box would walk, so it is dereferenced.
    fn is_safe_to_cache_prepared(&self, backend: &DB) -> QueryResult<bool> {
        (*self.0).is_safe_to_cache_prepared(backend)
    }
}

/// What a database does for one statement.
pub(crate) enum Work<'q, DB> {
    /// Returns rows.
    Load(AnyQuery<'q, DB>),
    /// Counts the rows that it writes.
    Execute(AnyQuery<'q, DB>),
    /// Waits for a lock; changes nothing, even outside a transaction.
    Lock(AnyQuery<'q, DB>),
    /// Needs no statement on this backend.
    Nothing,
}

/// The result of some [`Work`].
pub(crate) enum Answer {
    Sqlite(Vec<SqliteRow>),
    Postgres(Vec<PostgresRow>),
    Count(usize),
    Nothing,
}

type Read<T> = fn(Answer) -> QueryResult<T>;

/// A statement, and how its answer is read.
pub(crate) struct Statement<'q, D: Dialect, T> {
    work: Work<'q, D::Backend>,
    read: Read<T>,
}

impl<'q, D: Dialect> Statement<'q, D, ()> {
    pub(crate) fn locking(query: impl QueryFragment<D::Backend> + Send + 'q) -> Self {
        Self { work: Work::Lock(AnyQuery::new(query)), read: |_| Ok(()) }
    }

    pub(crate) fn nothing() -> Self {
        Self { work: Work::Nothing, read: |_| Ok(()) }
    }
}

/// One statement, or several that are sent at once because none needs the answer to another. They
/// run in their order, and each sees the writes of the earlier ones.
pub(crate) trait Batch<'q, D: Dialect> {
    type Reader: Reader;

    fn split(self, work: &mut Vec<Work<'q, D::Backend>>) -> Self::Reader;
}

/// Reads the answers to a [`Batch`].
pub(crate) trait Reader: Copy {
    type Output;

    fn read(self, answers: &mut vec::IntoIter<Answer>) -> QueryResult<Self::Output>;
}

impl<T> Reader for Read<T> {
    type Output = T;

    fn read(self, answers: &mut vec::IntoIter<Answer>) -> QueryResult<T> {
        self(answers.next().unwrap_or(Answer::Nothing))
    }
}

impl<A: Reader, B: Reader> Reader for (A, B) {
    type Output = (A::Output, B::Output);

    fn read(self, answers: &mut vec::IntoIter<Answer>) -> QueryResult<Self::Output> {
        Ok((self.0.read(answers)?, self.1.read(answers)?))
    }
}

impl<A: Reader, B: Reader, C: Reader> Reader for (A, B, C) {
    type Output = (A::Output, B::Output, C::Output);

    fn read(self, answers: &mut vec::IntoIter<Answer>) -> QueryResult<Self::Output> {
        Ok((self.0.read(answers)?, self.1.read(answers)?, self.2.read(answers)?))
    }
}

impl<'q, D: Dialect, T> Batch<'q, D> for Statement<'q, D, T> {
    type Reader = Read<T>;

    fn split(self, work: &mut Vec<Work<'q, D::Backend>>) -> Read<T> {
        work.push(self.work);
        self.read
    }
}

impl<'q, D: Dialect, A: Batch<'q, D>, B: Batch<'q, D>> Batch<'q, D> for (A, B) {
    type Reader = (A::Reader, B::Reader);

    fn split(self, work: &mut Vec<Work<'q, D::Backend>>) -> Self::Reader {
        (self.0.split(work), self.1.split(work))
    }
}

impl<'q, D, A, B, C> Batch<'q, D> for (A, B, C)
where
    D: Dialect,
    A: Batch<'q, D>,
    B: Batch<'q, D>,
    C: Batch<'q, D>,
{
    type Reader = (A::Reader, B::Reader, C::Reader);

    fn split(self, work: &mut Vec<Work<'q, D::Backend>>) -> Self::Reader {
        (self.0.split(work), self.1.split(work), self.2.split(work))
    }
}

/// The future of the answers to a batch.
pub(crate) struct Running<'c, R> {
    answers: BoxFuture<'c, QueryResult<Vec<Answer>>>,
    reader: R,
}

impl<'c, R> Running<'c, R> {
    pub(crate) fn new(answers: BoxFuture<'c, QueryResult<Vec<Answer>>>, reader: R) -> Self {
        Self { answers, reader }
    }
}

impl<R: Reader + Unpin> Future for Running<'_, R> {
    type Output = QueryResult<R::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answers = ready!(self.answers.as_mut().poll(context))?;
        Poll::Ready(self.reader.read(&mut answers.into_iter()))
    }
}

fn rows<D: Dialect, U: FromSqlRow<C, D::Backend>, C>(answer: Answer) -> QueryResult<Vec<U>> {
    D::rows(answer).iter().map(read_row::<D, U, C>).collect()
}

fn first_row<D: Dialect, U: FromSqlRow<C, D::Backend>, C>(answer: Answer) -> QueryResult<U> {
    let rows = D::rows(answer);
    let [row, ..] = &*rows else { return Err(Error::NotFound) };
    read_row::<D, U, C>(row)
}

fn read_row<D: Dialect, U: FromSqlRow<C, D::Backend>, C>(row: &D::Row) -> QueryResult<U> {
    U::build_from_row(row).map_err(Error::DeserializationError)
}
