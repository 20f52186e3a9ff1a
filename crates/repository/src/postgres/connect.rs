//! Connecting to a server, and the reasons why that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diesel::connection::InstrumentationEvent;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use super::url::PostgresUrl;
use crate::start_error::StartError;

/// The oldest supported major version (contract §10).
const MIN_MAJOR_VERSION: u32 = 13;
/// After this time without a statement the server ends a transaction, so that a frozen process does
/// not block others by its locks.
const MAX_IDLE_TRANSACTION: Duration = Duration::from_mins(1);
/// The message `SSLRequest`, which only a `PostgreSQL` server answers with a single letter.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens connections to one server.
pub(crate) struct Connector {
    url: PostgresUrl,
    tls: MakeRustlsConnect,
    /// Longest wait for a connection, and for the answer to a statement.
    wait: Duration,
    statements: Arc<AtomicU64>,
    /// The runtime of the connections, which must outlive the thread that first needed one.
    runtime: Handle,
}

impl Connector {
    /// Reads the trusted certificates; does not connect.
    pub(super) fn new(
        url: PostgresUrl,
        wait: Duration,
        statements: Arc<AtomicU64>,
    ) -> Result<Self, StartError> {
        let tls = tls::connector(&url.tls)
            .map_err(|source| StartError::Certificates { source: source.into() })?;
        let mut url = url;
        url.config
            .application_name("coredock")
            .connect_timeout(wait)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(wait.saturating_mul(2));
        Ok(Self { url, tls, wait, statements, runtime: Handle::current() })
    }

    /// Opens a connection and sets the time limits of its session.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<AsyncPgConnection, StartError> {
        let this = Arc::clone(self);
        let connecting = self.runtime.spawn(async move {
            timeout(this.wait, this.connect_here())
                .await
                .unwrap_or_else(|elapsed| Err(StartError::unavailable("open", elapsed)))
        });
        let connected =
            connecting.await.unwrap_or_else(|error| Err(StartError::unavailable("open", error)));
        match connected {
            Err(StartError::Unavailable { .. } | StartError::Refused { .. })
                if self.is_not_postgres().await =>
            {
                Err(StartError::NotPostgres)
            }
            connected => connected,
        }
    }

    async fn connect_here(&self) -> Result<AsyncPgConnection, StartError> {
        let connected = self.url.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(classify)?;
        let version = connection.parameter("server_version").unwrap_or_default().to_owned();
        let major = version.split(['.', ' ']).next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none() || connection.parameter("crdb_version").is_some() {
            return Err(StartError::NotPostgres);
        }
        if major.is_some_and(|major| major < MIN_MAJOR_VERSION) {
            return Err(StartError::TooOld { version });
        }
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection)
            .await
            .map_err(|error| StartError::unavailable("open", error))?;
        let setup = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {};",
            self.wait.as_millis(),
            MAX_IDLE_TRANSACTION.as_millis()
        );
        connection
            .batch_execute(&setup)
            .await
            .map_err(|error| StartError::unavailable("open", error))?;
        let statements = self.statements.clone();
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { .. } = event {
                statements.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(connection)
    }

    /// Whether another program than a `PostgreSQL` server answers at the address; waiting does not
    /// help against that.
    async fn is_not_postgres(&self) -> bool {
        let Some(address) = self.url.address() else { return false };
        let probe = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            stream.write_all(&TLS_REQUEST).await.ok()?;
            let mut answer = [0; 2];
            let first = stream.read(&mut answer).await.ok()?;
            let more = if first == 1 {
                // A PostgreSQL server sends one letter and then waits for the client.
                let waiting = timeout(PROBE_TIMEOUT / 2, stream.read(&mut answer[1..]));
                waiting.await.ok()?.ok()?
            } else {
                0
            };
            Some(first + more > 1 || (first == 1 && !b"SNE".contains(&answer[0])))
        };
        timeout(PROBE_TIMEOUT, probe).await.ok().flatten().unwrap_or(false)
    }

    pub(super) fn url(&self) -> &PostgresUrl {
        &self.url
    }
}

/// Separates outages, which may pass, from refusals, which need another setting.
fn classify(error: tokio_postgres::Error) -> StartError {
    let refused = match error.as_db_error() {
        Some(answer) => {
            let code = answer.code();
            let wrong_place = [SqlState::INVALID_CATALOG_NAME, SqlState::INSUFFICIENT_PRIVILEGE];
            // Class 28: the server rejects the user or the password.
            code.code().starts_with("28") || wrong_place.contains(code)
        }
        None => is_about_trust(&error),
    };
    if refused { StartError::refused(error) } else { StartError::unavailable("open", error) }
}

/// Whether client and server do not agree on TLS or on the way to authenticate.
fn is_about_trust(error: &tokio_postgres::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let of_tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if error.is::<rustls::Error>() || of_tls.is_some() {
            return true;
        }
        let text = error.to_string();
        if text.contains("server does not support TLS") || text.starts_with("invalid configuration")
        {
            return true;
        }
        cause = error.source();
    }
    false
}
