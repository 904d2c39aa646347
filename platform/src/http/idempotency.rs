//! `Idempotency-Key`.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::problem::{Problem, Violation};

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
    pub fn digest(&self, body: &[u8; 32]) -> [u8; 32] {
        // A route holds no NUL, so no two pairs are written alike.
        Sha256::new().chain_update(self.route.as_bytes()).chain_update([0]).chain_update(body).finalize().into()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut sent = parts.headers.get_all("idempotency-key").iter();
        let key = match (sent.next(), sent.next()) {
            (None, _) => None,
            (Some(value), None) if (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic) => {
                value.to_str().ok().map(str::to_owned)
            }
            _ => {
                return Err(Problem::invalid(vec![Violation {
                    field: "Idempotency-Key".into(),
                    message: "must be one key of 1 to 255 visible ASCII characters".into(),
                }]));
            }
        };
        // A path that no route matched reaches no handler.
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Ok(Self { key, route: format!("{} {path}", parts.method) })
    }
}
