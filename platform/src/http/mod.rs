//! The edge: what every route has in common.

mod body;
mod consistency;
mod context;
pub mod health;
mod idempotency;
mod params;
mod problem;
mod serve;

pub use body::{Id, Valid, Validate, Violations};
pub use consistency::CONSISTENCY_TOKEN;
pub use context::{RequestContext, request_context};
pub use idempotency::IdempotencyKey;
pub use params::Params;
pub use problem::{Problem, Violation};
pub use serve::{detached, routes, serve};
