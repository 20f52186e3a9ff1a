//! The callers (contract §3): one extractor per kind of caller, so that a handler without
//! authorization cannot be written.
//!
//! Without OIDC every caller that reaches the server is the local administrator, and a device names
//! itself in the query (contract §3.6).

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use coredock_domain::audit::{Actor, ActorKind, Origin};
use coredock_domain::ids::DeviceKey;

use super::error::{ApiError, ApiResult};
use super::exchange::CorrelationId;
use super::query::Query;

/// How many of the last entries of `X-Forwarded-For` are trusted.
#[derive(Debug, Clone, Copy)]
pub struct TrustedProxies(pub usize);

/// A caller who may read the data of the admin API.
pub struct Viewer;

/// A caller who may change the data of the admin API.
pub struct Editor(Origin);

/// A caller who may upload firmware.
pub struct Pipeline(Origin);

/// A device, whose row has not been read yet.
pub struct DeviceCaller {
    /// `None` if the sent text cannot be a key.
    pub key: Option<DeviceKey>,
    pub sent_key: String,
}

impl Editor {
    pub fn origin(&self) -> Origin {
        self.0.clone()
    }
}

impl Pipeline {
    pub fn origin(&self) -> Origin {
        self.0.clone()
    }
}

impl DeviceCaller {
    /// A 404 if the sent text cannot be a key.
    pub fn known_key(&self) -> ApiResult<&DeviceKey> {
        self.key.as_ref().ok_or_else(|| self.unknown())
    }

    pub fn origin(&self, request: &HttpRequest) -> Origin {
        Origin {
            actor: Actor { subject: self.sent_key.clone(), name: None, kind: ActorKind::Device },
            correlation_id: CorrelationId::of(request),
            remote_address: remote_address(request),
        }
    }

    /// 404 of a device that does not exist.
    pub fn unknown(&self) -> ApiError {
        ApiError::not_found("Device", &self.sent_key)
    }
}

fn local_admin(request: &HttpRequest) -> Origin {
    Origin {
        actor: Actor {
            subject: "local-user".into(),
            name: Some("Local Admin".into()),
            kind: ActorKind::User,
        },
        correlation_id: CorrelationId::of(request),
        remote_address: remote_address(request),
    }
}

/// The address of the caller: the entry that the outermost trusted proxy wrote, else the peer.
fn remote_address(request: &HttpRequest) -> Option<String> {
    let peer = || request.peer_addr().map(|address| address.ip().to_string());
    let hops = request.app_data::<web::Data<TrustedProxies>>().map_or(0, |trusted| trusted.0);
    let headers = request.headers().get_all("x-forwarded-for");
    let entries: Vec<&str> = headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    match (hops, entries.len()) {
        (0, _) | (_, 0) => peer(),
        (hops, count) => Some(entries[count.saturating_sub(hops)].chars().take(64).collect()),
    }
}

impl FromRequest for Viewer {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

impl FromRequest for Editor {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(local_admin(request))))
    }
}

impl FromRequest for Pipeline {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(local_admin(request))))
    }
}

impl FromRequest for DeviceCaller {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(device_of_query(request.query_string()))
    }
}

fn device_of_query(query: &str) -> ApiResult<DeviceCaller> {
    let sent_key = Query::new(query).get("device_key").map_err(|fault| vec![fault])?;
    let sent_key = sent_key.filter(|text| !text.is_empty());
    let sent_key = sent_key.ok_or_else(|| ApiError::unauthenticated("device_key is required"))?;
    Ok(DeviceCaller { key: DeviceKey::parse(&sent_key), sent_key })
}
