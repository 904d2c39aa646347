//! What clients ask over a socket: the same commands as over HTTP, behind a trait, since commands and queries know nothing of each other. `postrider` implements it with `command-services`.

use async_trait::async_trait;
use platform::auth::Caller;
use platform::http::{Problem, RequestContext};
use schemas::{MessageId, Timestamp, UserId};
use serde_json::value::RawValue;

/// A message that had been stored before: who sends it again does not know that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBefore {
    /// The message.
    pub id: MessageId,
    /// To whom.
    pub recipient: UserId,
    /// What the client called it, when that was no UUID.
    pub client_id: Option<String>,
    /// When it was sent.
    pub at: Timestamp,
}

/// Commands of a socket's user. Each is authorised and validated as over HTTP, and durable when it answers. [`super::Talk`] sees to it that one that has begun comes to its end.
#[async_trait]
pub trait Commands: Send + Sync + std::fmt::Debug + 'static {
    /// `message`: as `POST /messages/send`. The payload is the body that the route takes; a `message_id` that is no UUID is kept as `client_id`. `None`: it is stored from now on.
    ///
    /// # Errors
    /// Those of the route.
    async fn message(&self, caller: &Caller, request: RequestContext, payload: &RawValue) -> Result<Option<SentBefore>, Problem>;

    /// `read`, `read_confirmation`: as `PUT /messages/{id}/read`. Whether the caller has such a message: that there is none is no error here, be it that there is none at all or that it is somebody else's, and no repeat is one.
    ///
    /// # Errors
    /// Those of the route, but for these.
    async fn read(&self, caller: &Caller, request: RequestContext, message: MessageId) -> Result<bool, Problem>;

    /// `delivery_confirmation`, `ack`: as `POST /relay/acknowledge`. Whether the caller has such a message: as with `read`.
    ///
    /// # Errors
    /// Those of the route.
    async fn delivered(&self, caller: &Caller, request: RequestContext, message: MessageId) -> Result<bool, Problem>;

    /// Whether the caller may show `to` that they are typing: they exist, and neither has blocked the other.
    ///
    /// # Errors
    /// 503 when it cannot be told.
    async fn may_reach(&self, caller: &Caller, to: UserId) -> Result<bool, Problem>;
}
