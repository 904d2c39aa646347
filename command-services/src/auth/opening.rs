//! What registration, sign-in and refresh share: tokens in the making, and what their user is handed.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::auth::cookie;
use platform::clock;
use platform::http::{Problem, RequestContext};
use platform::ledger::{Effect, Unit};
use schemars::JsonSchema;
use schemas::{SessionId, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::Auth;
use super::kept::{KeptRefresh, KeptSession, credentials, digest};
use super::session::{Session, SessionCommand, SessionRefused};
use super::view::AccountView;

/// A pair of tokens that is about to be handed out. Everything that can fail is done before the commit: what was committed is answered.
pub(super) struct Pair {
    session: SessionId,
    access_token: String,
    refresh_token: String,
    expires_in: u64,
    /// When the access token ends.
    tokens_end: Timestamp,
    /// When the refresh token lapses, and with it the session.
    pub(super) expires_at: Timestamp,
}

/// The answer to a refresh.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Refreshed {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// `bearer`
    #[schemars(extend("const" = "bearer"))]
    token_type: &'static str,
    /// Gets new tokens when the access token has ended; used once.
    refresh_token: String,
    /// Seconds until the access token ends.
    expires_in: u64,
}

impl Pair {
    /// Mints one for a session.
    pub(super) fn of(auth: &Auth, user: UserId, session: SessionId, role: &str) -> Result<Self, Problem> {
        let (access_token, claims) = auth.tokens.issue(user, session, role, auth.lifetimes.access)?;
        let tokens_end = time::OffsetDateTime::from_unix_timestamp(claims.exp).map_err(|_| Problem::internal())?;
        Ok(Self {
            session,
            access_token,
            refresh_token: random_token()?,
            expires_in: auth.lifetimes.access.as_secs(),
            tokens_end: tokens_end.into(),
            expires_at: after(auth.lifetimes.refresh),
        })
    }

    /// What is kept of it; `after` so many others of its session, which was opened with these credentials, and handed out to this place.
    pub(super) fn kept(&self, user: UserId, after: u64, credentials: String, from: String) -> Result<[Effect; 2], Problem> {
        let refresh = digest(&self.refresh_token);
        let session = KeptSession { refresh: refresh.clone(), from, used_at: clock::now(), tokens_end: self.tokens_end, credentials };
        let token = KeptRefresh { user, session: self.session, after, used_up_at: None };
        Ok([token.put(refresh, self.expires_at)?, session.put(user, self.session, self.expires_at)?])
    }

    /// Hands it out.
    pub(super) fn answer(self) -> Refreshed {
        let Self { access_token, refresh_token, expires_in, .. } = self;
        Refreshed { access_token, token_type: "bearer", refresh_token, expires_in }
    }
}

impl Refreshed {
    /// The cookie for the few calls that old clients send without a token.
    pub(super) fn cookie(&self) -> Result<HeaderValue, Problem> {
        cookie::set(&self.access_token, Duration::from_secs(self.expires_in)).map_err(|_| Problem::internal())
    }
}

/// A keyed digest of where a request comes from: device and address prefix.
pub(super) fn place(auth: &Auth, request: &RequestContext) -> String {
    let prefix = request.peer.map(address_prefix).unwrap_or_default();
    let from = format!("{}\n{prefix}", request.user_agent.as_deref().unwrap_or_default());
    auth.ledger.vault().digest("device.v1", &from)
}

/// A session that is about to be opened.
pub(super) struct Opening {
    user: UserId,
    session: SessionId,
    pair: Pair,
    device: Option<String>,
    address_prefix: Option<String>,
    from: String,
}

/// A session has been opened. The order of fields is the monolith's.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SignedIn {
    /// What is handed out.
    #[serde(flatten)]
    pub(super) tokens: Refreshed,
    /// Whose session it is.
    user: SignedInUser,
}

/// Whoever has signed in.
#[derive(Debug, Serialize, JsonSchema)]
struct SignedInUser {
    /// Their id.
    id: UserId,
    /// How they sign in.
    email: Option<String>,
    /// How others see them.
    username: String,
    /// As they want to be called.
    full_name: Option<String>,
    /// base64 of a JWK: the key that others encrypt for.
    public_key: Option<String>,
    /// Whether the account may be used.
    is_active: bool,
    /// A picture of them.
    avatar_url: Option<String>,
    /// `user`, `admin` or `guest`.
    role: &'static str,
    /// Since when there is this account: said at registration only.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
}

impl Opening {
    /// Mints a session with its tokens.
    pub(super) fn of(auth: &Auth, user: UserId, role: &str, request: &RequestContext) -> Result<Self, Problem> {
        let session = SessionId(Uuid::now_v7());
        Ok(Self {
            user,
            session,
            pair: Pair::of(auth, user, session, role)?,
            device: request.user_agent.clone(),
            address_prefix: request.peer.map(address_prefix),
            from: place(auth, request),
        })
    }

    /// Lets the session's start and its secrets travel with a unit; `hash` is of the password that opened it.
    pub(super) async fn join(&self, unit: &mut Unit, hash: &str) -> Result<(), Problem> {
        let start = SessionCommand::Start {
            session_id: self.session,
            user_id: self.user,
            device: self.device.clone(),
            address_prefix: self.address_prefix.clone(),
            expires_at: self.pair.expires_at,
        };
        unit.create::<Session>(self.session, start, &()).await?;
        for effect in self.pair.kept(self.user, 0, credentials(hash), self.from.clone())? {
            unit.effect(effect);
        }
        Ok(())
    }

    /// What the user is handed. Registration shows since when the account exists, sign-in does not.
    pub(super) fn answer(self, account: AccountView, with_created_at: bool) -> SignedIn {
        SignedIn {
            tokens: self.pair.answer(),
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
            SessionRefused::Unknown | SessionRefused::Ended => Self::unauthenticated(),
            SessionRefused::UsedUp => Self::conflict("refresh_raced", "This sign-in is being refreshed by another request"),
        }
    }
}

pub(super) fn after(lifetime: Duration) -> Timestamp {
    (clock::now().into_inner() + lifetime).into()
}

pub(super) fn random_token() -> Result<String, Problem> {
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
