//! An identity provider for tests: a certified implementation of `OpenID` Connect, made to look like
//! a realm of Keycloak (`crates/testkit/oidc`), in a process of its own.

mod settings;
mod token;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::process::Process;
use crate::services::oidc::OidcProgram;

pub use settings::{OidcAccount, OidcClient, OidcSettings, RefreshTokens, ResourceRoles};
pub use token::{JwsAlgorithm, TokenRequest};

/// Node.js takes a while to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running provider; it ends when this is dropped, or with the process of the test.
#[derive(Debug)]
pub struct OidcProvider {
    program: OidcProgram,
    settings: OidcSettings,
    /// Keys and clients when it was stopped last.
    state: Value,
    process: Process,
    issuer: String,
    address: SocketAddr,
}

/// The first line that the provider prints.
#[derive(Deserialize)]
struct Listening {
    issuer: String,
    port: u16,
}

/// How the keys change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The old keys are no longer published.
    Replace,
    /// The old keys stay published and sign nothing.
    KeepOld,
    /// The new keys have the ids of the old ones.
    KeepIds,
}

/// Numbers of requests since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Fetches {
    pub discovery: u64,
    pub certs: u64,
    pub token: u64,
    /// Redirects of [`Fault::Redirect`] which a client followed.
    pub followed: u64,
}

/// An endpoint that can have a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Discovery,
    Certs,
    Token,
}

/// What is wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// No answer until the faults end; then the usual one.
    Hang,
    /// A redirect to the same document without the fault.
    Redirect,
    /// 100 MiB of JSON, without `Content-Length`.
    Huge,
    /// A text which is not JSON.
    Malformed,
    /// The connection ends before the end of the body.
    Cut,
    /// Any answer.
    Answer { status: u16, body: String },
    /// For [`Endpoint::Certs`]: before each key comes another key with the same id.
    DuplicateKids,
    /// For [`Endpoint::Certs`]: the keys are among others of kinds which no client knows.
    UnknownKinds,
}

/// A fault and its place, as the provider reads them.
#[derive(Serialize)]
struct FaultyEndpoint {
    endpoint: Endpoint,
    #[serde(flatten)]
    fault: Fault,
}

impl OidcProvider {
    /// Starts a provider of its own for a test which stops it, rotates its keys or injects faults.
    pub fn start(settings: OidcSettings) -> Self {
        Self::start_with(OidcProgram::prepared(), settings)
            .unwrap_or_else(|error| panic!("the identity provider did not start: {error:#}"))
    }

    /// The provider of the whole test process, with the default settings. Tests may add clients to
    /// it and change nothing else.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<OidcProvider> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(OidcSettings::default()))
    }

    /// Starts it outside of `cargo xtask test`.
    pub fn start_with(program: OidcProgram, mut settings: OidcSettings) -> Result<Self> {
        let state = json!({});
        let (process, Listening { issuer, port }) = serve(&program, &settings, &state)?;
        settings.port = port;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { program, settings, state, process, issuer, address })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn token_url(&self) -> String {
        format!("{}/protocol/openid-connect/token", self.issuer)
    }

    /// A token as a device has it. The client of the device need not exist.
    pub fn device_token(&self, model: &str, key: &str) -> String {
        self.sign(&TokenRequest::device(model, key))
    }

    /// The token which a client gets for itself by its secret. The id and the secret must not
    /// contain characters which a form escapes.
    pub fn client_token(&self, id: &str, secret: &str) -> String {
        let path = self.token_url().replace(&format!("http://{}", self.address), "");
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let answer = Client::connect(self.address)
            .and_then(|mut client| client.post_form(&path, &form)?.json(200))
            .unwrap_or_else(|error| panic!("{id} got no token: {error:#}"));
        text(&answer["access_token"])
    }

    pub fn sign(&self, request: &TokenRequest) -> String {
        text(&self.control("POST", "/test/tokens", request)["token"])
    }

    /// Adds a client, or replaces the client with its id.
    pub fn add_client(&self, client: &OidcClient) {
        self.control("POST", "/test/clients", client);
    }

    /// Replaces all keys.
    pub fn rotate(&self) {
        self.rotate_with(Rotation::Replace);
    }

    pub fn rotate_with(&self, rotation: Rotation) {
        let options = json!({
            "keep_old": rotation == Rotation::KeepOld,
            "keep_ids": rotation == Rotation::KeepIds,
        });
        self.control("POST", "/test/rotate", &options);
    }

    pub fn fetches(&self) -> Fetches {
        let fetches = self.control("GET", "/test/fetches", &json!({}));
        serde_json::from_value(fetches).expect("the numbers of requests")
    }

    /// Gives an endpoint a fault, in place of the one it has.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.control("POST", "/test/faults", &FaultyEndpoint { endpoint, fault });
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.control("DELETE", "/test/faults", &json!({}));
    }

    /// Kills it: from now on its port refuses connections.
    pub fn stop(&mut self) {
        self.state = self.control("GET", "/test/state", &json!({}));
        self.process.signal(Signal::KILL).expect("the identity provider runs");
        self.process.wait(STOP_TIMEOUT).expect("the identity provider ends");
    }

    /// Starts it again on the same port with the same keys and clients. Sessions and refresh tokens
    /// are lost.
    pub fn restart(&mut self) {
        if self.process.ended().expect("the process is a child").is_none() {
            self.stop();
        }
        self.run_again();
    }

    /// Starts it again on the same port with other keys.
    pub fn restart_with_other_keys(&mut self) {
        if self.process.ended().expect("the process is a child").is_none() {
            self.stop();
        }
        self.state["keys"] = Value::Null;
        self.run_again();
    }

    fn run_again(&mut self) {
        let (process, _) = serve(&self.program, &self.settings, &self.state)
            .unwrap_or_else(|error| panic!("the identity provider did not restart: {error:#}"));
        self.process = process;
    }

    fn control(&self, method: &str, path: &str, body: &impl Serialize) -> Value {
        self.exchange(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} of the identity provider: {error:#}"))
    }

    fn exchange(&self, method: &str, path: &str, body: &impl Serialize) -> Result<Value> {
        let body = serde_json::to_vec(body)?;
        Client::connect(self.address)?.send(method, path, &body)?.json(200)
    }
}

/// Starts it with the settings, among which those of `state` count more.
fn serve(
    program: &OidcProgram,
    settings: &OidcSettings,
    state: &Value,
) -> Result<(Process, Listening)> {
    let mut settings = serde_json::to_value(settings)?;
    settings["parent"] = json!(std::process::id());
    for (name, value) in state.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    // Its files are needed until the provider listens; the shared provider is never dropped and
    // would leave them behind.
    let directory = TempDir::with_prefix("coredock-oidc-")?;
    let file = directory.path().join("settings.json");
    fs::write(&file, settings.to_string())?;
    let log = directory.path().join("log");
    let mut process = Process::start(&mut program.command(&file), &log)?;
    let listening = process.wait_for(START_TIMEOUT, listening)?;
    Ok((process, listening))
}

fn listening(process: &Process) -> Result<Option<Listening>> {
    let output = process.output()?;
    let Some((line, _)) = output.split_once('\n') else { return Ok(None) };
    let listening = serde_json::from_str(line);
    listening.map(Some).with_context(|| format!("expected an issuer and a port, found {line}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("the provider answers with a token").to_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn part(token: &str, index: usize) -> Value {
        let part = token.split('.').nth(index).expect("a token has three parts");
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("a part is base64url");
        serde_json::from_slice(&bytes).expect("a part is JSON")
    }

    /// The ids of the published keys.
    fn ids(provider: &OidcProvider) -> Vec<String> {
        let path = "/realms/coredock/protocol/openid-connect/certs";
        let set = provider.exchange("GET", path, &json!({})).expect("the keys");
        set["keys"].as_array().expect("a set").iter().map(|key| text(&key["kid"])).collect()
    }

    #[test]
    fn tokens_of_a_device_and_of_a_client_name_them() {
        let provider = OidcProvider::shared();
        let claims = part(&provider.device_token("demo", "abcd2345"), 1);
        assert_eq!(claims["azp"], "iotdevice-demo-abcd2345");
        assert_eq!(claims["iss"], provider.issuer());
        provider.add_client(&OidcClient::pipeline("uploads", "secret"));
        let claims = part(&provider.client_token("uploads", "secret"), 1);
        assert_eq!(claims["azp"], "uploads");
        assert_eq!(claims["aud"], "coredock");
        assert_eq!(claims["realm_access"]["roles"], json!(["pipeline"]));
    }

    #[test]
    fn a_request_decides_what_a_token_contains() {
        let request = TokenRequest::user("u-1")
            .algorithm(JwsAlgorithm::EdDSA)
            .key_id(Some("unknown"))
            .claim("aud", "other")
            .without("exp");
        let token = OidcProvider::shared().sign(&request);
        let (header, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("unknown")));
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!("u-1"), &json!("other")));
        assert_eq!(claims.get("exp"), None);
    }

    #[test]
    fn a_restarted_provider_keeps_its_issuer_and_if_wanted_its_keys() {
        let mut provider = OidcProvider::start(OidcSettings::default());
        let before = ids(&provider);
        provider.stop();
        assert!(Client::connect(provider.address()).is_err());
        provider.restart();
        assert_eq!(ids(&provider), before);
        let issuer = provider.issuer().to_owned();
        provider.restart_with_other_keys();
        assert_eq!(part(&provider.sign(&TokenRequest::user("u")), 1)["iss"], issuer);
        assert_ne!(ids(&provider), before);
    }

    #[test]
    fn faults_and_rotations_show_in_the_keys() {
        let provider = OidcProvider::start(OidcSettings::default());
        let before = ids(&provider);
        let fetches = provider.fetches();
        provider.fault(Endpoint::Certs, Fault::DuplicateKids);
        assert_eq!(ids(&provider).len(), 2 * before.len());
        let no_keys = Fault::Answer { status: 200, body: r#"{"keys":[]}"#.to_owned() };
        provider.fault(Endpoint::Certs, no_keys);
        assert_eq!(ids(&provider), Vec::<String>::new());
        provider.clear_faults();
        provider.rotate_with(Rotation::KeepIds);
        assert_eq!(ids(&provider), before);
        provider.rotate();
        assert_ne!(ids(&provider), before);
        assert_eq!(provider.fetches().certs, fetches.certs + 4);
    }
}
