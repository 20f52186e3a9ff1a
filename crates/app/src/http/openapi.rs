//! The `OpenAPI` document of all routes.

use utoipa::OpenApi;

use super::{
    coredumps, devices, firmware, identity, intake, models, operations, rom_elfs, testing,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Coredock",
        description = "Firmware delivery and crash reports for ESP32 fleets."
    ),
    paths(
        devices::config::get_iot_config,
        firmware::downloads::get_iot_firmware,
        firmware::polls::get_iot_firmware_version,
        intake::upload_coredump,
        firmware::uploads::pipeline_upload_firmware,
        firmware::pipeline_get_firmware_version,
        models::list_device_models,
        models::create_device_model,
        models::get_device_model,
        models::update_device_model,
        models::delete_device_model,
        firmware::uploads::upload_firmware,
        firmware::downloads::download_firmware,
        firmware::list_firmware_versions,
        firmware::downloads::download_artifact,
        firmware::activate_firmware,
        firmware::delete_firmware_version,
        rom_elfs::list_rom_elfs,
        rom_elfs::upload_rom_elf,
        rom_elfs::delete_rom_elf,
        devices::list_devices,
        devices::create_device,
        devices::get_device,
        devices::update_device,
        devices::delete_device,
        coredumps::list_fleet_coredumps,
        coredumps::groups::list_crash_groups,
        coredumps::list_coredumps,
        coredumps::delete_all_coredumps,
        coredumps::get_coredump,
        coredumps::delete_coredump,
        coredumps::download::download_coredump,
        coredumps::get_coredump_report,
        coredumps::reparse_coredump,
        testing::seed_coredump,
        identity::get_self,
        identity::login,
        identity::callback,
        identity::logout,
        operations::get_liveness,
        operations::get_readiness,
        operations::get_metrics,
        operations::get_openapi,
    )
)]
struct Document;

/// The document as JSON text.
pub fn document() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}
