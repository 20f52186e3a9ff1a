//! A connection to a `PostgreSQL` server, lent for one read or one transaction.

use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection};
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, TryStreamExt};

use super::{Postgres, PostgresManager};
use crate::connection::Lent;
use crate::statement::{Answer, Batch, Dialect, Locks, PostgresRow, Running, Statement, Work};

/// The `PostgreSQL` branch of a query.
#[derive(Clone, Copy)]
pub(crate) struct PostgresDialect;

impl Dialect for PostgresDialect {
    type Backend = Pg;
    type Row = PostgresRow;

    fn rows(answer: Answer) -> Vec<PostgresRow> {
        if let Answer::Postgres(rows) = answer { rows } else { Vec::new() }
    }

    fn lock<'q>(query: impl Locks + 'q) -> Statement<'q, Self, ()> {
        Statement::locking(query)
    }
}

/// A lent connection. After a statement that was not answered in time, it is not used again: the
/// answer may still arrive.
pub(crate) struct LentPostgres {
    lent: Lent<PostgresManager>,
    postgres: Postgres,
    timed_out: bool,
    /// `BEGIN` is to be sent with the next statement.
    begins: bool,
}

impl LentPostgres {
    pub(crate) fn new(object: Object<AsyncPgConnection>, postgres: Postgres) -> Self {
        Self { lent: object.into(), postgres, timed_out: false, begins: false }
    }

    /// Has `BEGIN` sent together with the first statements, which saves the wait for its answer.
    pub(crate) fn begin(&mut self) {
        self.begins = true;
    }

    pub(crate) fn start<'c, B>(&'c mut self, batch: B) -> Running<'c, B::Reader>
    where
        B: Batch<'c, PostgresDialect>,
    {
        let mut work = Vec::with_capacity(1);
        let reader = batch.split(&mut work);
        Running::new(Box::pin(self.run(work)), reader)
    }

    /// Sends all statements at once. If the server refuses `BEGIN`, each statement sent with it is
    /// a transaction by itself, although the caller gets an error. Therefore only locks and
    /// batches, for which that is harmless, are sent together with `BEGIN`.
    async fn run(&mut self, batch: Vec<Work<'_, Pg>>) -> QueryResult<Vec<Answer>> {
        if let [Work::Load(_) | Work::Execute(_)] = &*batch
            && std::mem::take(&mut self.begins)
        {
            self.wait_for_answers(|connection| vec![batch_execute(connection, "BEGIN")]).await?;
        }
        let begins = std::mem::take(&mut self.begins);
        let mut answers = self
            .wait_for_answers(|connection| {
                let begin = begins.then(|| batch_execute(connection, "BEGIN"));
                begin
                    .into_iter()
                    .chain(batch.into_iter().map(|work| send(connection, work)))
                    .collect()
            })
            .await?;
        answers.drain(..usize::from(begins));
        Ok(answers)
    }

    /// Commits or rolls back; does nothing if no statement has begun the transaction.
    pub(crate) async fn end(&mut self, commits: bool) -> QueryResult<()> {
        if self.timed_out && !commits {
            return Err(unanswered(self.postgres.answer_timeout));
        }
        if std::mem::take(&mut self.begins) {
            return Ok(());
        }
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        self.wait_for_answers(|connection| vec![batch_execute(connection, end)]).await.map(drop)
    }

    /// Waits for the answers up to a time limit, so that a server which stalls does not block a
    /// request. Returns the first failure, because it is the cause of the later ones.
    async fn wait_for_answers<'c>(
        &'c mut self,
        start: impl FnOnce(&'c AsyncPgConnection) -> Vec<BoxFuture<'c, QueryResult<Answer>>>,
    ) -> QueryResult<Vec<Answer>> {
        // Polled in this order: while a statement is being prepared, the next one is not sent.
        let answers = join_all(start(self.lent.get()));
        if let Ok(answers) = tokio::time::timeout(self.postgres.answer_timeout, answers).await {
            return answers.into_iter().collect();
        }
        self.timed_out = true;
        Err(unanswered(self.postgres.answer_timeout))
    }

    pub(crate) fn give_back(self) {
        if !self.timed_out && !self.postgres.is_surplus() {
            self.lent.give_back();
        }
    }
}

fn batch_execute<'c>(
    mut connection: &'c AsyncPgConnection,
    text: &'static str,
) -> BoxFuture<'c, QueryResult<Answer>> {
    async move { connection.batch_execute(text).await.map(|()| Answer::Nothing) }.boxed()
}

/// Sends a statement when the future is first polled.
fn send<'c>(
    mut connection: &'c AsyncPgConnection,
    work: Work<'c, Pg>,
) -> BoxFuture<'c, QueryResult<Answer>> {
    async move {
        Ok(match work {
            Work::Load(query) => {
                Answer::Postgres(connection.load(query).await?.try_collect().await?)
            }
            Work::Execute(query) => Answer::Count(connection.execute_returning_count(query).await?),
            Work::Lock(query) => {
                connection.execute_returning_count(query).await?;
                Answer::Nothing
            }
            Work::Nothing => Answer::Nothing,
        })
    }
    .boxed()
}

fn unanswered(limit: Duration) -> Error {
    let text = Box::new(format!("the database did not answer within {limit:?}"));
    Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand, text)
}
