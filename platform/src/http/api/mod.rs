//! Routes that document themselves: what a handler takes and answers is read off its types, what it refuses off the very problems that it answers with.
//!
//! * [`Api`] a router with its description: the only way to a served route, so none goes undescribed
//! * [`get`], [`post`], [`put`], [`delete`] a route · [`Takes`], [`Answers`] what extractors and answers say of themselves
//! * [`Info`] and [`Api::document`] the OpenAPI document · [`docs`] the page that shows it

mod describe;
pub mod docs;
mod document;
mod operation;
mod responses;
mod route;

use axum::Router;
use axum::http::Method;

pub use describe::{Answers, Documented, Rendered, Takes};
pub use document::{Info, TagInfo};
pub use operation::Operation;
pub use route::{Route, Unsaid, delete, get, post, put};

use super::counted::Table;
use route::Described;

/// A router and what it does, together. Combined as routers are; there is no way to add a route without its description.
#[derive(Debug, Clone)]
pub struct Api<S = ()> {
    router: Router<S>,
    routes: Vec<Described>,
}

impl<S: Clone + Send + Sync + 'static> Default for Api<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), routes: Vec::new() }
    }

    /// With this route.
    #[must_use]
    pub fn route(mut self, route: Route<S>) -> Self {
        self.router = self.router.route(&route.described.path, route.methods);
        self.routes.push(route.described);
        self
    }

    /// With all of another's.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.routes.extend(other.routes);
        self
    }

    /// Everything below a path.
    #[must_use]
    pub fn nest(mut self, prefix: &str) -> Self {
        self.router = Router::new().nest(prefix, self.router);
        for route in &mut self.routes {
            route.path.insert_str(0, prefix);
        }
        self
    }

    /// What its handlers need.
    #[must_use]
    pub fn with_state(self, state: S) -> Api {
        Api { router: self.router.with_state(state), routes: self.routes }
    }
}

impl Api {
    /// What each route counts.
    pub(super) fn counts(&self) -> Table {
        let mut table = Table::new();
        for route in &self.routes {
            if let Ok(method) = Method::from_bytes(route.method.to_uppercase().as_bytes()) {
                table.entry(route.path.clone()).or_default().push((method, route.counts()));
            }
        }
        table
    }
}

/// The router alone, to be served ([`super::routes`]).
impl<S> From<Api<S>> for Router<S> {
    fn from(api: Api<S>) -> Self {
        api.router
    }
}
