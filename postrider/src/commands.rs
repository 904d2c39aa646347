//! What clients ask over a socket, carried out by the commands of the messages service.

use async_trait::async_trait;
use command_services::messages::{self, Messages, acknowledge, read, send};
use platform::auth::Caller;
use platform::http::{Problem, RequestContext};
use platform::ledger::Context;
use query_api::socket::{Commands, SentBefore};
use schemas::{MessageId, UserId};
use serde_json::value::RawValue;

/// The messages service, as sockets ask it.
#[derive(Debug)]
pub struct OfMessages(pub Messages);

#[async_trait]
impl Commands for OfMessages {
    async fn message(&self, caller: &Caller, request: RequestContext, payload: &RawValue) -> Result<Option<SentBefore>, Problem> {
        let committed = send::by_socket(&self.0, caller, request, payload.get()).await?;
        if !committed.again {
            return Ok(None);
        }
        let (event, sent) = send::first_of(&committed)?;
        let (id, recipient, client_id) = (sent.message_id, sent.recipient_id, sent.client_id);
        Ok(Some(SentBefore { id, recipient, client_id, at: event.recorded_at }))
    }

    async fn read(&self, caller: &Caller, request: RequestContext, message: MessageId) -> Result<bool, Problem> {
        match read::read(&self.0, Context::of_user(caller.user, request), caller.user, message).await {
            Ok(_) => Ok(true),
            // Whose it is not learns no more than of one that does not exist.
            Err(read::ReadError::Refused(read::ReadRefused::Unknown | read::ReadRefused::NotTheRecipient)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn delivered(&self, caller: &Caller, request: RequestContext, message: MessageId) -> Result<bool, Problem> {
        let committed = acknowledge::acknowledge(&self.0, Context::of_user(caller.user, request), caller.user, message).await?;
        Ok(!committed.events.is_empty())
    }

    async fn may_reach(&self, caller: &Caller, to: UserId) -> Result<bool, Problem> {
        messages::may_reach(&self.0, caller.user, to).await
    }
}
