//! `/health/live`, `/health/ready`, `/health`.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

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

/// The three routes. `ready` is 503 with what is missing; `live` says that the process turns; `/health` is `{"status":"healthy","service":…,"version":…}`.
pub fn router(service: &'static str, readiness: Readiness) -> Router {
    Router::new()
        .route("/health/live", get(async || Json(json!({"status": "live"}))))
        .route("/health/ready", get(async move || ready(&readiness)))
        .route("/health", get(async move || Json(json!({"status": "healthy", "service": service, "version": env!("CARGO_PKG_VERSION")}))))
}

/// Not a problem document: orchestrators and people read the list.
fn ready(readiness: &Readiness) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        Json(json!({"status": "ready"})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], Json(json!({"status": "not ready", "missing": missing}))).into_response()
    }
}
