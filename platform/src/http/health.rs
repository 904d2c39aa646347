//! `/health/live`, `/health/ready`, `/health`.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Serialize;

use super::api::{Api, Rendered, get};

/// What must be true before this process takes traffic; shared by all roles in it. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<RwLock<BTreeMap<&'static str, bool>>>,
}

impl Readiness {
    /// Nothing is required yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Requires a condition; it is not met yet.
    pub fn require(&self, condition: &'static str) {
        self.conditions.write().expect("no panic holds this lock").insert(condition, false);
    }
    /// Says whether it is met.
    pub fn set(&self, condition: &'static str, met: bool) {
        self.conditions.write().expect("no panic holds this lock").insert(condition, met);
    }
    /// What is still missing; empty: ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.conditions.read().expect("no panic holds this lock").iter().filter(|(_, met)| !**met).map(|(name, _)| *name).collect()
    }
}

/// How it stands.
#[derive(Debug, Serialize, JsonSchema)]
struct Standing {
    /// `live` or `ready`.
    status: &'static str,
}

/// What is missing.
#[derive(Debug, Serialize, JsonSchema)]
struct Missing {
    /// `not ready`
    status: &'static str,
    /// The conditions that are not met yet.
    missing: Vec<&'static str>,
}

/// What runs.
#[derive(Debug, Serialize, JsonSchema)]
struct Health {
    /// `healthy`
    status: &'static str,
    /// What it is.
    service: &'static str,
    /// Of which version.
    version: &'static str,
}

/// The three routes. `ready` is 503 with what is missing; `live` says that the process turns; `/health` is `{"status":"healthy","service":…,"version":…}`.
pub fn router(service: &'static str, readiness: Readiness) -> Api {
    let health = async move || Json(Health { status: "healthy", service, version: env!("CARGO_PKG_VERSION") });
    Api::new()
        .route(
            get("/health/live", async || Json(Standing { status: "live" }))
                .says("health.live", "Does the process turn", "For whoever would start it again.")
                .counts_nothing(),
        )
        .route(
            get("/health/ready", async move || ready(&readiness))
                .says("health.ready", "Does it take traffic", "For whoever would send requests here.")
                .or_answers::<Missing>(503, "Not yet.")
                .counts_nothing(),
        )
        .route(get("/health", health).says("health.health", "What runs", "Which service this is, and of which version.").counts_nothing())
}

/// Not a problem document: orchestrators and people read the list.
fn ready(readiness: &Readiness) -> Rendered<Standing> {
    let missing = readiness.missing();
    Rendered::of(if missing.is_empty() {
        Json(Standing { status: "ready" }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(Missing { status: "not ready", missing })).into_response()
    })
}
