//! Large bundles, several at once.

use std::thread::scope;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use super::bundles::Bundle;
use super::fleet;
use super::memory::PeakWatch;
use super::report::{Figure, Limit, mib};
use super::server::Server;

const VERSIONS: [&str; 4] = ["1.0.1", "1.0.2", "1.0.3", "1.0.4"];
/// Bytes of the ELF. With the image and the other entries, a bundle is just within [`BODY_LIMIT`].
const ELF: usize = 62 << 20;
const IMAGE: usize = (2 << 20) - (16 << 10);
/// The default limit of the server.
const BODY_LIMIT: usize = 64 << 20;

/// Memory growth over the idle process, and the time of all uploads.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!("Uploads: {runs} times {} bundles of 64 MiB at once", VERSIONS.len());
    let bundles = VERSIONS.map(|version| Bundle { version, elf: ELF, image: IMAGE }.build());
    let fits = bundles.iter().all(|bundle| bundle.len() <= BODY_LIMIT);
    ensure!(fits, "expected bundles of at most {BODY_LIMIT} bytes");
    let (mut growth, mut seconds) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let server = Server::start(&[])?;
        fleet::create_model(&mut server.client()?)?;
        let idle = server.idle_memory()?;
        let watch = PeakWatch::start(server.pid());
        let began = Instant::now();
        upload_all(&server, &bundles)?;
        seconds.push(began.elapsed().as_secs_f64());
        growth.push(mib(watch.stop()?.saturating_sub(idle)));
    }
    let (name, limit) = ("memory growth by four uploads of 64 MiB at once", Limit::Below(48.0));
    Ok(vec![
        Figure { name, unit: "MiB", runs: growth, limit },
        Figure::without_limit("four uploads of 64 MiB at once", "s", seconds),
    ])
}

fn upload_all(server: &Server, bundles: &[Vec<u8>]) -> Result<()> {
    scope(|threads| {
        let upload = |bundle| fleet::upload(&mut server.client()?, bundle);
        let uploads: Vec<_> =
            bundles.iter().map(|bundle| threads.spawn(move || upload(bundle))).collect();
        uploads.into_iter().try_for_each(|upload| {
            upload.join().map_err(|_panic| anyhow!("an uploading thread panicked"))?
        })
    })
}
