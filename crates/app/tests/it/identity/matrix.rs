//! Every route of the table with every kind of caller. What is expected comes from the paths of
//! contract §3.1, not from the roles in the table.

use coredock::http::routes::row::RouteFacts;
use coredock::http::routes::table;
use coredock_testkit::oidc::{OidcProvider, TokenRequest};
use reqwest::Method;

use crate::support::identity::user;
use crate::support::{Answer, Demo, TestServer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Anonymous,
    Expired,
    ForeignIssuer,
    WrongAudience,
    OwnDevice,
    /// A device that names another device.
    OtherDevice,
    NoRole,
    Viewer,
    Editor,
    Admin,
    Pipeline,
}

const CALLERS: [Caller; 11] = [
    Caller::Anonymous,
    Caller::Expired,
    Caller::ForeignIssuer,
    Caller::WrongAudience,
    Caller::OwnDevice,
    Caller::OtherDevice,
    Caller::NoRole,
    Caller::Viewer,
    Caller::Editor,
    Caller::Admin,
    Caller::Pipeline,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unauthenticated,
    Forbidden,
    Admitted,
}

impl Caller {
    fn token(self, provider: &OidcProvider, own: &str) -> Option<String> {
        let admin = || TokenRequest::user("u-1").realm_roles(&["admin"]);
        Some(match self {
            Self::Anonymous => return None,
            Self::Expired => provider.sign(&admin().time("exp", -40)),
            Self::ForeignIssuer => provider.sign(&admin().claim("iss", "http://127.0.0.1:1")),
            Self::WrongAudience => provider.sign(&admin().claim("aud", "account")),
            Self::OwnDevice | Self::OtherDevice => {
                let device = TokenRequest::device("demo", own).realm_roles(&["admin"]);
                provider.sign(&device)
            }
            Self::NoRole => user(provider, &["offline_access"]),
            Self::Viewer => user(provider, &["viewer"]),
            Self::Editor => user(provider, &["editor"]),
            Self::Admin => user(provider, &["admin"]),
            Self::Pipeline => user(provider, &["pipeline"]),
        })
    }

    /// Contract §3.1.
    fn expected(self, method: &Method, path: &str) -> Verdict {
        let public = [
            "/health/",
            "/metrics",
            "/api/docs",
            "/api/testing/",
            "/api/auth/login",
            "/api/auth/callback",
            "/api/auth/logout",
        ];
        let public = public.iter().any(|prefix| path.starts_with(prefix));
        let is_device_route = path.starts_with("/api/iot/");
        let is_read = *method == Method::GET || *method == Method::HEAD;
        let is_admitted = match self {
            _ if public => true,
            Self::Anonymous | Self::Expired | Self::ForeignIssuer | Self::WrongAudience => {
                return Verdict::Unauthenticated;
            }
            Self::OwnDevice | Self::OtherDevice => is_device_route,
            _ if is_device_route => return Verdict::Unauthenticated,
            Self::Pipeline => path.starts_with("/api/pipeline/"),
            _ if path.starts_with("/api/pipeline/") => self == Self::Admin,
            Self::NoRole => false,
            Self::Viewer => is_read,
            Self::Editor | Self::Admin => true,
        };
        if is_admitted { Verdict::Admitted } else { Verdict::Forbidden }
    }
}

/// The path of a route with ids that do not exist, so that an admitted caller changes nothing.
fn path_of(route: &RouteFacts, caller: Caller, other: &str) -> String {
    let mut path = String::new();
    for segment in route.path.split('/').skip(1) {
        let text = match segment {
            "{code}" => "absent",
            "{version}" => "9.9.9",
            "{artifact}" => "bin",
            "{cause}" => "none",
            _ if segment.starts_with('{') => "999",
            _ => segment,
        };
        path.push('/');
        path.push_str(text);
    }
    if caller == Caller::OtherDevice {
        path.push_str("?device_key=");
        path.push_str(other);
    }
    path
}

fn verdict(answer: &Answer) -> Verdict {
    match answer.status {
        401 => Verdict::Unauthenticated,
        403 => Verdict::Forbidden,
        _ => Verdict::Admitted,
    }
}

/// An answer of the error format, and for a 401 the scheme that is expected.
fn check_refusal(answer: Answer, method: &Method) {
    let (status, code) = match answer.status {
        401 => (401, "AUTHENTICATION_REQUIRED"),
        403 => (403, "AUTHORIZATION_FAILED"),
        _ => return,
    };
    let scheme = if status == 401 { "Bearer" } else { "" };
    assert_eq!(answer.header("www-authenticate"), scheme);
    if *method != Method::HEAD {
        answer.expect_error(status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_admits_whom_the_contract_names() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let Demo { model_id, device } = server.demo().await;
    let other = server.create_device(model_id, "{}").await;
    let mut wrong = Vec::new();
    for (number, caller) in CALLERS.into_iter().enumerate() {
        let token = caller.token(provider, &device.key);
        // Each comes from an address of its own: many refusals of one are delayed.
        let address = format!("192.0.2.{number}");
        for row in table() {
            for method in row.methods() {
                let method = Method::from_bytes(method.as_str().as_bytes()).unwrap();
                let path = path_of(&row.facts, caller, &other.key);
                let request = server.anonymous_request(method.clone(), &path);
                let request = request.header("x-forwarded-for", &address);
                let request = match &token {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                // The body is faulty: neither 401 nor 403 may lose against that.
                let request = if row.facts.method == "GET" { request } else { request.body("{") };
                let answer = server.send(request).await;
                let (found, expected) =
                    (verdict(&answer), caller.expected(&method, row.facts.path));
                if found != expected {
                    let status = answer.status;
                    wrong
                        .push(format!("{method} {path} by {caller:?}: {status}, not {expected:?}"));
                }
                check_refusal(answer, &method);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_403_tells_no_role_from_the_wrong_role() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let text = async |roles: &[&str], method: Method, path: &str| {
        let request = server.anonymous_request(method, path).bearer_auth(user(provider, roles));
        server.send(request).await.expect_error(403, "AUTHORIZATION_FAILED")
    };
    let none = text(&[], Method::GET, "/api/devices").await;
    assert_eq!(none, "the token has no recognised role; viewer is needed");
    let wrong = text(&["viewer"], Method::DELETE, "/api/devices/1").await;
    assert_eq!(wrong, "the roles of the token are not sufficient; editor is needed");
    server.finish().await;
}

/// Vectors V40 and V41 of the contract.
#[tokio::test(flavor = "multi_thread")]
async fn v40_and_v41_roles_decide() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let demo = server.demo().await;
    let device = provider.device_token("demo", &demo.device.key);
    server.get_as(&device, "/api/devices").await.expect_error(403, "AUTHORIZATION_FAILED");
    server.get_as(&user(provider, &[]), "/api/devices").await.expect(403);
    let viewer = user(provider, &["viewer"]);
    server.get_as(&viewer, "/api/devices").await.expect(200);
    let model = r#"{"code":"other","name":"other"}"#;
    server.post_as(&viewer, "/api/device-models", model).await.expect(403);
    let bundle = coredock_testkit::firmware::bundle("1.0.0");
    let upload = "/api/pipeline/models/demo/firmware";
    let editor = user(provider, &["editor"]);
    server.post_as(&editor, upload, bundle.clone()).await.expect(403);
    let pipeline = user(provider, &["pipeline"]);
    server.get_as(&pipeline, "/api/devices").await.expect(403);
    server.post_as(&pipeline, upload, bundle).await.expect(200);
    let resource = TokenRequest::user("u").resource_roles("coredock", &["viewer"]);
    server.get_as(&provider.sign(&resource), "/api/devices").await.expect(200);
    let foreign = TokenRequest::user("u").resource_roles("account", &["viewer"]);
    server.get_as(&provider.sign(&foreign), "/api/devices").await.expect(403);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_audited_with_the_user_who_made_them() {
    let provider = OidcProvider::shared();
    let server = TestServer::behind(provider, &[]).await;
    let editor = TokenRequest::user("u-7").realm_roles(&["editor"]).claim("name", "Ada Editor");
    let model = r#"{"code":"demo","name":"demo"}"#;
    server.post_as(&provider.sign(&editor), "/api/device-models", model).await.expect(201);
    let query = "SELECT actor_subject || ' ' || actor_name || ' ' || actor_kind AS value \
                 FROM audit_records";
    assert_eq!(server.rows().texts(query), ["u-7 Ada Editor user"]);
    server.finish().await;
}
