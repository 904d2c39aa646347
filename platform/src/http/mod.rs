//! The edge: what every route has in common.

mod body;
mod context;
pub mod health;
mod idempotency;
mod params;
mod problem;
mod serve;
mod written;

pub use body::{Id, Valid, Validate, Violations};
pub use context::{RequestContext, request_context};
pub use idempotency::IdempotencyKey;
pub use params::Params;
pub use problem::{Problem, Violation};
pub use serve::{detached, routes, serve};
pub use written::Written;
