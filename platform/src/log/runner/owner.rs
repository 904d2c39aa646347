//! Who stands by for a projection, and where they find it.

use std::marker::PhantomData;

use schemas::read_models::ReadModel;
use sqlx::PgConnection;

use super::{Trouble, schema};
use crate::log::{Projection, SourceError, Stands, Successor, checkpoint};

/// By the rows in the projection's schema, unless that is another build's.
pub(super) struct ByRows<P>(PhantomData<P>);

impl<P> Default for ByRows<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P: Projection> std::fmt::Debug for ByRows<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ByRows").field(&P::Model::NAME).finish()
    }
}

impl<P: Projection> Successor for ByRows<P> {
    type Error = Trouble;

    async fn stands(&self, connection: &mut PgConnection) -> Result<Stands, Trouble> {
        let rows = schema::look::<P>(connection).await?;
        Ok(rows.map_or(Stands::NotOurs, |rows| Stands::At(checkpoint::begun(&rows))))
    }

    fn broken(&self, error: SourceError) -> Trouble {
        Trouble::source(P::Model::NAME, error)
    }
}
