//! The keys that tokens are signed with: `GET /.well-known/jwks.json` (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use platform::http::api::{Rendered, Route, get};
use schemars::JsonSchema;

use super::Auth;

/// The public keys of everybody who signs tokens (RFC 7517).
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is shown: what is answered is what the keys themselves say")]
pub(super) struct Jwks {
    /// The keys.
    keys: Vec<Jwk>,
}

/// A public key.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "see `Jwks`")]
struct Jwk {
    /// `EC`
    kty: String,
    /// `P-256`
    crv: String,
    /// `ES256`
    alg: String,
    /// `sig`
    r#use: String,
    /// Its name, as tokens give it in their header.
    kid: String,
    /// Its first coordinate, base64url.
    x: String,
    /// Its second coordinate, base64url.
    y: String,
}

pub(super) fn route() -> Route<Auth> {
    get("/.well-known/jwks.json", http_jwks)
        .says("auth.signingKeys", "Keys that sign tokens", "For everybody who verifies tokens without asking us. A `kid` that is not among them: ask again, a new one may have begun to sign.")
        .answers_header("Cache-Control")
}

async fn http_jwks(State(auth): State<Auth>) -> Rendered<Jwks> {
    // Short: a new key signs as soon as it is published.
    Rendered::of(([(header::CACHE_CONTROL, "public, max-age=60")], Json(auth.tokens.jwks())).into_response())
}
