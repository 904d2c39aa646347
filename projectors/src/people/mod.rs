//! The messages service's own copy of who exists, so that a send need not ask another service.
//!
//! From `account.registered`, whose seals stay closed: this copy needs no name and no address, and so no key.

mod apply;

use std::collections::BTreeSet;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use schemas::auth::AccountEvent;
use schemas::read_models;
use schemas::{Event, UserId};

/// The projection that commands of the messages service look recipients up in.
#[derive(Debug, Clone, Copy, Default)]
pub struct People;

/// Who registered in a batch.
pub type Fold = BTreeSet<UserId>;

impl Projection for People {
    type Model = read_models::People;
    type Folded = Fold;

    const BUILD: i32 = 1;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut registered = Fold::new();
        // Sessions stand in the same topic and say nothing about who exists.
        for event in batch.iter().filter(|event| event.aggregate_type == AccountEvent::AGGREGATE) {
            // Whatever else happens to an account, it is still somebody's.
            if let AccountEvent::Registered(account) = AccountEvent::decode(event).map_err(|e| ApplyError::decode(event, &e))? {
                registered.insert(account.user_id);
            }
        }
        Ok(registered)
    }

    fn is_empty(registered: &Fold) -> bool {
        registered.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, registered: &Fold) -> Result<(), sqlx::Error> {
        if !registered.is_empty() {
            apply::insert(tx, registered).await?;
        }
        Ok(())
    }
}
