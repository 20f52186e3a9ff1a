//! Devices which ask for their version with tokens, against the same devices without
//! authentication.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use coredock_testkit::oidc::{JwsAlgorithm, OidcProvider, OidcSettings, TokenRequest};
use coredock_testkit::program::root;
use coredock_testkit::services::oidc::OidcProgram;
use coredock_testkit::services::postgres::{Durability, PostgresServer};
use tempfile::TempDir;

use super::bundles::{Bundle, MODEL};
use super::fleet;
use super::report::{Figure, Limit};
use super::server::Server;
use super::wrk::{self, Load};

const DEVICES: usize = 200;
const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(5);
const PATH: &str = "/api/iot/firmware-version";

/// Names of the figures on one database.
struct Names {
    off: &'static str,
    ratios: [&'static str; 2],
    p99_ratios: [&'static str; 2],
}

const SQLITE: Names = Names {
    off: "SQLite: polls without authentication",
    ratios: ["SQLite: RS256, ratio to that", "SQLite: ES256, ratio to that"],
    p99_ratios: ["SQLite: RS256, p99, ratio to that", "SQLite: ES256, p99, ratio to that"],
};
const POSTGRES: Names = Names {
    off: "PostgreSQL: polls without authentication",
    ratios: ["PostgreSQL: RS256, ratio to that", "PostgreSQL: ES256, ratio to that"],
    p99_ratios: ["PostgreSQL: RS256, p99, ratio to that", "PostgreSQL: ES256, p99, ratio to that"],
};

/// Rates and latencies, measured alternately, as ratios to those without authentication.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!(
        "Polls of {DEVICES} devices: {runs} times {DURATION:?} without authentication, with RS256 \
         and with ES256 tokens, by wrk with {CONNECTIONS} connections"
    );
    wrk::prepare()?;
    let provider = OidcProvider::start_with(OidcProgram::prepare()?, OidcSettings::default())?;
    let postgres = PostgresServer::start(Durability::Full)?;
    let mut figures = on_database(runs, &provider, &SQLITE, [None, None])?;
    for name in ["auth_off", "auth_on"] {
        postgres.create_database(name)?;
    }
    let urls = [Some(postgres.url("auth_off")), Some(postgres.url("auth_on"))];
    figures.extend(on_database(runs, &provider, &POSTGRES, urls)?);
    Ok(figures)
}

/// Measures two servers, each on a database of its own; `None` is SQLite.
fn on_database(
    runs: usize,
    provider: &OidcProvider,
    names: &Names,
    databases: [Option<String>; 2],
) -> Result<Vec<Figure>> {
    let [off, on] = databases.map(|url| url.map(|url| ("DATABASE_URL", url)));
    let scripts = TempDir::with_prefix_in("bench-", root().join("target"))?;
    let (off, keys) = server(off.as_ref())?;
    let without = keys.iter().map(|key| (format!("{PATH}?device_key={key}"), None));
    let without = script(&scripts.path().join("off.lua"), without)?;

    let database = on;
    let (mut on, keys) = server(database.as_ref())?;
    on.restart(&behind(provider, database.as_ref()))?;
    let with = |algorithm: JwsAlgorithm, name: &str| {
        let token = |key: &String| {
            let token = TokenRequest::device(MODEL, key).algorithm(algorithm);
            (PATH.to_owned(), Some(provider.sign(&token.time("exp", 3600))))
        };
        script(&scripts.path().join(name), keys.iter().map(token))
    };
    let rs256 = with(JwsAlgorithm::RS256, "rs256.lua")?;
    let es256 = with(JwsAlgorithm::ES256, "es256.lua")?;

    let load = |server: &Server, script: &str, duration| {
        wrk::run_script(&format!("http://{}", server.address()), script, CONNECTIONS, duration)
    };
    let all = [(&off, &*without), (&on, &*rs256), (&on, &*es256)];
    for (server, script) in all {
        load(server, script, WARM_UP)?;
    }
    let mut measured: [Vec<Load>; 3] = Default::default();
    for _ in 0..runs {
        for ((server, script), loads) in all.iter().zip(&mut measured) {
            loads.push(load(server, script, DURATION)?);
        }
    }
    Ok(figures(names, &measured))
}

/// A server without authentication, with a version and these devices.
fn server(database: Option<&(&'static str, String)>) -> Result<(Server, Vec<String>)> {
    let settings: Vec<_> =
        database.iter().map(|(name, url)| (*name, url.as_str())).chain(NO_SYMBOLIZER).collect();
    let server = Server::start(&settings)?;
    let mut client = server.client()?;
    let model = fleet::create_model(&mut client)?;
    fleet::upload(
        &mut client,
        &Bundle { version: "1.0.0", elf: 64 << 10, image: 1 << 20 }.build(),
    )?;
    let device = |number: usize| format!("Bench {number}");
    let keys: Result<Vec<_>> = (0..DEVICES)
        .map(|number| fleet::create_device(&mut client, model, &device(number)))
        .collect();
    let keys = keys?;
    let answer = client.get(&format!("{PATH}?device_key={}", keys[0]))?.json(200)?;
    ensure!(answer["firmware_version"] == "1.0.0", "the device has no firmware: {answer}");
    Ok((server, keys))
}

const NO_SYMBOLIZER: [(&str, &str); 1] = [("SYMBOLIZER", "off")];

fn behind<'a>(
    provider: &'a OidcProvider,
    database: Option<&'a (&'static str, String)>,
) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![
        ("OIDC_ENABLED", "true"),
        ("OIDC_ISSUER_URL", provider.issuer()),
        ("OIDC_CLIENT_ID", "coredock"),
        ("OIDC_CLIENT_SECRET", "secret-of-the-bench"),
    ];
    settings.extend(NO_SYMBOLIZER);
    settings.extend(database.map(|(name, url)| (*name, url.as_str())));
    settings
}

/// Writes a script for `wrk` which sends these requests in turns, and returns its path. All are
/// rendered before the first is sent, so that they cost the load generator the same.
fn script(path: &Path, requests: impl Iterator<Item = (String, Option<String>)>) -> Result<String> {
    let mut text = String::from("local requests = {}\nfunction init()\n");
    for (path, token) in requests {
        let headers = token
            .map_or_else(String::new, |token| format!("[\"Authorization\"] = \"Bearer {token}\""));
        writeln!(text, "  requests[#requests + 1] = wrk.format('GET', '{path}', {{{headers}}})")?;
    }
    text.push_str(
        "end\nlocal sent = 0\nfunction request()\n  sent = sent % #requests + 1\n  \
         return requests[sent]\nend\n",
    );
    std::fs::write(path, text)?;
    Ok(path.display().to_string())
}

/// Figures of the loads without authentication, with RS256 and with ES256.
fn figures(names: &Names, [off, with @ ..]: &[Vec<Load>; 3]) -> Vec<Figure> {
    let ratios = |loads: &[Load], value: fn(&Load) -> f64| {
        loads.iter().zip(off).map(|(on, off)| value(on) / value(off)).collect()
    };
    let rates = off.iter().map(|load| load.per_second / 1000.0).collect();
    let mut figures = vec![Figure::without_limit(names.off, "k/s", rates)];
    for (name, loads) in names.ratios.into_iter().zip(with) {
        let runs = ratios(loads, |load| load.per_second);
        figures.push(Figure { name, unit: "", runs, limit: Limit::AtLeast(0.8) });
    }
    for (name, loads) in names.p99_ratios.into_iter().zip(with) {
        let runs = ratios(loads, |load| load.p99);
        figures.push(Figure { name, unit: "", runs, limit: Limit::Below(1.5) });
    }
    figures
}
