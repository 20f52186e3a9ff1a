//! Temporary databases on the PostgreSQL server which `cargo xtask test` starts, and direct access
//! to them.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The variable with the URL of the server, for a superuser without a password.
pub const VARIABLE: &str = "COREDOCK_TEST_POSTGRES";

/// A temporary database, which is deleted when this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    pub fn empty() -> Self {
        Self::create("template0")
    }

    /// A copy of `template`, to which no connection may exist.
    pub fn copy_of(template: &Self) -> Self {
        Self::create(&template.name)
    }

    fn create(template: &str) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        execute(&server(), &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Self { name }
    }

    pub fn url(&self) -> String {
        url_of(&server(), &self.name)
    }

    pub fn execute(&self, statements: &str) {
        execute(&self.url(), statements);
    }

    /// The first column of each row which a query yields; null becomes an empty text.
    pub fn texts(&self, query: &str) -> Vec<String> {
        texts(&self.url(), query)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The server is temporary too and may have ended already.
        let url = server();
        let _ = with_client(&url, async move |client| client.batch_execute(&drop).await.ok());
    }
}

/// The URL of the server; panics if it is not set.
pub fn server() -> String {
    crate::setting(VARIABLE)
}

/// The URL of another database of the same server.
pub fn url_of(server: &str, database: &str) -> String {
    let base = server.rsplit_once('/').map_or(server, |(base, _)| base);
    format!("{base}/{database}")
}

/// A statement after which inserts into `table` fail with the message `injected`.
pub fn break_inserts(table: &str) -> String {
    format!(
        "CREATE FUNCTION broken() RETURNS trigger AS \
         'BEGIN RAISE EXCEPTION USING MESSAGE = ''injected''; END' LANGUAGE plpgsql; \
         CREATE TRIGGER broken BEFORE INSERT ON {table} EXECUTE FUNCTION broken()"
    )
}

/// Undoes [`break_inserts`].
pub fn mend_inserts(table: &str) -> String {
    format!("DROP TRIGGER broken ON {table}; DROP FUNCTION broken()")
}

/// Runs statements over a new connection.
pub fn execute(url: &str, statements: &str) {
    let statements = statements.to_owned();
    with_client(url, async move |client| {
        client
            .batch_execute(&statements)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    });
}

/// The first column of each row which a query yields over a new connection; null becomes an empty
/// text.
pub fn texts(url: &str, query: &str) -> Vec<String> {
    let query = query.to_owned();
    with_client(url, async move |client| {
        let answer = client.simple_query(&query).await;
        let messages = answer.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let text = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        messages.iter().filter_map(text).collect()
    })
}

/// Connects on a new thread, because the caller may be in a runtime, which cannot block on another.
fn with_client<T, F>(url: &str, work: impl FnOnce(Client) -> F + Send) -> T
where
    T: Send,
    F: Future<Output = T>,
{
    let running = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the runtime starts");
        runtime.block_on(async {
            let connecting = tokio_postgres::connect(url, NoTls).await;
            let (client, connection) =
                connecting.unwrap_or_else(|error| panic!("cannot connect to {url}: {error:?}"));
            let (done, _) = tokio::join!(work(client), connection);
            done
        })
    };
    thread::scope(|scope| scope.spawn(running).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
