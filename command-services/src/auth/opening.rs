//! What registration and sign-in share: a session in the making, and what its user is handed.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::clock;
use platform::http::{Problem, RequestContext};
use platform::ledger::{Effect, Unit};
use schemas::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Auth;
use super::session::{Session, SessionCommand, SessionRefused};
use super::view::AccountView;

/// Secrets: of a refresh token's digest, which session it is of (16 bytes).
pub(super) const REFRESH: &str = "refresh";
/// Secrets: of a session, [`SessionSecret`] as JSON.
pub(super) const SESSION: &str = "session";

/// What the command side keeps of a session: never part of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SessionSecret {
    /// Whose it is.
    pub(super) user: UserId,
    /// Digest of its living refresh token.
    pub(super) refresh: String,
    /// Keyed digest of device and address prefix: whether a token that comes twice comes from the same place.
    pub(super) from: String,
}

/// A session that is about to be opened. Everything that can fail has been done before the commit: what was committed is answered.
pub(super) struct Opening {
    user: UserId,
    session: SessionId,
    access_token: String,
    refresh_token: String,
    expires_in: u64,
    expires_at: Timestamp,
    device: Option<String>,
    address_prefix: Option<String>,
}

/// The answer to a sign-in. The order of fields is the monolith's.
#[derive(Debug, Serialize)]
pub(super) struct SignedIn {
    access_token: String,
    token_type: &'static str,
    refresh_token: String,
    expires_in: u64,
    user: SignedInUser,
}

#[derive(Debug, Serialize)]
struct SignedInUser {
    id: UserId,
    email: Option<String>,
    username: String,
    full_name: Option<String>,
    public_key: Option<String>,
    is_active: bool,
    avatar_url: Option<String>,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
}

impl Opening {
    /// Mints a session with its tokens.
    pub(super) fn of(auth: &Auth, user: UserId, role: &str, request: &RequestContext) -> Result<Self, Problem> {
        let session = SessionId(Uuid::now_v7());
        let (access_token, _) = auth.tokens.issue(user, session, role, auth.lifetimes.access)?;
        Ok(Self {
            user,
            session,
            access_token,
            refresh_token: random_token()?,
            expires_in: auth.lifetimes.access.as_secs(),
            expires_at: after(auth.lifetimes.refresh),
            device: request.user_agent.clone(),
            address_prefix: request.peer.map(address_prefix),
        })
    }

    /// Lets the session's start and its secrets travel with a unit.
    pub(super) async fn join(&self, auth: &Auth, unit: &mut Unit) -> Result<(), Problem> {
        let start = SessionCommand::Start {
            session_id: self.session,
            user_id: self.user,
            device: self.device.clone(),
            address_prefix: self.address_prefix.clone(),
            expires_at: self.expires_at,
        };
        unit.create::<Session>(self.session, start, &()).await?;
        let refresh = digest(&self.refresh_token);
        let from = format!("{}\n{}", self.device.as_deref().unwrap_or_default(), self.address_prefix.as_deref().unwrap_or_default());
        let secret = SessionSecret { user: self.user, refresh: refresh.clone(), from: auth.ledger.vault().digest("device.v1", &from) };
        let secret = serde_json::to_vec(&secret).map_err(|_| Problem::internal())?;
        let expires_at = Some(self.expires_at);
        unit.effect(Effect::Put { kind: REFRESH, key: refresh, value: self.session.0.as_bytes().to_vec(), expires_at });
        unit.effect(Effect::Put { kind: SESSION, key: self.session.to_string(), value: secret, expires_at });
        Ok(())
    }

    /// What the user is handed. Registration shows since when the account exists, sign-in does not.
    pub(super) fn answer(self, account: AccountView, with_created_at: bool) -> SignedIn {
        SignedIn {
            access_token: self.access_token,
            token_type: "bearer",
            refresh_token: self.refresh_token,
            expires_in: self.expires_in,
            user: SignedInUser {
                id: account.id,
                email: account.email,
                username: account.username,
                full_name: account.full_name,
                public_key: account.public_key,
                is_active: true,
                avatar_url: account.avatar_url,
                role: account.role,
                created_at: with_created_at.then_some(account.created_at),
            },
        }
    }
}

impl From<SessionRefused> for Problem {
    fn from(refused: SessionRefused) -> Self {
        match refused {
            // Only for an id that was drawn twice.
            SessionRefused::Exists => Self::internal(),
            SessionRefused::Unknown => Self::unauthenticated(),
        }
    }
}

/// Under which key a refresh token is known: whoever reads the table cannot sign in with it. 256 random bits need no slow hash.
pub(super) fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

pub(super) fn after(lifetime: Duration) -> Timestamp {
    (clock::now().into_inner() + lifetime).into()
}

fn random_token() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers");
        Problem::internal()
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The client's network: /24 of IPv4, /48 of IPv6.
fn address_prefix(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{address_prefix, random_token};

    #[test]
    fn of_an_address_only_the_network_is_kept() {
        assert_eq!(address_prefix("203.0.113.77".parse().unwrap()), "203.0.113.0/24");
        assert_eq!(address_prefix("2001:db8:1:2:3::4".parse().unwrap()), "2001:db8:1::/48");
    }

    #[test]
    fn a_refresh_token_is_256_random_bits() {
        let (one, two) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!((one.len(), two.len()), (43, 43));
        assert_ne!(one, two);
    }
}
