//! The running server: listener, routes and workers, and how they stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer};
use socket2::{SockRef, TcpKeepalive};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::adapters::Adapters;
use crate::config::Config;
use crate::http::request::exchange::exchange;
use crate::http::request::in_flight::RequestsInFlight;
use crate::http::shared::Shared;
use crate::shutdown::Shutdown;
use crate::wiring::Features;
use crate::workers::Workers;

/// How long the rest of a body is read after an answer that came before its end.
const LINGER: Duration = Duration::from_secs(10);
/// Shutdown stops waiting for connections when no request was in flight for this long: by then the
/// last answer, which the kernel had to send, has left.
const IDLE_TIME: Duration = Duration::from_millis(1_500);
const IDLE_CHECK: Duration = Duration::from_millis(50);
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const BACKLOG: u32 = 1024;
/// Memory of a slow download. The default of 32 KiB would only speed up fast downloads.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

pub struct RunningServer {
    address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
    shutdown: Shutdown,
    requests: RequestsInFlight,
    workers: TaskTracker,
    receiving: TaskTracker,
    stop: CancellationToken,
    /// Stops the workers even if the server is dropped without `stop`.
    _stops: DropGuard,
    stop_parsing: CancellationToken,
    features: Features,
    grace: Duration,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartServerError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The directory for temporary files cannot be created.
    #[error("cannot create {}", path.display())]
    Spool { path: PathBuf, source: io::Error },
}

impl RunningServer {
    /// Serves on `listener` and starts the workers.
    pub fn start(
        config: &Config,
        adapters: &Adapters,
        features: Features,
        listener: TcpListener,
    ) -> Result<Self, StartServerError> {
        let spool = |source| StartServerError::Spool { path: config.spool_dir(), source };
        let shared = Shared::new(config, adapters, &features).map_err(spool)?;
        let receiving = shared.uploading.0.clone();
        let (shutdown, requests) = (shared.shutdown.get_ref().clone(), shared.in_flight());
        let failed = |source| StartServerError::Listen { address: config.http.listen, source };
        let address = listener.local_addr().map_err(failed)?;
        let server = http_server(listener, config, shared).map_err(failed)?;
        let handle = server.handle();
        let workers = TaskTracker::new();
        let stop = CancellationToken::new();
        let stop_parsing = stop.child_token();
        Workers::new(features.clone(), adapters.clock.clone(), config).start(
            &workers,
            &stop,
            &stop_parsing,
        );
        #[expect(clippy::disallowed_methods, reason = "ended by `stop`")]
        let serving = tokio::spawn(server);
        let grace = config.shutdown.grace;
        Ok(Self {
            address,
            handle,
            serving,
            shutdown,
            requests,
            workers,
            receiving,
            _stops: stop.clone().drop_guard(),
            stop,
            stop_parsing,
            features,
            grace,
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// The number of requests being handled and downloads being sent.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.count()
    }

    /// Makes readiness fail; the listener stays open.
    pub fn begin_shutdown(&self) {
        self.shutdown.begin();
        self.features.metrics.shutting_down.set(1);
    }

    /// Stops at once, without waiting for requests.
    pub async fn abort(self) {
        self.handle.stop(false).await;
    }

    /// Returns when no request was in flight for [`IDLE_TIME`]. Connections that are still open
    /// then linger after an early answer, and shutdown need not wait for them.
    async fn idle(&self) {
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < IDLE_TIME {
            tokio::time::sleep(IDLE_CHECK).await;
            if self.requests.count() > 0 {
                idle_since = Instant::now();
            }
        }
    }

    /// Gives parse jobs back, refuses new connections, waits for requests and uploads in flight, at
    /// most `GRACEFUL_SHUTDOWN_TIMEOUT`, and stops the workers.
    pub async fn stop(self) {
        let began = Instant::now();
        self.begin_shutdown();
        self.stop_parsing.cancel();
        tokio::select! {
            () = self.handle.stop(true) => {}
            () = self.idle() => tracing::debug!("shutdown does not wait for connections without requests"),
        }
        self.receiving.close();
        let left = self.grace.saturating_sub(began.elapsed());
        if tokio::time::timeout(left, self.receiving.wait()).await.is_err() {
            tracing::warn!(
                "uploads were still running at the end of GRACEFUL_SHUTDOWN_TIMEOUT; the next start \
                 finishes the committed ones"
            );
        }
        self.stop.cancel();
        self.workers.close();
        self.workers.wait().await;
        self.serving.abort();
        let waited = began.elapsed().as_secs_f64();
        self.features.metrics.shutdown_seconds.with_label_values::<&str>(&[]).observe(waited);
    }
}

/// Binds the address. Connections wait until a server is started on it.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartServerError> {
    bind(address).map_err(|source| StartServerError::Listen { address, source })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn http_server(
    listener: TcpListener,
    config: &Config,
    shared: Shared,
) -> io::Result<actix_web::dev::Server> {
    let stall = config.http.stall;
    let server = HttpServer::new(move || {
        App::new().wrap(from_fn(exchange)).configure(|service| shared.configure(service))
    });
    let server = server
        .on_connect(move |connection, _| {
            if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
                limit_stalls(&SockRef::from(stream), stall);
            }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(stall)
        .client_disconnect_timeout(LINGER)
        .h1_write_buffer_size(WRITE_BUFFER_BYTES)
        .tcp_nodelay(true)
        .backlog(BACKLOG)
        .shutdown_timeout(config.shutdown.grace.as_secs())
        .disable_signals();
    Ok(server.listen(listener)?.run())
}

/// Makes the kernel close a connection whose peer accepts no byte for `stall` or has disappeared.
fn limit_stalls(socket: &SockRef<'_>, stall: Duration) {
    let keepalive = TcpKeepalive::new().with_time(stall);
    let limited = socket
        .set_tcp_user_timeout(Some(stall))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = limited {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            "TCP time-outs could not be set; a stalled connection stays open longer"
        );
    }
}
