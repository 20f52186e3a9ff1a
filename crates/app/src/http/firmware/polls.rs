//! The version that a device should run (contract §4.4).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use coredock_domain::clock::spread;
use coredock_domain::{Entropy, Firmware};

use super::views::OfferedVersionView;
use crate::http::request::error::{ApiResult, ErrorView};
use crate::http::request::identity::DeviceCaller;
use crate::system::SystemEntropy;

/// Shortest interval that a device is asked to use, in seconds.
const MIN_POLL_SECONDS: u64 = 30;
const POLL_SPREAD: f64 = 0.1;

/// The interval at which devices should poll (`FIRMWARE_POLL_SECONDS`).
#[derive(Debug, Clone, Copy)]
pub struct PollInterval(pub Duration);

/// The current version of the device's model.
#[utoipa::path(
    get, path = "/api/iot/firmware-version", tag = "device",
    operation_id = "get_iot_firmware_version",
    params(("device_key" = Option<String>, Query, description = "The device, without OIDC")),
    responses(
        (status = 200, body = OfferedVersionView), (status = 401, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView),
    )
)]
pub async fn get_iot_firmware_version(
    caller: DeviceCaller,
    firmware: Data<Firmware>,
    poll: Data<PollInterval>,
) -> ApiResult<HttpResponse> {
    let offered = firmware.offered_to(caller.claim()?).await;
    let offered = offered.map_err(|error| caller.refused(&error))?;
    let version = offered.version.as_ref();
    let facts = version.map(|version| &version.facts);
    let view = OfferedVersionView {
        firmware_version: version.map(|version| version.version.to_string()),
        size: facts.map(|facts| facts.bin.size),
        sha256: facts.map(|facts| facts.bin.sha256.to_string()),
        elf_sha256: facts.map(|facts| facts.build_id().to_string()),
        next_poll_s: jittered(poll.0, &SystemEntropy),
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(view))
}

/// `poll` ± 10 %, so that the devices of a fleet do not poll at the same time.
fn jittered(poll: Duration, entropy: &dyn Entropy) -> u64 {
    spread(poll, POLL_SPREAD, entropy).as_secs().max(MIN_POLL_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn polls_spread_by_a_tenth_and_never_fall_below_thirty_seconds() {
        let poll = |seconds, byte| jittered(Duration::from_secs(seconds), &Constant(byte));
        assert_eq!((poll(300, 0), poll(300, 255)), (270, 330));
        assert_eq!((poll(30, 0), poll(30, 255)), (30, 33));
    }
}
