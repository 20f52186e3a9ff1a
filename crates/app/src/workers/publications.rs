//! Finishes publications of firmware whose process died or lost its connection.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Workers, warn};

const INTERVAL: Duration = Duration::from_secs(1);

impl Workers {
    pub(super) async fn finish_publications(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.features.firmware.settle_interrupted().await {
                Ok(0) => {}
                Ok(settled) => {
                    tracing::info!(settled, "{settled} interrupted publications were finished");
                }
                Err(error) => warn(
                    "interrupted publications are not finished yet: database or artifact store unavailable",
                    &error,
                ),
            }
            let _ = stop.run_until_cancelled(self.clock.sleep(INTERVAL)).await;
        }
    }
}
