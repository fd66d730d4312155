//! Every error that leaves the service: RFC 9457, `application/problem+json`.
//!
//! Goes in: what went wrong, in words without names, values or secrets. Comes out: one response.
//! Must never: echo what a caller sent as a value, or print a database's words.

use crate::RuleFault;
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use store::{AlertState, CommandError, StoreError};
use utoipa::ToSchema;

/// An answer that is not a success. Boxed: it is rare, and every handler's result would carry its size.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    extra: serde_json::Map<String, serde_json::Value>,
    headers: HeaderMap,
}

pub(crate) type Answer<T> = Result<T, Problem>;

/// As it is written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemBody {
    /// A stable URN.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    status: u16,
    /// What is wrong, and the remedy.
    detail: String,
    /// To find this answer in the log.
    trace_id: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let (extra, headers) = (serde_json::Map::new(), HeaderMap::new());
        Self(Box::new(Parts { status, kind, detail: detail.into(), extra, headers }))
    }

    /// 400: the request cannot be read.
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 422: it can be read and cannot be; `field` says where.
    pub(crate) fn invalid(field: &str, remedy: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{field}: {remedy}")).with("field", field)
    }

    /// 401: nobody is logged in, or no longer.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "log in: there is no session, or it has ended")
            .header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// 403: not for this role.
    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this is not for your role")
    }

    /// 404: it is not there, or not for the caller; nobody can tell which.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing here")
    }

    /// 409: it is taken, overlaps, or cannot be done now.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 412: somebody changed it meanwhile.
    pub(crate) fn stale() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "stale", "it was changed meanwhile: read it again, then repeat")
    }

    /// 503 with a moment to wait.
    pub(crate) fn busy(detail: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).header(header::RETRY_AFTER, "2")
    }

    /// A further member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.extra.insert(name.to_owned(), value.into());
        self
    }

    /// A response header; a value that is none is left out.
    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// What is wrong, for an answer that has begun already.
    pub(crate) fn words(&self) -> &str {
        &self.0.detail
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotFound(_) => Self::not_found(),
            StoreError::Conflict(detail) if detail.starts_with("UNIQUE") => Self::conflict("it exists already"),
            StoreError::Conflict(detail) => Self::conflict(detail),
            StoreError::DiskFull(_) => Self::busy("the disk is full: nothing was stored"),
            StoreError::Closed => Self::busy("the service is stopping"),
            e => {
                tracing::error!(error = %e, "store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service could not do it; see its log")
            }
        }
    }
}

impl From<RuleFault> for Problem {
    fn from(e: RuleFault) -> Self {
        match e {
            RuleFault::Refused { field, remedy } => Self::invalid(&field, remedy),
            RuleFault::Busy => {
                Self::busy("a rehearsal is under way; one runs at a time, so that live rules do not wait")
            }
            RuleFault::Store(e) => e.into(),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(e: CommandError) -> Self {
        match e {
            CommandError::NotFound => Self::not_found(),
            CommandError::State(state) => Self::state(state),
            CommandError::Invalid { field, remedy } => Self::invalid(field, remedy),
            CommandError::KeyReused => Self::invalid("Idempotency-Key", "it was used with another body"),
            CommandError::Store(e) => e.into(),
        }
    }
}

impl Problem {
    fn state(state: AlertState) -> Self {
        let detail = format!("the alert is {}", state.as_str());
        Self::conflict(detail).with("state", state.as_str())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, kind, detail, extra, headers } = *self.0;
        let trace_id = trace_id();
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), kind, trace_id, "answered with an error");
        }
        let body = ProblemBody {
            kind: format!("urn:hearthbeat:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            trace_id,
            extra,
        };
        let mut response = (status, headers, Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

fn trace_id() -> String {
    let mut bytes = [0_u8; 16];
    // An answer without randomness is still an answer.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}
