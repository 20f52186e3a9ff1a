//! `coredock serve`

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{DONE, FAILED, MISUSED, fail};
use crate::backends::Backends;
use crate::backends::preparation::Preparation;
use crate::config::{Config, OidcConfig};
use crate::logging;
use crate::server::{self, RunningServer};
use crate::shutdown::StopSignals;
use crate::wiring::Features;

/// After this time the process listens, and connects to slower servers in the background.
const START_PATIENCE: Duration = Duration::from_secs(3);
const INSECURE_REMINDER: Duration = Duration::from_hours(1);

pub(super) async fn run(config: &Config) -> u8 {
    logging::start(&config.log);
    log_configuration(config);
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
    // Before the first upload if possible: only an empty store gets its owner mark automatically.
    let advancing = Preparation::default().advance(&backends, &upkeep, migrate);
    let ready = match tokio::time::timeout(START_PATIENCE, advancing).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return fail(&error, MISUSED),
        Err(_) => Preparation::default(),
    };
    let server = match RunningServer::start(config, &backends.adapters, features, listener) {
        Ok(server) => server,
        Err(error) => return fail(&error, MISUSED),
    };
    let address = server.address();
    tracing::info!(event = "listening", %address, "coredock listens on {address}");
    let status = tokio::select! {
        () = signals.next() => DONE,
        () = remind_of_insecurity(config) => DONE,
        error = ready.continue_until_error(&backends, &upkeep, migrate) => fail(&error, MISUSED),
    };
    stop(config, server, &mut signals).await;
    backends.adapters.database.close();
    status
}

fn log_configuration(config: &Config) {
    let (version, data_dir) = (env!("CARGO_PKG_VERSION"), config.data_dir.display());
    let (database, artifact_store) = (&config.database.place, &config.artifacts);
    let symbolizer = config.coredumps.symbolizer.as_str();
    let issuer = config.oidc.as_ref().map(|oidc| oidc.issuer.as_str());
    let identity = issuer.map_or_else(
        || "without authentication".to_owned(),
        |issuer| format!("identity provider {issuer}"),
    );
    tracing::info!(
        version,
        %data_dir,
        %database,
        %artifact_store,
        symbolizer,
        issuer,
        "coredock {version} starts: data directory {data_dir}, database {database}, artifact store \
         {artifact_store}, symbolizer {symbolizer}, {identity}"
    );
    if config.oidc.as_ref().is_some_and(OidcConfig::has_public_secret) {
        tracing::warn!(
            "SECRET_KEY has its public default, so that anybody can read and forge the sign-ins of \
             browsers; set it to a random text"
        );
    }
}

/// Makes readiness fail at once, stops listening after the drain time, and returns when the
/// requests in flight are answered. A second signal ends the process without waiting for them.
async fn stop(config: &Config, server: RunningServer, signals: &mut StopSignals) {
    tracing::info!("coredock is shutting down");
    server.begin_shutdown();
    let stopping = async {
        tokio::time::sleep(config.shutdown.drain).await;
        server.stop().await;
    };
    tokio::select! {
        () = stopping => tracing::info!("coredock has stopped"),
        () = signals.next() => tracing::warn!("coredock stops at once because of a second signal"),
    }
}

/// Never returns: the caller stops waiting for it when the server stops.
async fn remind_of_insecurity(config: &Config) {
    while config.oidc.is_none() && !config.http.listen.ip().is_loopback() {
        tracing::warn!(
            address = %config.http.listen,
            "ALLOW_INSECURE is set: everybody who reaches {} can administer the fleet",
            config.http.listen
        );
        tokio::time::sleep(INSECURE_REMINDER).await;
    }
    std::future::pending::<()>().await;
}

/// Each download uses a file descriptor, and shells often allow only 1024.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let error = &error as &dyn std::error::Error;
        let current = limit.current.unwrap_or(u64::MAX);
        tracing::warn!(
            error,
            "the limit of open files could not be raised and stays at {current}; each connection \
             and each download needs one: raise it with `ulimit -n` or `LimitNOFILE=`"
        );
    }
}
