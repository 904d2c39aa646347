//! The key that others encrypt for: `PUT /auth/public-key`.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::auth::Caller;
use platform::clock;
use platform::http::api::{Route, put};
use platform::http::{Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Committed, Context};
use schemars::JsonSchema;
use schemas::auth::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Auth;
use super::account::{Account, AccountCommand};

/// The longest public key, as base64.
pub(super) const PUBLIC_KEY_LIMIT: usize = 16 * 1024;

/// The caller's key. The frontend sends it at every sign-in.
#[derive(Deserialize, JsonSchema)]
pub struct PutPublicKey {
    /// base64 of a JWK, of the device at hand.
    #[schemars(length(min = 1, max = 16384))]
    public_key: String,
}

impl Validate for PutPublicKey {
    fn validate(&self) -> Result<(), Violations> {
        Violations::new()
            .when(self.public_key.trim().is_empty(), "public_key", "must not be empty")
            .when(self.public_key.len() > PUBLIC_KEY_LIMIT, "public_key", "must have at most 16 KiB")
            .finish()
    }
}

/// The key's name is a digest of it, so the same key is never two.
pub(super) fn public_key(key_data: String) -> PublicKey {
    let mut key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(key_data.as_bytes()));
    key_id.truncate(22);
    PublicKey { key_id, algorithm: "SECP256R1".into(), key_data, created_at: clock::now() }
}

/// Makes a key the active one; the others stay, inactive. When it is the active one already, nothing happens.
async fn add(auth: Auth, caller: Caller, request: RequestContext, key_data: String) -> Result<Committed, Problem> {
    let mut unit = auth.ledger.unit(Context::of_user(caller.user, request));
    let add = AccountCommand::AddPublicKey { user_id: caller.user, key: public_key(key_data) };
    unit.execute::<Account>(caller.user, add, &()).await?;
    if unit.is_empty() { Ok(unit.found(Vec::new()).await) } else { Ok(unit.commit().await?) }
}

/// The key is the active one.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ActiveKey")]
struct Active {
    /// `true`
    success: bool,
    /// As it was sent.
    public_key: String,
}

pub(super) fn route() -> Route<Auth> {
    put("/auth/public-key", http_public_key)
        .says(
            "auth.putPublicKey",
            "My key",
            "Makes a key the one that others encrypt for. Those before it stay listed, inactive. Sending the active one again changes nothing, so it may be sent at every sign-in.",
        )
        .example(json!({"public_key": "eyJrdHkiOiJFQyIsImNydiI6IlAtMjU2In0="}))
}

async fn http_public_key(
    State(auth): State<Auth>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Valid { body, .. }: Valid<PutPublicKey>,
) -> Result<Written<Json<Active>>, Problem> {
    params.must_be(&caller)?;
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, add(auth, caller, request, body.public_key.clone())).await?;
    Ok(Written(committed.token, Json(Active { success: true, public_key: body.public_key })))
}
