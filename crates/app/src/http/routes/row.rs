//! The rows of the route table.

use actix_web::dev::Handler;
use actix_web::http::Method;
use actix_web::{FromRequest, Responder, Route, web};
use coredock_domain::rom_elfs::rom_elf::MAX_ROM_ELF_BYTES;

use super::counted::Counted;
use crate::http::request::identity::{DeviceCaller, Editor, Pipeline, Public, Viewer};
use crate::http::testing::TestBench;
use crate::metrics::Metrics;

/// Maximum length of a JSON body (contract §1.6).
const MAX_JSON_BYTES: u64 = 1024 * 1024;

/// One method of one path.
pub struct Row {
    pub facts: RouteFacts,
    serve: Serve,
}

/// Creates the route of a method, which calls the handler.
type Serve = Box<dyn Fn(Method, &web::Data<Metrics>) -> Route>;

/// Everything about a route but its handler.
#[derive(Debug, Clone)]
pub struct RouteFacts {
    pub method: Method,
    /// The pattern, as metrics and logs show it.
    pub path: &'static str,
    pub class: Class,
    pub role: Role,
    /// The name under which calls are counted (contract §14.2); `None`: they are not counted.
    pub operation: Option<&'static str>,
    pub body: Body,
    /// The answer is a stream of stored bytes.
    pub streams: bool,
    /// Requested so often by machines that its log lines have the level `debug`.
    pub quiet: bool,
}

/// The traffic a route belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Device,
    Pipeline,
    Admin,
    Operator,
}

/// Who may call a route (contract §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Anyone,
    Device,
    Pipeline,
    Viewer,
    Editor,
    /// Anyone, and in testing mode only.
    TestBench,
}

/// The body a route reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Not read.
    Ignored,
    Json,
    FirmwareBundle,
    RomElf,
    /// Read to its end before the handler is called.
    Dump,
}

/// Limits of bodies that are set by the configuration, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub firmware_bundle: u64,
    pub dump: u64,
}

impl BodyLimits {
    /// The maximum length of this kind of body; `None` if the body is not read.
    pub const fn of(self, body: Body) -> Option<u64> {
        match body {
            Body::Ignored => None,
            Body::Json => Some(MAX_JSON_BYTES),
            Body::FirmwareBundle => Some(self.firmware_bundle),
            Body::RomElf => Some(MAX_ROM_ELF_BYTES),
            Body::Dump => Some(self.dump),
        }
    }
}

impl Class {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Pipeline => "pipeline",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    pub(super) fn get(self, path: &'static str, served: Served) -> Row {
        self.row(Method::GET, path, served)
    }

    pub(super) fn post(self, path: &'static str, served: Served) -> Row {
        self.row(Method::POST, path, served)
    }

    pub(super) fn put(self, path: &'static str, served: Served) -> Row {
        self.row(Method::PUT, path, served)
    }

    pub(super) fn delete(self, path: &'static str, served: Served) -> Row {
        self.row(Method::DELETE, path, served)
    }

    fn row(self, method: Method, path: &'static str, served: Served) -> Row {
        let Served { role, operation, serve } = served;
        let (class, body) = (self, Body::Ignored);
        let (streams, quiet) = (false, false);
        Row {
            facts: RouteFacts { method, path, class, role, operation, body, streams, quiet },
            serve,
        }
    }
}

impl Row {
    pub(super) fn reads(mut self, body: Body) -> Self {
        self.facts.body = body;
        self
    }

    pub(super) fn streams(mut self) -> Self {
        self.facts.streams = true;
        self
    }

    pub(super) fn quiet(mut self) -> Self {
        self.facts.quiet = true;
        self
    }

    /// The methods of the row: `GET` includes `HEAD`.
    pub fn methods(&self) -> Vec<Method> {
        if self.facts.method == Method::GET {
            vec![Method::GET, Method::HEAD]
        } else {
            vec![self.facts.method.clone()]
        }
    }

    pub(super) fn routes(&self, metrics: &web::Data<Metrics>) -> Vec<Route> {
        self.methods().into_iter().map(|method| (self.serve)(method, metrics)).collect()
    }
}

/// A handler with its role and the name under which its calls are counted.
pub(super) struct Served {
    role: Role,
    operation: Option<&'static str>,
    serve: Serve,
}

/// Arguments of a handler whose first argument is a caller of kind `C`: a handler without a caller
/// does not compile, and a row cannot name a role which its handler does not require.
pub(super) trait CalledBy<C> {}

impl<C> CalledBy<C> for (C,) {}
impl<C, A1> CalledBy<C> for (C, A1) {}
impl<C, A1, A2> CalledBy<C> for (C, A1, A2) {}
impl<C, A1, A2, A3> CalledBy<C> for (C, A1, A2, A3) {}
impl<C, A1, A2, A3, A4> CalledBy<C> for (C, A1, A2, A3, A4) {}
impl<C, A1, A2, A3, A4, A5> CalledBy<C> for (C, A1, A2, A3, A4, A5) {}

pub(super) fn device<H, Args, T, E>(operation: &'static str, handler: H) -> Served
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    Args: FromRequest + CalledBy<DeviceCaller> + 'static,
    Result<T, E>: Responder + 'static,
{
    counted(Role::Device, operation, handler)
}

pub(super) fn pipeline<H, Args, T, E>(operation: &'static str, handler: H) -> Served
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    Args: FromRequest + CalledBy<Pipeline> + 'static,
    Result<T, E>: Responder + 'static,
{
    counted(Role::Pipeline, operation, handler)
}

pub(super) fn viewer<H, Args, T, E>(operation: &'static str, handler: H) -> Served
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    Args: FromRequest + CalledBy<Viewer> + 'static,
    Result<T, E>: Responder + 'static,
{
    counted(Role::Viewer, operation, handler)
}

pub(super) fn editor<H, Args, T, E>(operation: &'static str, handler: H) -> Served
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    Args: FromRequest + CalledBy<Editor> + 'static,
    Result<T, E>: Responder + 'static,
{
    counted(Role::Editor, operation, handler)
}

pub(super) fn test_bench<H, Args>(handler: H) -> Served
where
    H: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + CalledBy<TestBench> + 'static,
{
    uncounted(Role::TestBench, handler)
}

pub(super) fn anyone<H, Args>(handler: H) -> Served
where
    H: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + CalledBy<Public> + 'static,
{
    uncounted(Role::Anyone, handler)
}

fn counted<H, Args, T, E>(role: Role, operation: &'static str, handler: H) -> Served
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    Args: FromRequest + 'static,
    Result<T, E>: Responder + 'static,
{
    let serve = move |method, metrics: &web::Data<Metrics>| {
        web::method(method).to(Counted::new(operation, handler.clone(), metrics.clone()))
    };
    Served { role, operation: Some(operation), serve: Box::new(serve) }
}

fn uncounted<H, Args>(role: Role, handler: H) -> Served
where
    H: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    let serve = move |method, _: &web::Data<Metrics>| web::method(method).to(handler.clone());
    Served { role, operation: None, serve: Box::new(serve) }
}
