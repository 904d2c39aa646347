//! The keys that tokens are signed with: `GET /.well-known/jwks.json` (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Auth;

pub(super) async fn http_jwks(State(auth): State<Auth>) -> impl IntoResponse {
    // Short: a new key signs as soon as it is published.
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(auth.tokens.jwks()))
}
