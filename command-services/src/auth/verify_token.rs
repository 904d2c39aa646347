//! Whether a token is good: `POST /auth/verify-token`.

use axum::Json;
use axum::extract::State;
use platform::http::{IdempotencyKey, Problem, Valid, Validate, Violations};
use schemas::UserId;
use serde::{Deserialize, Serialize};

use super::Auth;

/// The token in question: in the body, since addresses are logged.
#[derive(Deserialize)]
pub struct VerifyToken {
    token: String,
}

impl Validate for VerifyToken {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

/// It is, and this is whose.
#[derive(Debug, Serialize)]
pub struct GoodToken {
    valid: bool,
    user_id: UserId,
}

pub(super) async fn http_verify_token(
    State(auth): State<Auth>,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<VerifyToken>,
) -> Result<Json<GoodToken>, Problem> {
    let claims = auth.tokens.verify(body.token.trim()).await?;
    Ok(Json(GoodToken { valid: true, user_id: claims.sub }))
}
