//! Tokens: made, verified once, and dead when they are revoked.

mod caller;
mod keys;
mod revocations;
mod tokens;

pub use caller::{Caller, CallerOfRevoked};
pub use keys::SigningKeys;
pub use revocations::{NotYetRevoked, Revocations};
pub use tokens::{Claims, Refused, Tokens};
