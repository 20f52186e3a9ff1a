//! A rollout: many devices download the same image, each at the speed of its flash.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::fleet;
use super::memory::PeakWatch;
use super::report::{Figure, Limit, mib};
use super::server::Server;

const READERS: usize = 500;
const IMAGE: usize = 1 << 20;
const DURATION: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);
/// Bytes read per tick: 26 KB/s.
const PIECE: usize = 2600;
/// As small as that of a device, so that the bytes wait in the server and not in the kernel.
const RECEIVE_BUFFER: u32 = 8 << 10;
/// File descriptors of the client or the server, besides those of the connections.
const SPARE_FILES: u64 = 200;

/// Memory growth over the idle process, and the rate of the readers.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!("Downloads: {runs} times {READERS} readers of 1 MiB, for {DURATION:?}");
    allow_many_files()?;
    let (mut growth, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let server = Server::start(&[])?;
        let idle = server.idle_memory()?;
        let key = fleet::device_with_image(&mut server.client()?, IMAGE)?;
        let watch = PeakWatch::start(server.pid());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        rates.push(runtime.block_on(read_all(server.address(), &key))?);
        growth.push(mib(watch.stop()?.saturating_sub(idle)));
    }
    let (name, limit) = ("memory growth by 500 slow downloads of 1 MiB", Limit::Below(64.0));
    let rate = "rate of each of the 500 downloads";
    Ok(vec![
        Figure { name, unit: "MiB", runs: growth, limit },
        Figure { name: rate, unit: "kB/s", runs: rates, limit: Limit::AtLeast(20.0) },
    ])
}

/// Raises the limit of open files, which the server inherits.
fn allow_many_files() -> Result<()> {
    let needed = u64::try_from(READERS)? + SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("cannot raise the limit of open files to {needed}"))?;
    }
    Ok(())
}

/// The mean rate of a reader, in kB/s. A reader that is cut off is an error.
async fn read_all(address: SocketAddr, key: &str) -> Result<f64> {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(read_slowly(address, key.to_owned()));
    }
    let mut bytes = 0;
    while let Some(read) = readers.join_next().await {
        bytes += read??;
    }
    let mean = u32::try_from(bytes / READERS)?;
    Ok(f64::from(mean) / 1000.0 / DURATION.as_secs_f64())
}

/// Reads for [`DURATION`] and returns the number of bytes.
async fn read_slowly(address: SocketAddr, key: String) -> Result<usize> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let mut stream = socket.connect(address).await?;
    let request =
        format!("GET /api/iot/firmware?device_key={key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    read_head(&mut stream).await?;
    let (began, mut ticks) = (Instant::now(), interval(TICK));
    let (mut bytes, mut piece) = (0, [0; PIECE]);
    while began.elapsed() < DURATION {
        ticks.tick().await;
        // A late piece must not extend the measurement.
        let left = DURATION.saturating_sub(began.elapsed());
        let Ok(read) = timeout(left, stream.read(&mut piece)).await else { break };
        let read = read?;
        ensure!(read > 0, "a download ended after {bytes} bytes");
        bytes += read;
    }
    Ok(bytes)
}

async fn read_head(stream: &mut TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("a download has no complete head")?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    ensure!(head.starts_with("http/1.1 200 "), "expected status 200 of a download, found {head}");
    let length = format!("content-length: {IMAGE}\r\n");
    ensure!(head.contains(&length), "expected a download of {IMAGE} bytes, found {head}");
    Ok(())
}
