//! `GET /groups/` and `/groups`: the caller's groups. There are none yet, and clients ask at every start.

use axum::Json;
use platform::auth::Caller;
use platform::http::api::{Api, Route, get};
use platform::http::{Params, Problem};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Reads;

pub(crate) fn routes() -> Api<Reads> {
    const TEXT: &str = "The groups that the caller is in. There are no groups in this release: the list is empty.";
    let with_slash: Route<Reads> = get("/groups/", groups).says("groups.groupsWithSlash", "My groups (as the frontend asks)", TEXT);
    Api::new().route(get("/groups", groups).says("groups.groups", "My groups", TEXT)).route(with_slash)
}

/// A group.
#[derive(Debug, Serialize, JsonSchema)]
struct Group {}

/// The groups that the caller is in.
async fn groups(caller: Caller, params: Params) -> Result<Json<[Group; 0]>, Problem> {
    params.must_be(&caller)?;
    Ok(Json([]))
}
