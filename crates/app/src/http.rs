//! The HTTP surface: one table of routes, grouped by caller.

pub mod coredumps;
pub mod devices;
pub mod firmware;
pub mod intake;
pub mod models;
pub mod openapi;
pub mod operations;
pub mod request;
pub mod rom_elfs;
pub mod testing;

use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, Handler, Resource, Responder, web};

use request::error::ApiError;

/// Devices are answered within 10 s (contract §1.7); this leaves room to write the answer.
const DEVICE_DEADLINE: Duration = Duration::from_millis(9_500);

/// Ids in paths; anything else is an unknown path (contract §1.1).
const ID: &str = "{id:[0-9]{1,18}}";

/// Registers every route.
pub fn configure(service: &mut web::ServiceConfig) {
    service
        .service(
            web::scope("/api/iot")
                .wrap(from_fn(device_deadline))
                .service(route("/config").get(devices::config::get_iot_config).done())
                .service(route("/coredump").post(intake::upload_coredump).done())
                .service(route("/firmware").get(firmware::device::get_iot_firmware).done())
                .service(
                    route("/firmware-version")
                        .get(firmware::device::get_iot_firmware_version)
                        .done(),
                )
                .default_service(web::to(route_not_found)),
        )
        .service(
            web::scope("/api/pipeline/models/{code}")
                .service(route("/firmware").post(firmware::pipeline_upload_firmware).done())
                .service(
                    route("/firmware-version").get(firmware::pipeline_get_firmware_version).done(),
                )
                .default_service(web::to(route_not_found)),
        )
        .configure(configure_models)
        .configure(configure_coredumps)
        .service(
            route("/api/rom-elfs")
                .get(rom_elfs::list_rom_elfs)
                .post(rom_elfs::upload_rom_elf)
                .done(),
        )
        .service(route(&format!("/api/rom-elfs/{ID}")).delete(rom_elfs::delete_rom_elf).done())
        .service(
            route("/api/devices").get(devices::list_devices).post(devices::create_device).done(),
        )
        .service(
            route(&format!("/api/devices/{ID}"))
                .get(devices::get_device)
                .put(devices::update_device)
                .delete(devices::delete_device)
                .done(),
        )
        .service(route("/api/testing/coredumps").post(testing::seed_coredump).done())
        .service(route("/health/healthz").get(operations::get_liveness).done())
        .service(route("/health/readyz").get(operations::get_readiness).done())
        .service(route("/metrics").get(operations::get_metrics).done())
        .service(route("/api/docs/openapi.json").get(operations::get_openapi).done())
        .default_service(web::to(route_not_found));
}

fn configure_models(service: &mut web::ServiceConfig) {
    let model = format!("/api/device-models/{ID}");
    let version = format!("{model}/firmware-versions/{{version}}");
    service
        .service(
            route("/api/device-models")
                .get(models::list_device_models)
                .post(models::create_device_model)
                .done(),
        )
        .service(
            route(&model)
                .get(models::get_device_model)
                .put(models::update_device_model)
                .delete(models::delete_device_model)
                .done(),
        )
        .service(
            route(&format!("{model}/firmware"))
                .get(firmware::download_firmware)
                .post(firmware::upload_firmware)
                .done(),
        )
        .service(
            route(&format!("{model}/firmware-versions"))
                .get(firmware::list_firmware_versions)
                .done(),
        )
        .service(route(&version).delete(firmware::delete_firmware_version).done())
        .service(
            route(&format!("{version}/artifacts/{{artifact}}"))
                .get(firmware::download_artifact)
                .done(),
        )
        .service(route(&format!("{version}/activate")).post(firmware::activate_firmware).done());
}

fn configure_coredumps(service: &mut web::ServiceConfig) {
    let of_device = format!("/api/devices/{ID}/coredumps");
    let one = format!("{of_device}/{{coredump_id:[0-9]{{1,18}}}}");
    service
        .service(route("/api/coredumps").get(coredumps::list_fleet_coredumps).done())
        .service(route("/api/crash-groups").get(coredumps::groups::list_crash_groups).done())
        .service(
            route(&of_device)
                .get(coredumps::list_coredumps)
                .delete(coredumps::delete_all_coredumps)
                .done(),
        )
        .service(route(&one).get(coredumps::get_coredump).delete(coredumps::delete_coredump).done())
        .service(route(&format!("{one}/download")).get(coredumps::download_coredump).done())
        .service(route(&format!("{one}/report")).get(coredumps::get_coredump_report).done())
        .service(route(&format!("{one}/reparse")).post(coredumps::reparse_coredump).done());
}

/// The methods of one path.
struct Route {
    resource: Resource,
    allow: Vec<&'static str>,
}

fn route(path: &str) -> Route {
    Route { resource: web::resource(path), allow: Vec::new() }
}

impl Route {
    /// `HEAD` answers wherever `GET` does.
    fn get<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource =
            self.resource.route(web::get().to(handler.clone())).route(web::head().to(handler));
        self.allow.extend(["GET", "HEAD"]);
        self
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.method("POST", web::post().to(handler))
    }

    fn put<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.method("PUT", web::put().to(handler))
    }

    fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.method("DELETE", web::delete().to(handler))
    }

    fn method(mut self, name: &'static str, route: actix_web::Route) -> Self {
        self.resource = self.resource.route(route);
        self.allow.push(name);
        self
    }

    /// Every other method is refused with the list of those there are.
    fn done(self) -> Resource {
        let allow = self.allow.join(", ");
        let refuse = move || {
            let error = ApiError::method_not_allowed(&allow);
            async move { Err::<actix_web::HttpResponse, ApiError>(error) }
        };
        self.resource.default_service(web::to(refuse))
    }
}

async fn route_not_found() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::route_not_found())
}

/// A device reboots rather than wait: a dependency that hangs is an outage.
async fn device_deadline(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let answer = tokio::time::timeout(DEVICE_DEADLINE, next.call(request)).await;
    answer.unwrap_or_else(|_| Err(ApiError::outage("a device was not answered in time").into()))
}
