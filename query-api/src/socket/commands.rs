//! What clients ask over a socket: the same commands as over HTTP, behind a trait, since commands and queries know nothing of each other. `postrider` implements it with `command-services`.

use async_trait::async_trait;
use platform::auth::Caller;
use platform::http::Problem;
use schemas::{MessageId, UserId};
use serde_json::value::RawValue;

/// A command was carried out; nothing more is said of it. What follows reaches the client as frames.
pub type Done = Result<(), Problem>;

/// Commands of a socket's user. Each is authorised and validated as over HTTP, runs to its end once it has begun (whatever becomes of the socket), and is durable when it answers.
#[async_trait]
pub trait Commands: Send + Sync + std::fmt::Debug + 'static {
    /// `message`: as `POST /messages/send`. The payload is the body that the route takes; a `message_id` that is no UUID is kept as `client_id`. Also 422 for a body that the route would refuse.
    async fn message(&self, caller: &Caller, payload: &RawValue) -> Done;

    /// `read`, `read_confirmation`: as `PUT /messages/{id}/read`. Repeats and unknown ids are no errors here.
    async fn read(&self, caller: &Caller, message: MessageId) -> Done;

    /// `delivery_confirmation`, `ack`: as `POST /relay/acknowledge`. Repeats and unknown ids are no errors here.
    async fn delivered(&self, caller: &Caller, message: MessageId) -> Done;

    /// Whether the caller may show `to` that they are typing: they exist, and neither has blocked the other.
    async fn may_reach(&self, caller: &Caller, to: UserId) -> Result<bool, Problem>;
}
