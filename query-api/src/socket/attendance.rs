//! Who is here, and who is told so: presence, as sockets have it.

use platform::frames::FrameLog;
use platform::fresh::Freshness;
use platform::presence::Presence;
use platform::shutdown::Shutdown;
use schemas::UserId;

/// Takes leases for this process's users, tells those who may know who came and who left, and says who is here. Clones share everything.
///
/// A hint, never an error: without Redis nobody is here, and without Postgres nobody is told.
#[derive(Debug, Clone)]
pub struct Attendance {}

/// An open socket of somebody's, as far as presence is concerned. Dropped when the socket closes: with the last one of a user in any process, they are offline 5 s later.
#[derive(Debug)]
#[must_use = "who drops it has left"]
pub struct Here {}

#[expect(clippy::todo, clippy::unused_async, reason = "under construction")]
impl Attendance {
    /// `freshness` must hold the pools of `user_db` and `message_db`.
    #[must_use]
    pub fn new(_presence: Presence, _freshness: Freshness, _log: FrameLog) -> Self {
        todo!()
    }

    /// A socket of this user has opened; they are here until the answer is dropped. Returns at once: the lease is taken in the background, together with those of others.
    pub fn opened(&self, _user: UserId) -> Here {
        todo!()
    }

    /// Those of a user's contacts who are here, as far as they let the user see it: `online_users` of `connection_established`.
    ///
    /// Ask after [`platform::frames::Pusher::hold`], so that whoever comes or goes meanwhile is heard of; empty when it cannot be told.
    pub async fn online_users(&self, _user: UserId) -> Vec<UserId> {
        todo!()
    }

    /// Of each of `people`, whether `viewer` may see that they are here: `is_online` of `contact_added`, which [`super::Said::online`] follows when they are.
    pub async fn seen(&self, _viewer: UserId, _people: &[UserId]) -> Vec<bool> {
        todo!()
    }

    /// Renews leases, finds those that have ended with their process, and tells. Runs until the shutdown; one per process.
    pub async fn run(self, _shutdown: Shutdown) {
        todo!()
    }
}
