//! Bodies and ids that arrive: parsed, checked, refused in one voice.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use schemas::UserId;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::json;
use super::problem::{Problem, Violation};
use crate::auth::Caller;

/// What a body may weigh, media apart.
pub const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body that has been read within the limit (1 MiB: 413), is JSON of the right shape (422), has the right type (415; an empty body counts as `{}`),
/// holds no U+0000 anywhere (422) and passed its own [`Validate`] (422). `null` and absent are the same; unknown fields are ignored.
///
/// Names its field in `errors` where serde can say it, and never repeats a value. `sha256` is the digest of the raw body, for idempotency.
/// Stands after [`Caller`] in a handler's arguments: only then can it refuse somebody else's id.
#[derive(Debug)]
pub struct Valid<T> {
    /// The body.
    pub body: T,
    /// SHA-256 of the bytes as they came.
    pub sha256: [u8; 32],
}

/// What a body checks about itself beyond its shape.
pub trait Validate {
    /// Reports everything that is wrong. `Ok` when nothing is.
    ///
    /// # Errors
    /// All violations at once.
    fn validate(&self) -> Result<(), Violations>;

    /// Fields that must name the caller when they are present (`sender_id`, `user_id`, …): anybody else's id is refused with 403 `not_yourself`.
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        Vec::new()
    }
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds one when `wrong`.
    pub fn when(&mut self, wrong: bool, field: &'static str, message: impl Into<Cow<'static, str>>) -> &mut Self {
        if wrong {
            self.0.push(Violation { field: field.into(), message: message.into() });
        }
        self
    }
    /// # Errors
    /// When there is one.
    pub fn finish(&mut self) -> Result<(), Violations> {
        if self.0.is_empty() { Ok(()) } else { Err(Self(std::mem::take(&mut self.0))) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Validate + Send> FromRequest<S> for Valid<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let caller = request.extensions().get::<Caller>().cloned();
        let declared = declared_type(request.headers());
        if declared == Declared::Other {
            return Err(unsupported());
        }
        // Told before it is sent: no need to read a mebibyte first.
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(too_large());
        }
        let bytes =
            tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await.map_err(|_| timed_out())?.map_err(unreadable)?;
        if declared == Declared::Nothing && !bytes.is_empty() {
            return Err(unsupported());
        }
        Self::read(&bytes, caller.as_ref())
    }
}

impl<T: DeserializeOwned + Validate> Valid<T> {
    /// Reads what has arrived by whatever way, with every check that a request's body goes through once it is there.
    ///
    /// # Errors
    /// 422, and 403 for somebody else's id
    pub fn read(bytes: &[u8], caller: Option<&Caller>) -> Result<Self, Problem> {
        let body: T = json::read(bytes).map_err(|violation| Problem::invalid(vec![violation]))?;
        if let Some(caller) = caller {
            for claimed in body.must_be_caller() {
                caller.must_be(claimed)?;
            }
        }
        body.validate().map_err(|Violations(errors)| Problem::invalid(errors))?;
        Ok(Self { body, sha256: Sha256::digest(bytes).into() })
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Declared {
    Json,
    Nothing,
    Other,
}

/// `application/json`, with parameters or without; JSON is UTF-8 (RFC 8259 §8.1), so no other charset is.
fn declared_type(headers: &HeaderMap) -> Declared {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Declared::Nothing };
    let Ok(value) = value.to_str() else { return Declared::Other };
    let mut parts = value.split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Declared::Other;
    }
    let charset = parts.filter_map(|parameter| parameter.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    match charset {
        Some((_, charset)) if !charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") => Declared::Other,
        _ => Declared::Json,
    }
}

pub(super) fn unsupported() -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be application/json")
}

pub(super) fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is larger than 1 MiB")
}

fn unreadable(rejection: BytesRejection) -> Problem {
    if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { unreadable_body() }
}

pub(super) fn unreadable_body() -> Problem {
    Problem::bad_request("unreadable_body", "The body broke off")
}

pub(super) fn timed_out() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body did not arrive in time")
}

/// A UUID in the path; 422 when it is none.
#[derive(Debug, Clone, Copy)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: std::str::FromStr + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let invalid = || Problem::invalid(vec![Violation { field: "id".into(), message: "must be a UUID".into() }]);
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| invalid())?;
        // The hyphenated form alone: a parser of UUIDs takes braces and URNs as well.
        if text.len() != 36 {
            return Err(invalid());
        }
        text.parse().map(Self).map_err(|_| invalid())
    }
}
