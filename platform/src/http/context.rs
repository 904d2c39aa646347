//! Who asks, in which request: what follows an action from the first byte to the last projection.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;

/// What a command needs to know of the request that caused it. Put into the request's extensions by [`super::routes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// `X-Request-Id` of the client when it is sane (1–64 of `[A-Za-z0-9._-]`), else a UUIDv7. Answered in `X-Request-Id`; the events' `correlation_id`.
    pub request_id: String,
    /// W3C `traceparent`, when it is well-formed.
    pub traceparent: Option<String>,
    /// The client's address, for `address_prefix`.
    pub peer: Option<std::net::IpAddr>,
    /// `User-Agent`, at most 200 characters.
    pub user_agent: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Reads it from headers and peer address.
#[must_use]
pub fn request_context(_parts: &Parts) -> RequestContext {
    todo!()
}
