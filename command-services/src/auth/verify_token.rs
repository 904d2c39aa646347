//! Whether a token is good: `POST /auth/verify-token`.

use axum::Json;
use axum::extract::State;
use platform::auth::Refused;
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, Valid, Validate, Violations};
use schemars::JsonSchema;
use schemas::UserId;
use serde::{Deserialize, Serialize};

use super::Auth;

/// The token in question: in the body, since addresses are logged.
#[derive(Deserialize, JsonSchema)]
pub struct VerifyToken {
    /// An access token.
    token: String,
}

impl Validate for VerifyToken {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

/// It is, and this is whose.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GoodToken {
    /// `true`; a token that is not good is answered with 401.
    valid: bool,
    /// Whose it is.
    user_id: UserId,
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/verify-token", http_verify_token)
        .says(
            "auth.verifyToken",
            "Is this token good",
            "For services that do not verify signatures themselves. Answers whose token it is, or 401.",
        )
        .refuses([Refused::Invalid, Refused::Unknown])
        .example(serde_json::json!({"token": "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"}))
}

async fn http_verify_token(
    State(auth): State<Auth>,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<VerifyToken>,
) -> Result<Json<GoodToken>, Problem> {
    let claims = auth.tokens.verify(body.token.trim()).await?;
    Ok(Json(GoodToken { valid: true, user_id: claims.sub }))
}
