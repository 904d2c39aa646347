//! How a session ends, whatever the reason: durable first, then known everywhere.

use futures::future::join_all;
use platform::auth::{NotYetRevoked, Revocations};
use platform::crash::crash_point;
use platform::http::Problem;
use platform::ledger::{CommitError, Context, Effect, ExecuteError, Ledger, Unit};
use schemas::auth::RevocationReason;
use schemas::{SessionId, Timestamp, UserId};

use super::Lifetimes;
use super::kept::{KeptSession, REFRESH, REVOKED, credentials, session_key, session_of};
use super::opening::after;
use super::session::{Session, SessionCommand, SessionRefused};

/// A session whose tokens are dead, and when the last of them would have ended.
pub(super) type Ended = (SessionId, Timestamp);

/// Revoked sessions of one user that are announced again together.
const MANY: i64 = 10_000;

/// Lets the end of a session travel with a unit. One that has ended stays as it is.
pub(super) async fn end(
    ledger: &Ledger,
    lifetimes: Lifetimes,
    unit: &mut Unit,
    (user, session): (UserId, SessionId),
    reason: RevocationReason,
) -> Result<Ended, ExecuteError<SessionRefused>> {
    let kept = KeptSession::of(ledger, user, session).await?;
    unit.execute::<Session>(session, SessionCommand::Revoke { session_id: session, user_id: user, reason }, &()).await?;
    // One of its access tokens may have been made a moment ago, elsewhere.
    let made_now = after(lifetimes.access);
    let tokens_end = kept.as_ref().map_or(made_now, |kept| kept.tokens_end.max(made_now));
    unit.effect(Effect::Put { kind: REVOKED, key: session_key(user, session), value: Vec::new(), expires_at: Some(tokens_end) });
    unit.effect(KeptSession::delete(user, session));
    if let Some(kept) = kept {
        unit.effect(Effect::Delete { kind: REFRESH, key: kept.refresh });
    }
    Ok((session, tokens_end))
}

/// Lets the end of all sessions of a user but one travel with a unit; of all that were opened with another password than this, when one is named.
pub(super) async fn end_others(
    ledger: &Ledger,
    lifetimes: Lifetimes,
    unit: &mut Unit,
    (user, but, hash): (UserId, Option<SessionId>, Option<&str>),
    reason: RevocationReason,
) -> Result<Vec<Ended>, ExecuteError<SessionRefused>> {
    let mut ended = Vec::new();
    let counts = hash.map(credentials);
    for (session, kept) in KeptSession::all_of(ledger, user).await? {
        if Some(session) != but && counts.as_ref() != Some(&kept.credentials) {
            ended.push(end(ledger, lifetimes, unit, (user, session), reason).await?);
        }
    }
    Ok(ended)
}

/// Ends what was opened with an old password while it was being changed: between the look at the sessions and the commit. Afterwards none can be, since a
/// sign-in claims the password it was made with.
pub(super) async fn end_latecomers(
    ledger: &Ledger,
    lifetimes: Lifetimes,
    context: Context,
    (user, but, hash): (UserId, Option<SessionId>, &str),
) -> Result<Vec<Ended>, CommitError> {
    let mut all = Vec::new();
    loop {
        let mut unit = ledger.unit(context.clone());
        let whose = (user, but, Some(hash));
        let ended = end_others(ledger, lifetimes, &mut unit, whose, RevocationReason::PasswordChanged).await?;
        if unit.is_empty() {
            return Ok(all);
        }
        unit.commit().await?;
        all.extend(ended);
    }
}

/// Makes ended sessions known here at once and everywhere else before it returns.
///
/// # Errors
/// 503 `revocation_pending` when Redis did not take it: they have ended for good, but another process may not know before Redis is back.
pub(super) async fn announce(revocations: &Revocations, ended: &[Ended]) -> Result<(), Problem> {
    crash_point("auth.before_announcement");
    let told = join_all(ended.iter().map(|(session, tokens_end)| revocations.announce(*session, *tokens_end))).await;
    told.into_iter().collect::<Result<(), _>>().map_err(revocation_pending)
}

pub(super) fn revocation_pending(_: NotYetRevoked) -> Problem {
    Problem::unavailable("revocation_pending", "This has been done here; please repeat it, so that every other place learns of it")
}

/// For the repeat of a command that ended sessions: announces all of its user's that have ended, since it cannot know which of them nobody has heard of.
///
/// # Errors
/// As [`announce`], and when the ledger does not answer.
pub(super) async fn announce_again(ledger: &Ledger, revocations: &Revocations, user: UserId) -> Result<(), Problem> {
    let revoked = ledger.secrets_below(REVOKED, &format!("{user}:"), MANY).await?;
    let ended: Vec<Ended> = revoked.into_iter().filter_map(|row| Some((session_of(&row.key)?, row.expires_at?))).collect();
    announce(revocations, &ended).await
}
