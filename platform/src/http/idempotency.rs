//! `Idempotency-Key`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Problem;

/// The client's key for this POST, if it sent one: 1–255 visible ASCII characters, else 422.
///
/// Bound to the route: the digest that goes with it is made of method, route and body ([`IdempotencyKey::digest`]).
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// As the client sent it.
    pub key: Option<String>,
    /// Method and matched route: `POST /api/v1/messages/send`.
    pub route: String,
}

impl IdempotencyKey {
    /// SHA-256 of route and body digest.
    #[must_use]
    pub fn digest(&self, _body: &[u8; 32]) -> [u8; 32] {
        todo!()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}
