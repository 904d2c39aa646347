//! History and inbox of direct messages: who said what to whom, in order, with its state.
//!
//! A row per message from `message.sent`; `message.delivered`, `message.read` and `message.read_up_to` date its receipts, `message.deleted` takes it away but
//! for its place. All carry the conversation as their key, so nothing comes before the message that it is about; it often comes in the same batch, and is then
//! folded into the row. Beside them a row per conversation says when something was last said in it.

mod apply;
mod fold;

use platform::log::{ApplyError, Batch, Move, Moved, Projection, ProjectionTx};
use schemas::read_models;
use sqlx::PgConnection;

pub use fold::{Fold, Row, UpTo};

/// The projection behind `GET /messages/conversation/{user_id}` and `GET /messages/conversations`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conversations;

impl Projection for Conversations {
    type Model = read_models::Conversations;
    type Folded = Fold;

    const BUILD: i32 = 3;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        Fold::of(batch)
    }

    async fn apply_at_once(&self, connection: &mut PgConnection, to: &Move, fold: &Fold) -> Result<Option<Moved>, sqlx::Error> {
        if !fold.is_all_sent() {
            return Ok(None);
        }
        apply::insert_sent(connection, to, fold).await.map(Some)
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if !fold.sent.is_empty() {
            apply::insert_sent(tx, &Move::default(), fold).await?;
        }
        if !fold.delivered.is_empty() {
            apply::mark_delivered(tx, &fold.delivered).await?;
        }
        // In this order: whoever finds a row read by the first makes it no later.
        if !fold.read_up_to.is_empty() {
            apply::mark_read_up_to(tx, &fold.read_up_to).await?;
        }
        if !fold.read.is_empty() {
            apply::mark_read(tx, &fold.read).await?;
        }
        if !fold.deleted.is_empty() {
            apply::bury(tx, fold).await?;
        }
        Ok(())
    }
}
