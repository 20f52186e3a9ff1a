//! A real browser: headless Chromium, driven over `WebDriver` (W3C).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::process::{Process, command};
use crate::program::install_if_missing;

/// Chromium takes a while to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// For a page that is expected after the current one.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(20);
/// The member that names an element in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Chromium {
    driver: Process,
    address: SocketAddr,
    session: String,
    /// Profile and logs; dropped after the process which writes to it.
    _home: TempDir,
}

/// Installs browser and driver if they are missing.
pub fn install() -> Result<()> {
    install_if_missing("chromium", "chromium")?;
    install_if_missing("chromedriver", "chromium-driver")
}

impl Chromium {
    /// Starts a browser for which `host` is the server at `address`.
    pub fn start(host: &str, address: &str) -> Self {
        Self::try_start(host, address)
            .unwrap_or_else(|error| panic!("Chromium did not start: {error:#}"))
    }

    fn try_start(host: &str, address: &str) -> Result<Self> {
        let home = TempDir::with_prefix("coredock-chromium-")?;
        let profile = home.path().join("profile");
        fs::create_dir(&profile)?;
        let home_path = home.path().display().to_string();
        let settings = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", &home_path)];
        let mut program = command("chromedriver", settings);
        let mut driver = Process::start(program.arg("--port=0"), &home.path().join("log"))?;
        let port = driver.wait_for(START_TIMEOUT, port)?;
        let address_of_driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let arguments = json!([
            "--headless=new",
            // The tests may run as root, for whom its sandbox does not work.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            format!("--host-resolver-rules=MAP {host} {address}"),
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({"browserName": "chrome", "goog:chromeOptions": {"args": arguments}});
        let wanted = json!({"capabilities": {"alwaysMatch": options}});
        let begun = call(address_of_driver, "POST", "/session", &wanted)?;
        let session = begun["sessionId"].as_str().context("expected a session")?.to_owned();
        Ok(Self { driver, address: address_of_driver, session, _home: home })
    }

    /// Loads a page, after all redirects.
    pub fn visit(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        text(&self.call("GET", "/url", &json!({})))
    }

    /// Waits until the address of the page begins with this text.
    pub fn wait_for_url(&self, start: &str) {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        while !self.url().starts_with(start) {
            assert!(Instant::now() < deadline, "expected a page at {start}, found {}", self.url());
            std::thread::sleep(INTERVAL);
        }
    }

    /// What the page shows.
    pub fn shown(&self) -> String {
        text(&self.run("return document.body.innerText"))
    }

    /// The result of a script on the page.
    pub fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    pub fn type_into(&self, selector: &str, typed: &str) {
        let element = self.element(selector);
        self.call("POST", &format!("/element/{element}/value"), &json!({ "text": typed }));
    }

    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.call("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// The cookies of the site of the page, with their attributes.
    pub fn cookies(&self) -> Vec<Value> {
        let cookies = self.call("GET", "/cookie", &json!({}));
        cookies.as_array().expect("a list of cookies").clone()
    }

    fn element(&self, selector: &str) -> String {
        let query = json!({"using": "css selector", "value": selector});
        text(&self.call("POST", "/element", &query)[ELEMENT])
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        call(self.address, method, &path, body)
            .unwrap_or_else(|error| panic!("{method} {path} of the browser: {error:#}"))
    }
}

impl Drop for Chromium {
    /// The driver ends the browser, which would outlive it.
    fn drop(&mut self) {
        let path = format!("/session/{}", self.session);
        if self.driver.ended().is_ok_and(|ended| ended.is_none()) {
            drop(call(self.address, "DELETE", &path, &json!({})));
        }
    }
}

/// The port which the driver has chosen, from its output.
fn port(driver: &Process) -> Result<Option<u16>> {
    let output = driver.output()?;
    let Some((_, rest)) = output.split_once("started successfully on port ") else {
        return Ok(None);
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().map(Some).with_context(|| format!("expected a port, found {rest}"))
}

fn call(address: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if method == "GET" { Vec::new() } else { serde_json::to_vec(body)? };
    let answer = Client::connect(address)?.send(method, path, &body)?;
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == 200, "status {}: {shown}", answer.status);
    let mut answer: Value = serde_json::from_slice(&answer.body).context(shown)?;
    Ok(answer["value"].take())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected a text, found {value}")).to_owned()
}
