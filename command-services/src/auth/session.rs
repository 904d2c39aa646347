//! The aggregate `session`: one sign-in on one device, until it ends.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::auth::{RevocationReason, SessionEvent, SessionRefreshed, SessionRevoked, SessionStarted};
use schemas::{Personal, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// A session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Session {
    owner: Option<UserId>,
    refreshes: u64,
    revoked: bool,
}

impl Session {
    /// Whether it has ended.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked
    }
}

/// What can be asked of a session.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    /// Somebody signed in.
    Start {
        /// Newly minted.
        session_id: SessionId,
        /// Who signed in.
        user_id: UserId,
        /// What the client calls itself.
        device: Option<String>,
        /// The client's network.
        address_prefix: Option<String>,
        /// When it ends by itself.
        expires_at: Timestamp,
    },
    /// One of its refresh tokens is exchanged for the next.
    Refresh {
        /// Which.
        session_id: SessionId,
        /// Its user.
        user_id: UserId,
        /// How many refreshes came before the token that is exchanged: of two exchanges of one token, one is too late.
        after: u64,
        /// When the session ends by itself from now on.
        expires_at: Timestamp,
    },
    /// It shall end. Of one that has ended, nothing more is said.
    Revoke {
        /// Which.
        session_id: SessionId,
        /// Its user.
        user_id: UserId,
        /// Why.
        reason: RevocationReason,
    },
}

/// Why a session refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// This id is a session already.
    #[error("this session exists already")]
    Exists,
    /// There is none, or it is somebody else's, which is nobody's business.
    #[error("no such session")]
    Unknown,
    /// It has ended.
    #[error("this session has ended")]
    Ended,
    /// This refresh token has been exchanged already.
    #[error("this refresh token is used up")]
    UsedUp,
}

impl Aggregate for Session {
    const TYPE: &'static str = "session";
    type Command = SessionCommand;
    type Event = SessionEvent;
    type Error = SessionRefused;
    type Services = ();

    async fn handle(&mut self, command: SessionCommand, _services: &(), sink: &EventSink<Self>) -> Result<(), SessionRefused> {
        match command {
            SessionCommand::Start { session_id, user_id, device, address_prefix, expires_at } => {
                if self.owner.is_some() {
                    return Err(SessionRefused::Exists);
                }
                let started = SessionStarted {
                    session_id,
                    user_id,
                    device: device.map(|device| Personal::of(user_id, device)),
                    address_prefix: address_prefix.map(|prefix| Personal::of(user_id, prefix)),
                    expires_at,
                };
                sink.write(SessionEvent::Started(started), self).await;
            }
            SessionCommand::Refresh { session_id, user_id, after, expires_at } => {
                if self.owner != Some(user_id) {
                    return Err(SessionRefused::Unknown);
                }
                if self.revoked {
                    return Err(SessionRefused::Ended);
                }
                if self.refreshes != after {
                    return Err(SessionRefused::UsedUp);
                }
                sink.write(SessionEvent::Refreshed(SessionRefreshed { session_id, user_id, expires_at }), self).await;
            }
            SessionCommand::Revoke { session_id, user_id, reason } => {
                if self.owner != Some(user_id) {
                    return Err(SessionRefused::Unknown);
                }
                if !self.revoked {
                    sink.write(SessionEvent::Revoked(SessionRevoked { session_id, user_id, reason }), self).await;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Started(started) => self.owner = Some(started.user_id),
            SessionEvent::Refreshed(_) => self.refreshes += 1,
            SessionEvent::Revoked(_) => self.revoked = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use platform::clock;
    use schemas::auth::{RevocationReason, SessionEvent, SessionRefreshed, SessionRevoked, SessionStarted};
    use schemas::{Personal, SessionId, Timestamp, UserId};
    use uuid::Uuid;

    use super::{Session, SessionCommand, SessionRefused};

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));
    const SESSION: SessionId = SessionId(Uuid::from_u128(3));

    fn start(expires_at: Timestamp) -> SessionCommand {
        let (device, address_prefix) = (Some("a browser".into()), Some("192.0.2.0/24".into()));
        SessionCommand::Start { session_id: SESSION, user_id: ANN, device, address_prefix, expires_at }
    }

    fn started(expires_at: Timestamp) -> SessionEvent {
        let (device, address_prefix) = (Some(Personal::of(ANN, "a browser")), Some(Personal::of(ANN, "192.0.2.0/24")));
        SessionEvent::Started(SessionStarted { session_id: SESSION, user_id: ANN, device, address_prefix, expires_at })
    }

    fn revoke(user_id: UserId) -> SessionCommand {
        SessionCommand::Revoke { session_id: SESSION, user_id, reason: RevocationReason::Logout }
    }

    fn revoked() -> SessionEvent {
        SessionEvent::Revoked(SessionRevoked { session_id: SESSION, user_id: ANN, reason: RevocationReason::Logout })
    }

    fn given(events: Vec<SessionEvent>) -> cqrs_es::test::AggregateTestExecutor<Session> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn a_sign_in_starts_a_session_once() {
        let at = clock::now();
        given(vec![]).when(start(at)).then_expect_events(vec![started(at)]);
        given(vec![started(at)]).when(start(at)).then_expect_error(SessionRefused::Exists);
    }

    #[test]
    fn its_user_ends_it_once_and_a_repeat_changes_nothing() {
        let at = clock::now();
        given(vec![started(at)]).when(revoke(ANN)).then_expect_events(vec![revoked()]);
        given(vec![started(at), revoked()]).when(revoke(ANN)).then_expect_events(vec![]);
    }

    #[test]
    fn nobody_ends_the_session_of_another_nor_one_that_never_was() {
        given(vec![started(clock::now())]).when(revoke(BOB)).then_expect_error(SessionRefused::Unknown);
        given(vec![]).when(revoke(ANN)).then_expect_error(SessionRefused::Unknown);
    }

    fn refresh(user_id: UserId, after: u64, expires_at: Timestamp) -> SessionCommand {
        SessionCommand::Refresh { session_id: SESSION, user_id, after, expires_at }
    }

    fn refreshed(expires_at: Timestamp) -> SessionEvent {
        SessionEvent::Refreshed(SessionRefreshed { session_id: SESSION, user_id: ANN, expires_at })
    }

    #[test]
    fn each_refresh_token_is_exchanged_once() {
        let at = clock::now();
        given(vec![started(at)]).when(refresh(ANN, 0, at)).then_expect_events(vec![refreshed(at)]);
        given(vec![started(at), refreshed(at)]).when(refresh(ANN, 0, at)).then_expect_error(SessionRefused::UsedUp);
        given(vec![started(at), refreshed(at)]).when(refresh(ANN, 1, at)).then_expect_events(vec![refreshed(at)]);
    }

    #[test]
    fn an_ended_session_is_not_refreshed_nor_is_anothers() {
        let at = clock::now();
        given(vec![started(at), revoked()]).when(refresh(ANN, 0, at)).then_expect_error(SessionRefused::Ended);
        given(vec![started(at)]).when(refresh(BOB, 0, at)).then_expect_error(SessionRefused::Unknown);
        given(vec![]).when(refresh(ANN, 0, at)).then_expect_error(SessionRefused::Unknown);
    }
}
