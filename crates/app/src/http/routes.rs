//! The route table. A row contains everything about a route, and the server derives the rest from
//! it: registration, `HEAD` for `GET`, 405 with `Allow`, the counting of calls, labels of metrics,
//! levels of log lines, limits of bodies, the deadline of devices, and the bodies that are read
//! before their handler is called.
//!
//! A row names, in this order: the class of traffic, the method, the path, the role of the caller,
//! the name under which calls are counted, and the handler.

mod counted;
pub mod lookup;
pub mod row;

use actix_web::http::Method;
use actix_web::{HttpResponse, Resource, web};

use super::coredumps::{self, groups};
use super::devices::{self, config};
use super::firmware::{self, downloads, polls, uploads};
use super::request::error::{ApiError, ApiResult};
use super::{identity, intake, models, operations, rom_elfs, testing};
use crate::metrics::Metrics;
use row::Class::{Admin, Device, Operator, Pipeline};
use row::{Body, Class, Row, anyone, device, editor, pipeline, test_bench, viewer};

/// The form of an id in a path; a path with any other text is unknown (contract §1.1).
const ID: &str = "[0-9]{1,18}";

/// The class of the unknown paths below a prefix.
pub struct Area {
    pub prefix: &'static str,
    pub class: Class,
}

/// The first matching prefix decides. All other unknown paths belong to operators.
pub const AREAS: [Area; 3] = [
    Area { prefix: "/api/iot/", class: Device },
    Area { prefix: "/api/pipeline/", class: Pipeline },
    Area { prefix: "/api/", class: Admin },
];

/// All rows. The rows of one path are adjacent. The rows of devices come first, because the router
/// tries paths in this order.
pub fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(device_routes());
    rows.extend(pipeline_routes());
    rows.extend(model_routes());
    rows.extend(firmware_routes());
    rows.extend(rom_elf_routes());
    rows.extend(device_admin_routes());
    rows.extend(coredump_routes());
    rows.extend(identity_routes());
    rows.extend(operator_routes());
    rows
}

fn device_routes() -> [Row; 4] {
    [
        Device.get("/api/iot/config", device("iot_get_config", config::get_iot_config)),
        Device
            .post("/api/iot/coredump", device("iot_upload_coredump", intake::upload_coredump))
            .reads(Body::Dump),
        Device
            .get("/api/iot/firmware", device("iot_get_firmware", downloads::get_iot_firmware))
            .streams()
            .quiet(),
        Device
            .get(
                "/api/iot/firmware-version",
                device("iot_get_firmware_version", polls::get_iot_firmware_version),
            )
            .quiet(),
    ]
}

fn pipeline_routes() -> [Row; 2] {
    [
        Pipeline
            .post(
                "/api/pipeline/models/{code}/firmware",
                pipeline("pipeline_upload_firmware", uploads::pipeline_upload_firmware),
            )
            .reads(Body::FirmwareBundle),
        Pipeline.get(
            "/api/pipeline/models/{code}/firmware-version",
            pipeline("pipeline_get_firmware_version", firmware::pipeline_get_firmware_version),
        ),
    ]
}

fn model_routes() -> [Row; 5] {
    let (all, one) = ("/api/device-models", "/api/device-models/{id}");
    [
        Admin.get(all, viewer("list_device_models", models::list_device_models)),
        Admin
            .post(all, editor("create_device_model", models::create_device_model))
            .reads(Body::Json),
        Admin.get(one, viewer("get_device_model", models::get_device_model)),
        Admin
            .put(one, editor("update_device_model", models::update_device_model))
            .reads(Body::Json),
        Admin.delete(one, editor("delete_device_model", models::delete_device_model)),
    ]
}

fn firmware_routes() -> [Row; 6] {
    let current = "/api/device-models/{id}/firmware";
    let version = "/api/device-models/{id}/firmware-versions/{version}";
    [
        Admin.get(current, viewer("download_firmware", downloads::download_firmware)).streams(),
        Admin
            .post(current, editor("upload_firmware", uploads::upload_firmware))
            .reads(Body::FirmwareBundle),
        Admin.get(
            "/api/device-models/{id}/firmware-versions",
            viewer("list_firmware_versions", firmware::list_firmware_versions),
        ),
        Admin.delete(version, editor("delete_firmware_version", firmware::delete_firmware_version)),
        Admin
            .get(
                "/api/device-models/{id}/firmware-versions/{version}/artifacts/{artifact}",
                viewer("download_artifact", downloads::download_artifact),
            )
            .streams(),
        Admin.post(
            "/api/device-models/{id}/firmware-versions/{version}/activate",
            editor("activate_firmware", firmware::activate_firmware),
        ),
    ]
}

fn rom_elf_routes() -> [Row; 3] {
    let all = "/api/rom-elfs";
    [
        Admin.get(all, viewer("list_rom_elfs", rom_elfs::list_rom_elfs)),
        Admin.post(all, editor("upload_rom_elf", rom_elfs::upload_rom_elf)).reads(Body::RomElf),
        Admin.delete("/api/rom-elfs/{id}", editor("delete_rom_elf", rom_elfs::delete_rom_elf)),
    ]
}

fn device_admin_routes() -> [Row; 5] {
    let (all, one) = ("/api/devices", "/api/devices/{id}");
    [
        Admin.get(all, viewer("list_devices", devices::list_devices)),
        Admin.post(all, editor("create_device", devices::create_device)).reads(Body::Json),
        Admin.get(one, viewer("get_device", devices::get_device)),
        Admin.put(one, editor("update_device", devices::update_device)).reads(Body::Json),
        Admin.delete(one, editor("delete_device", devices::delete_device)),
    ]
}

fn coredump_routes() -> [Row; 10] {
    let all = "/api/devices/{id}/coredumps";
    let one = "/api/devices/{id}/coredumps/{coredump_id}";
    [
        Admin
            .get("/api/coredumps", viewer("list_fleet_coredumps", coredumps::list_fleet_coredumps)),
        Admin.get("/api/crash-groups", viewer("list_crash_groups", groups::list_crash_groups)),
        Admin.get(all, viewer("list_coredumps", coredumps::list_coredumps)),
        Admin.delete(all, editor("delete_all_coredumps", coredumps::delete_all_coredumps)),
        Admin.get(one, viewer("get_coredump", coredumps::get_coredump)),
        Admin.delete(one, editor("delete_coredump", coredumps::delete_coredump)),
        Admin
            .get(
                "/api/devices/{id}/coredumps/{coredump_id}/download",
                viewer("download_coredump", coredumps::download::download_coredump),
            )
            .streams(),
        Admin.get(
            "/api/devices/{id}/coredumps/{coredump_id}/report",
            viewer("get_coredump_report", coredumps::get_coredump_report),
        ),
        Admin.post(
            "/api/devices/{id}/coredumps/{coredump_id}/reparse",
            editor("reparse_coredump", coredumps::reparse_coredump),
        ),
        Admin.post("/api/testing/coredumps", test_bench(testing::seed_coredump)).reads(Body::Json),
    ]
}

fn identity_routes() -> [Row; 4] {
    [
        Admin.get("/api/auth/self", viewer("get_self", identity::get_self)),
        Admin.get("/api/auth/login", anyone(identity::login)),
        Admin.get("/api/auth/callback", anyone(identity::callback)),
        Admin.get("/api/auth/logout", anyone(identity::logout)),
    ]
}

fn operator_routes() -> [Row; 4] {
    [
        Operator.get("/health/healthz", anyone(operations::get_liveness)).quiet(),
        Operator.get("/health/readyz", anyone(operations::get_readiness)).quiet(),
        Operator.get("/metrics", anyone(operations::get_metrics)).quiet(),
        Admin.get("/api/docs/openapi.json", anyone(operations::get_openapi)),
    ]
}

/// Registers every row; calls are counted in `metrics`.
pub fn register(service: &mut web::ServiceConfig, metrics: &web::Data<Metrics>) {
    for rows in table().chunk_by(|a, b| a.facts.path == b.facts.path) {
        service.service(resource(rows, metrics));
    }
    service.default_service(web::to(route_not_found));
}

/// One path with its methods; any other method is refused with the list of these.
fn resource(rows: &[Row], metrics: &web::Data<Metrics>) -> Resource {
    let methods: Vec<_> = rows.iter().flat_map(Row::methods).collect();
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let allow = names.join(", ");
    let refuse = move || {
        let error = ApiError::method_not_allowed(&allow);
        async move { Err::<HttpResponse, ApiError>(error) }
    };
    let resource = web::resource(pattern(rows[0].facts.path)).default_service(web::to(refuse));
    let routes = rows.iter().flat_map(|row| row.routes(metrics));
    routes.fold(resource, Resource::route)
}

/// The path in the syntax of the router, in which ids are digits.
fn pattern(path: &str) -> String {
    path.replace("id}", &format!("id:{ID}}}"))
}

async fn route_not_found() -> ApiResult<HttpResponse> {
    Err(ApiError::route_not_found())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use row::Role;

    #[test]
    fn rows_of_one_path_are_adjacent_and_have_different_methods() {
        let rows = table();
        let paths: Vec<_> = rows.chunk_by(|a, b| a.facts.path == b.facts.path).collect();
        let distinct: HashSet<_> = rows.iter().map(|row| row.facts.path).collect();
        assert_eq!(paths.len(), distinct.len());
        for rows in paths {
            let methods: HashSet<_> = rows.iter().map(|row| row.facts.method.clone()).collect();
            assert_eq!(methods.len(), rows.len(), "{}", rows[0].facts.path);
        }
    }

    #[test]
    fn the_class_of_a_row_is_that_of_its_area() {
        let lookup = lookup::RouteLookup::new(&table());
        for Row { facts, .. } in &table() {
            let unknown = lookup.find(&format!("{}/unknown", facts.path));
            assert_eq!((unknown.label(), unknown.class), ("unknown", facts.class), "{facts:?}");
        }
    }

    #[test]
    fn roles_follow_the_class_and_the_method() {
        for Row { facts, .. } in &table() {
            let reads = facts.method == Method::GET;
            let allowed: &[Role] = match (facts.class, reads) {
                (Device, _) => &[Role::Device],
                (Pipeline, _) => &[Role::Pipeline],
                (Admin, true) => &[Role::Viewer, Role::Anyone],
                (Admin, false) => &[Role::Editor, Role::TestBench],
                (Operator, _) => &[Role::Anyone],
            };
            assert!(allowed.contains(&facts.role), "{facts:?}");
        }
    }

    #[test]
    fn every_row_is_counted_under_a_different_name() {
        let rows = table();
        let names: Vec<_> = rows.iter().filter_map(|row| row.facts.operation).collect();
        let distinct: HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len());
    }

    #[test]
    fn a_path_is_found_with_its_rows() {
        let lookup = lookup::RouteLookup::new(&table());
        for Row { facts, .. } in &table() {
            let path = facts.path.replace("{id}", "1").replace("{coredump_id}", "2");
            let found = lookup.find(&path);
            assert_eq!((found.label(), found.class), (facts.path, facts.class), "{path}");
            assert_eq!(found.body(&facts.method), facts.body, "{path}");
        }
        assert_eq!(lookup.find("/api/devices/x").label(), "unknown");
    }
}
