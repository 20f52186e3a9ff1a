//! The callers (contract §3): one extractor per kind of caller, so that a handler without
//! authorization cannot be written. Who calls was decided before the handler's row was reached, see
//! [`Admission`](super::admission::Admission).

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use coredock_domain::audit::{Actor, ActorKind, Origin};
use coredock_domain::identity::device::{ClaimError, DeviceClaim, ForeignModel};
use coredock_domain::identity::{Principal, User};
use coredock_domain::ids::DeviceKey;

use super::client_address::client_address;
use super::error::{ApiError, ApiResult, ErrorCode};
use super::exchange::CorrelationId;
use super::query::Query;

/// The caller of a request that its route admits.
#[derive(Debug, Clone)]
pub enum Admitted {
    /// Without authentication: everybody is the local administrator, and a device names itself in
    /// the query (contract §3.6).
    Unproven,
    /// With a token.
    Proven(Principal),
}

/// A caller who may read the data of the admin API.
pub struct Viewer(Admitted);

/// A caller who may change the data of the admin API.
pub struct Editor(Origin);

/// A caller who may upload firmware.
pub struct Pipeline(Origin);

/// Anybody: the route is public, or checks its callers itself.
pub struct Public;

/// A device, whose row has not been read yet.
pub struct DeviceCaller {
    /// `None` if the sent text cannot be a key.
    claim: Option<DeviceClaim>,
    sent_key: String,
    origin: Origin,
}

impl Viewer {
    /// `None` without authentication.
    pub fn user(&self) -> Option<&User> {
        match &self.0 {
            Admitted::Proven(Principal::User(user)) => Some(user),
            Admitted::Proven(Principal::Device(_)) | Admitted::Unproven => None,
        }
    }
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
    pub fn claim(&self) -> ApiResult<&DeviceClaim> {
        self.claim.as_ref().ok_or_else(|| self.unknown())
    }

    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    /// 404 of a device that does not exist.
    pub fn unknown(&self) -> ApiError {
        ApiError::not_found("Device", &self.sent_key)
    }

    /// Why the device does not get what it asked for.
    pub fn refused(&self, error: &ClaimError) -> ApiError {
        match error {
            ClaimError::UnknownDevice => self.unknown(),
            ClaimError::ForeignModel(error) => error.into(),
            ClaimError::Repository(error) => error.into(),
        }
    }
}

impl From<&ForeignModel> for ApiError {
    fn from(error: &ForeignModel) -> Self {
        Self::new(ErrorCode::AuthorizationFailed, error.to_string())
    }
}

impl Admitted {
    /// Who is admitted to the route of this request. No row of the table is without it.
    fn of(request: &HttpRequest) -> ApiResult<Self> {
        let admitted = request.extensions().get::<Self>().cloned();
        admitted.ok_or_else(|| ApiError::unexpected("a route was reached without admission"))
    }

    fn actor(&self) -> Actor {
        match self {
            Self::Proven(principal) => principal.actor(),
            Self::Unproven => Actor {
                subject: "local-user".into(),
                name: Some("Local Admin".into()),
                kind: ActorKind::User,
            },
        }
    }

    fn device(&self, request: &HttpRequest) -> ApiResult<DeviceCaller> {
        match self {
            Self::Unproven => device_of_query(request),
            Self::Proven(Principal::Device(claim)) => Ok(DeviceCaller {
                sent_key: claim.key.to_string(),
                origin: origin(request, claim.actor()),
                claim: Some(claim.clone()),
            }),
            Self::Proven(Principal::User(_)) => {
                Err(ApiError::unexpected("a user was admitted to a route of devices"))
            }
        }
    }
}

fn origin(request: &HttpRequest, actor: Actor) -> Origin {
    Origin {
        actor,
        correlation_id: CorrelationId::of(request),
        remote_address: client_address(request).map(|address| address.to_string()),
    }
}

fn user_origin(request: &HttpRequest) -> ApiResult<Origin> {
    Ok(origin(request, Admitted::of(request)?.actor()))
}

fn device_of_query(request: &HttpRequest) -> ApiResult<DeviceCaller> {
    let query = Query::new(request.query_string());
    let sent_key = query.get("device_key").map_err(|fault| vec![fault])?;
    let sent_key = sent_key.filter(|text| !text.is_empty());
    let sent_key = sent_key.ok_or_else(|| ApiError::unauthenticated("device_key is required"))?;
    let actor = Actor { subject: sent_key.clone(), name: None, kind: ActorKind::Device };
    Ok(DeviceCaller {
        claim: DeviceKey::parse(&sent_key).map(DeviceClaim::unproven),
        origin: origin(request, actor),
        sent_key,
    })
}

impl FromRequest for Viewer {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Admitted::of(request).map(Self))
    }
}

impl FromRequest for Editor {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(user_origin(request).map(Self))
    }
}

impl FromRequest for Pipeline {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(user_origin(request).map(Self))
    }
}

impl FromRequest for Public {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

impl FromRequest for DeviceCaller {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Admitted::of(request).and_then(|admitted| admitted.device(request)))
    }
}
