//! The edge: what every route has in common.
//!
//! * [`guarded`] and [`routes`] what is wrapped around a router, and [`cors`] around that · [`serve`] sockets and their end · [`detached`] commands that outlive their client
//! * [`Valid`], [`Id`], [`IdempotencyKey`], [`RequestContext`] what arrives · [`Problem`], [`Written`] what is answered
//! * [`api`] routes that document themselves · [`health`] whether the process is well

pub mod api;
mod body;
mod connection;
mod context;
mod cors;
mod counted;
mod edge;
pub mod health;
mod idempotency;
mod json;
mod malformed;
mod params;
mod problem;
mod serve;
mod written;

pub use body::{BODY_LIMIT, Id, Valid, Validate, Violations};
pub use context::{RequestContext, request_context};
pub use cors::{AllowedOrigins, cors};
pub use counted::{Counted, Counts, Guard};
pub use edge::{guarded, routes};
pub use idempotency::IdempotencyKey;
pub use params::Params;
pub use problem::{Problem, Violation};
pub use serve::{detached, serve};
pub use written::Written;
