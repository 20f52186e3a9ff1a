//! `coredock serve`

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{DONE, FAILED, MISUSED, fail};
use crate::backends::Backends;
use crate::config::Config;
use crate::logging;
use crate::server::{self, RunningServer};
use crate::shutdown::StopSignals;
use crate::start_up::StartUp;
use crate::wiring::Features;

/// Servers that take longer are waited for while the process listens already.
const START_PATIENCE: Duration = Duration::from_secs(3);
const INSECURE_REMINDER: Duration = Duration::from_hours(1);

pub(super) async fn run(config: &Config) -> u8 {
    logging::start(&config.log);
    allow_many_files();
    let mut signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, FAILED),
    };
    let listener = match server::listen(config.http.listen) {
        Ok(listener) => listener,
        Err(error) => return fail(&error, MISUSED),
    };
    let backends = match Backends::open(config).await {
        Ok(backends) => backends,
        Err(error) => return fail(&error, MISUSED),
    };
    backends.clean_leftovers().await;
    let features = match Features::new(config, &backends.adapters) {
        Ok(features) => features,
        Err(error) => return fail(&error, FAILED),
    };
    let upkeep = features.upkeep.clone();
    let migrate = config.database.auto_migrate;
    // Before the first upload, if possible: a store with objects is not taken for a new one.
    let advancing = StartUp::default().advance(&backends, &upkeep, migrate);
    let ready = match tokio::time::timeout(START_PATIENCE, advancing).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return fail(&error, MISUSED),
        Err(_) => StartUp::default(),
    };
    let server = match RunningServer::start(config, &backends.adapters, features, listener) {
        Ok(server) => server,
        Err(error) => return fail(&error, MISUSED),
    };
    tracing::info!(event = "listening", address = %server.address(), "coredock is listening");
    let status = tokio::select! {
        () = signals.next() => DONE,
        () = remind_of_insecurity(config) => DONE,
        error = ready.keep(&backends, &upkeep, migrate) => fail(&error, MISUSED),
    };
    stop(config, server, &mut signals).await;
    backends.adapters.database.close();
    status
}

/// Not ready at once, deaf after the drain time, gone when the requests are answered. A second
/// signal ends at once.
async fn stop(config: &Config, server: RunningServer, signals: &mut StopSignals) {
    tracing::info!("shutting down");
    server.begin_shutdown();
    let stopping = async {
        tokio::time::sleep(config.shutdown.drain).await;
        server.stop().await;
    };
    tokio::select! {
        () = stopping => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped at once by a second signal"),
    }
}

/// Never returns.
async fn remind_of_insecurity(config: &Config) {
    while !config.http.listen.ip().is_loopback() {
        tracing::warn!(
            address = %config.http.listen,
            "ALLOW_INSECURE: everybody who reaches this address administers the fleet"
        );
        tokio::time::sleep(INSECURE_REMINDER).await;
    }
    std::future::pending::<()>().await;
}

/// Each device that downloads holds a descriptor; shells often allow only 1024.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the limit of open files could not be raised; few connections are possible"
        );
    }
}
