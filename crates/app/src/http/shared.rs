//! The state that handlers extract, shared by all threads of the server.

use std::io;

use actix_web::web::{Data, ServiceConfig};
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use coredock_domain::{Coredumps, DeviceModels, Devices, Firmware, Intake, RomElfs};

use super::firmware::polls::PollInterval;
use super::firmware::uploads::FirmwareUploads;
use super::identity::SignIn;
use super::intake::receiver::DumpReceiver;
use super::operations::{MetricsGuard, StoreDecidesReadiness};
use super::request::admission::{Admission, BrowserSessions};
use super::request::body::StallLimit;
use super::request::client_address::TrustedProxies;
use super::request::cors::CorsOrigins;
use super::request::detached::DetachedTasks;
use super::request::exchange::ExchangeContext;
use super::request::in_flight::RequestsInFlight;
use super::request::refreshes::Refreshes;
use super::request::session_cookies::SessionCookies;
use super::request::sites::Sites;
use super::routes::lookup::RouteLookup;
use super::routes::row::BodyLimits;
use super::routes::{self, table};
use super::testing::TestingMode;
use crate::adapters::Adapters;
use crate::config::{Config, Environment};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::wiring::Features;

#[derive(Clone)]
pub struct Shared {
    pub shutdown: Data<Shutdown>,
    /// Uploads and refreshes of sessions, which continue when their callers hang up.
    pub uploading: Data<DetachedTasks>,
    context: Data<ExchangeContext>,
    models: Data<DeviceModels>,
    devices: Data<Devices>,
    firmware: Data<Firmware>,
    firmware_uploads: Data<FirmwareUploads>,
    rom_elfs: Data<RomElfs>,
    coredumps: Data<Coredumps>,
    intake: Data<Intake>,
    pruned: Data<PrunedCoredumps>,
    dump_receiver: Data<DumpReceiver>,
    metrics: Data<Metrics>,
    health: Data<Health>,
    sign_in: Data<SignIn>,
    spool: Data<SpoolDirectory>,
    rules: Rules,
}

/// Settings for handlers and extractors.
#[derive(Clone)]
struct Rules {
    testing: Data<TestingMode>,
    metrics_guard: Data<MetricsGuard>,
    trusted: Data<TrustedProxies>,
    stall: Data<StallLimit>,
    poll: Data<PollInterval>,
    store_decides: Data<StoreDecidesReadiness>,
}

impl Shared {
    /// Fails if the directory for temporary files cannot be created.
    pub fn new(config: &Config, adapters: &Adapters, features: &Features) -> io::Result<Self> {
        let spool = config.spool_dir();
        std::fs::create_dir_all(&spool)?;
        let spool = SpoolDirectory::new(spool);
        let uploading = DetachedTasks::default();
        let metrics = Data::new(features.metrics.clone());
        let uploads = FirmwareUploads {
            firmware: features.firmware.clone(),
            rules: config.firmware.bundle,
            spool: spool.clone(),
            tasks: uploading.clone(),
            metrics: features.metrics.clone(),
        };
        let browsers = browsers(config, features, &uploading);
        let intake = features.intake.clone();
        let disks = config.uses_disks();
        let receiver = DumpReceiver::new(intake, metrics.clone(), uploading.clone(), disks);
        Ok(Self {
            shutdown: Data::new(Shutdown::default()),
            uploading: Data::new(uploading),
            context: Data::new(context(
                config,
                adapters,
                features,
                spool.clone(),
                browsers.clone(),
            )),
            models: Data::new(features.models.clone()),
            devices: Data::new(features.devices.clone()),
            firmware: Data::new(features.firmware.clone()),
            firmware_uploads: Data::new(uploads),
            rom_elfs: Data::new(features.rom_elfs.clone()),
            coredumps: Data::new(features.coredumps.clone()),
            intake: Data::new(features.intake.clone()),
            pruned: Data::new(features.pruned.clone()),
            dump_receiver: Data::new(receiver),
            metrics,
            health: Data::new(Health::new(adapters, features)),
            sign_in: Data::new(SignIn {
                browsers,
                base_url: config.http.base_url.clone(),
                clock: adapters.clock.clone(),
                metrics: features.metrics.clone(),
            }),
            spool: Data::new(spool),
            rules: Rules::new(config),
        })
    }

    pub fn in_flight(&self) -> RequestsInFlight {
        self.context.in_flight.clone()
    }

    /// Registers all routes and the state that their handlers extract.
    pub fn configure(&self, service: &mut ServiceConfig) {
        service
            .app_data(self.shutdown.clone())
            .app_data(self.uploading.clone())
            .app_data(self.context.clone())
            .app_data(self.models.clone())
            .app_data(self.devices.clone())
            .app_data(self.firmware.clone())
            .app_data(self.firmware_uploads.clone())
            .app_data(self.rom_elfs.clone())
            .app_data(self.coredumps.clone())
            .app_data(self.intake.clone())
            .app_data(self.pruned.clone())
            .app_data(self.dump_receiver.clone())
            .app_data(self.metrics.clone())
            .app_data(self.health.clone())
            .app_data(self.sign_in.clone())
            .app_data(self.spool.clone())
            .app_data(self.rules.testing.clone())
            .app_data(self.rules.metrics_guard.clone())
            .app_data(self.rules.trusted.clone())
            .app_data(self.rules.stall.clone())
            .app_data(self.rules.poll.clone())
            .app_data(self.rules.store_decides.clone());
        routes::register(service, &self.metrics);
    }
}

impl Rules {
    fn new(config: &Config) -> Self {
        Self {
            testing: Data::new(TestingMode(config.environment == Environment::Testing)),
            metrics_guard: Data::new(MetricsGuard(config.http.metrics_token.clone())),
            trusted: Data::new(TrustedProxies::new(
                config.http.trusted_proxy_hops,
                config.http.trusted_proxies.clone(),
            )),
            stall: Data::new(StallLimit(config.http.stall)),
            poll: Data::new(PollInterval(config.devices.poll)),
            store_decides: Data::new(StoreDecidesReadiness(config.http.store_decides_readiness)),
        }
    }
}

/// The sessions of browsers and their cookies; `None` without authentication.
fn browsers(
    config: &Config,
    features: &Features,
    tasks: &DetachedTasks,
) -> Option<BrowserSessions> {
    let cookies = SessionCookies(config.oidc.as_ref()?.cookies.clone());
    let sessions = features.sessions.clone()?;
    let refreshes = Refreshes::new(sessions.clone(), tasks.clone());
    Some(BrowserSessions { sessions, cookies, refreshes })
}

fn admission(
    config: &Config,
    adapters: &Adapters,
    features: &Features,
    browsers: Option<BrowserSessions>,
) -> Admission {
    let http = &config.http;
    let sites = Sites {
        base_url: http.base_url.clone(),
        pipeline_base_url: http.pipeline_base_url.clone(),
        cors_origins: http.cors_origins.clone(),
        allow_insecure: http.allow_insecure,
    };
    Admission::new(
        features.verifier.clone(),
        browsers,
        sites,
        adapters.clock.clone(),
        features.metrics.clone(),
    )
}

fn context(
    config: &Config,
    adapters: &Adapters,
    features: &Features,
    spool: SpoolDirectory,
    browsers: Option<BrowserSessions>,
) -> ExchangeContext {
    ExchangeContext {
        routes: RouteLookup::new(&table()),
        limits: BodyLimits {
            firmware_bundle: config.firmware.upload_bytes,
            dump: config.coredumps.intake.max_body_bytes,
        },
        spool,
        cors: CorsOrigins(config.http.cors_origins.clone()),
        admission: admission(config, adapters, features, browsers),
        in_flight: RequestsInFlight::default(),
        metrics: features.metrics.clone(),
    }
}
