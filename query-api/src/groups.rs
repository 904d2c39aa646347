//! `GET /groups/` and `/groups`: the caller's groups. There are none yet, and clients ask at every start.

use axum::routing::get;
use axum::{Json, Router};
use platform::auth::Caller;
use platform::http::{Params, Problem};

use crate::Reads;

pub(crate) fn routes() -> Router<Reads> {
    Router::new().route("/groups", get(groups)).route("/groups/", get(groups))
}

/// The groups that the caller is in.
async fn groups(caller: Caller, params: Params) -> Result<Json<[(); 0]>, Problem> {
    params.must_be(&caller)?;
    Ok(Json([]))
}
