//! The rate of durable files, written by this process alone. Each received dump needs one.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::BODY;
use super::burst::body;
use crate::report::per_second;

/// Files which `writers` threads create, write and sync per second in one directory.
pub(super) fn written(directory: &Path, writers: usize, duration: Duration) -> Result<f64> {
    let began = Instant::now();
    let write = |writer: usize| -> Result<usize> {
        let content = body(writer, BODY);
        let mut written = 0;
        while began.elapsed() < duration {
            let name = format!("{writer}-of-{writers}-{written}");
            let mut file = File::create(directory.join(name))?;
            file.write_all(&content)?;
            file.sync_all()?;
            written += 1;
        }
        Ok(written)
    };
    let written = scope(|threads| {
        let writing: Vec<_> =
            (0..writers).map(|writer| threads.spawn(move || write(writer))).collect();
        writing.into_iter().try_fold(0, |sum, writer| {
            let written =
                writer.join().map_err(|_panic| anyhow!("a writing thread panicked"))??;
            Ok::<_, anyhow::Error>(sum + written)
        })
    })?;
    per_second(written, began.elapsed())
}
