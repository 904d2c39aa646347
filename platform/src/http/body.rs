//! Bodies and ids that arrive: parsed, checked, refused in one voice.

use std::borrow::Cow;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use schemas::UserId;
use serde::de::DeserializeOwned;

use super::problem::{Problem, Violation};

/// A JSON body that has been read within the limit (1 MiB: 413), is JSON of the right shape (422), has the right type (415; an empty body counts as `{}`),
/// holds no U+0000 anywhere (422) and passed its own [`Validate`] (422).
///
/// Names its field in `errors` where serde can say it, and never repeats a value. `sha256` is the digest of the raw body, for idempotency.
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
    async fn from_request(_request: Request, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}

/// A UUID in the path; 422 when it is none.
#[derive(Debug, Clone, Copy)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: std::str::FromStr + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}
