//! The messages service's own copy of who has blocked whom, so that a send need not ask another service.
//!
//! From `block.placed` and `block.lifted`; what else stands in the topic is nobody's business here.

mod apply;

use std::collections::BTreeMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use schemas::users::BlockEvent;
use schemas::{Event, UserId, read_models};

/// The projection that sends look between two people in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blocks;

/// What became of each block in a batch: blocker and blocked, and whether it stands.
pub type Fold = BTreeMap<(UserId, UserId), bool>;

impl Projection for Blocks {
    type Model = read_models::Blocks;
    type Folded = Fold;

    const BUILD: i32 = 2;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut fold = Fold::new();
        for event in batch.iter().filter(|event| event.aggregate_type == BlockEvent::AGGREGATE) {
            match BlockEvent::decode(event).map_err(|e| ApplyError::decode(event, &e))? {
                BlockEvent::Placed(block) => fold.insert((block.user_id, block.blocked_id), true),
                BlockEvent::Lifted(block) => fold.insert((block.user_id, block.blocked_id), false),
            };
        }
        Ok(fold)
    }

    fn is_empty(fold: &Fold) -> bool {
        fold.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if fold.values().any(|stands| !stands) {
            apply::lift(tx, fold).await?;
        }
        if fold.values().any(|stands| *stands) {
            apply::place(tx, fold).await?;
        }
        Ok(())
    }
}
