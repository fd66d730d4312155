//! Bodies, parameters and path members, read with errors that name the member and echo nothing.

use crate::problem::{Answer, Problem};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use std::str::FromStr;
use vitals::Timestamp;

/// A JSON body. Unknown members are ignored; known ones must have their type.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| too_large(e.status()))?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be missing.
pub(crate) struct MaybeBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MaybeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| too_large(e.status()))?;
        parse(if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes }).map(Self)
    }
}

pub(crate) fn too_large(status: StatusCode) -> Problem {
    Problem::new(status, "body", "the body is too large, or ended early")
}

/// JSON, with the path of the member that is wrong.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                let words = harmless(&inner.to_string());
                if path == "." {
                    Problem::bad(words)
                } else {
                    Problem::bad(format!("{path}: {words}")).with("field", path)
                }
            }
            _ => not_json(&inner),
        }
    })?;
    reader.end().map_err(|e| not_json(&e))?;
    Ok(value)
}

fn not_json(e: &serde_json::Error) -> Problem {
    Problem::bad(format!("not JSON: broken at line {} column {}", e.line(), e.column()))
}

/// serde quotes what it read; that may be a name or a password. What it expected is enough.
fn harmless(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(words, _)| words);
    if ["missing field", "not an identifier", "not an RFC 3339"].iter().any(|known| message.starts_with(known)) {
        return message.to_owned();
    }
    match message.rsplit_once("expected ") {
        Some((_, expected)) => format!("must be {expected}"),
        None => "not acceptable here".to_owned(),
    }
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let text = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad("the query is not readable"))?;
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(e) => {
                let name = text
                    .0
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .find(|name| e.body_text().contains(&format!("{name}:")));
                Err(Problem::bad(format!("{}: not acceptable", name.unwrap_or("a parameter"))))
            }
        }
    }
}

/// The id in the path; anything that is no id is no record either.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let Path(members) =
            Path::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        members.first().and_then(|(_, text)| text.parse().ok()).map(Self).ok_or_else(Problem::not_found)
    }
}

/// RFC 3339 with an offset, in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Timestamp::parse_rfc3339(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A moment in a query.
pub(crate) fn moment(name: &str, text: Option<&str>) -> Answer<Option<Timestamp>> {
    // A `+` that was not escaped arrives as a space.
    text.map(|t| Timestamp::parse_rfc3339(&t.replace(' ', "+")).map_err(|e| Problem::bad(format!("{name}: {e}"))))
        .transpose()
}

/// An id in a query.
pub(crate) fn id<T: FromStr>(name: &str, text: Option<&str>) -> Answer<Option<T>> {
    text.map(|t| t.parse().map_err(|_| Problem::bad(format!("{name}: not an identifier of this kind")))).transpose()
}

/// Tells an absent member from `null`: absent is `None`, `null` is `Some(None)`.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// The version as a strong ETag.
pub(crate) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

/// What `If-Match` says: none, a version, or `*` (any).
pub(crate) fn if_match(headers: &HeaderMap, current: i64, required: bool) -> Answer<()> {
    match headers.get(header::IF_MATCH) {
        None if required => Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "precondition-required",
            "If-Match: send the ETag that GET showed",
        )),
        None => Ok(()),
        Some(value) => {
            let fits =
                value.to_str().is_ok_and(|v| v.split(',').map(str::trim).any(|v| v == "*" || v == etag(current)));
            if fits { Ok(()) } else { Err(Problem::stale()) }
        }
    }
}
