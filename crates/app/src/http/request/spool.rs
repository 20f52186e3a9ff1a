//! Writes bodies to temporary files while they arrive.

use std::io::Write;

use actix_web::web;
use bytes::{Bytes, BytesMut};
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpoolWriter, SpooledFile};

use super::error::{ApiError, ApiResult};

/// Bytes per write to a temporary file.
const WRITE_BYTES: usize = 256 * 1024;

/// Collects pieces and writes them to a temporary file on the blocking pool.
pub(super) struct SpoolSink {
    writer: SpoolWriter,
    buffer: BytesMut,
    length: u64,
    limit: u64,
}

impl SpoolSink {
    pub(super) fn new(spool: &SpoolDirectory, limit: u64) -> ApiResult<Self> {
        let writer = spool.create().map_err(|error| ApiError::unavailable(&error))?;
        Ok(Self { writer, buffer: BytesMut::new(), length: 0, limit })
    }

    pub(super) async fn push(mut self, piece: Bytes) -> ApiResult<Self> {
        self.length += piece.len() as u64;
        if self.length > self.limit {
            return Err(ApiError::too_large(self.limit));
        }
        self.buffer.extend_from_slice(&piece);
        if self.buffer.len() < WRITE_BYTES { Ok(self) } else { self.flush().await }
    }

    pub(super) async fn finish(self) -> ApiResult<SpooledFile> {
        Ok(self.flush().await?.writer.finish())
    }

    async fn flush(mut self) -> ApiResult<Self> {
        let write = move || {
            self.writer.write_all(&self.buffer)?;
            self.buffer.clear();
            Ok::<_, std::io::Error>(self)
        };
        let written = web::block(write).await;
        let written = written.map_err(|error| ApiError::unexpected(error.to_string()))?;
        written.map_err(|error| ApiError::unavailable(&error))
    }
}
