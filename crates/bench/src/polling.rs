//! Devices which ask for their version, against a route with a constant answer.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::report::{Figure, Limit};
use super::server::Server;
use super::{fleet, wrk};

const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(5);

/// Rates, measured alternately, their ratio, and latency.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!("Polling: {runs} times {DURATION:?} against each server alternately, by wrk");
    wrk::prepare()?;
    let server = Server::start(&[])?;
    let mut client = server.client()?;
    let key = fleet::device_with_image(&mut client, 1 << 20)?;
    let path = format!("/api/iot/firmware-version?device_key={key}");
    let answer = client.get(&path)?;
    ensure!(answer.json(200)?["firmware_version"] == "1.0.0", "the device has no firmware");
    let bare = Server::start_bare(&String::from_utf8(answer.body)?)?;
    let urls = [&server, &bare].map(|server| format!("http://{}{path}", server.address()));
    for url in &urls {
        wrk::run(url, CONNECTIONS, WARM_UP)?;
    }
    let (mut rates, mut bare_rates) = (Vec::new(), Vec::new());
    let (mut ratios, mut p99s, mut bare_p99s) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let polls = wrk::run(&urls[0], CONNECTIONS, DURATION)?;
        let bare = wrk::run(&urls[1], CONNECTIONS, DURATION)?;
        ratios.push(polls.per_second / bare.per_second);
        rates.push(polls.per_second / 1000.0);
        bare_rates.push(bare.per_second / 1000.0);
        p99s.push(polls.p99);
        bare_p99s.push(bare.p99);
    }
    let name = "polls, ratio to a bare actix route";
    Ok(vec![
        Figure { name, unit: "", runs: ratios, limit: Limit::AtLeast(0.4) },
        Figure::without_limit("polls", "k/s", rates),
        Figure::without_limit("bare actix route", "k/s", bare_rates),
        Figure::without_limit("polls, p99", "ms", p99s),
        Figure::without_limit("bare actix route, p99", "ms", bare_p99s),
    ])
}
