//! Tokens: made, verified once, and dead when they are revoked.
//!
//! * [`Caller`] the extractor of every protected route · [`CallerOfRevoked`] of those that revoke
//! * [`Tokens`] issue, verify · [`SigningKeys`] what they are signed with · [`Revocations`] which sessions have ended

mod caller;
mod key_file;
mod keys;
mod revocations;
mod revoked_set;
mod tokens;

pub use caller::{Caller, CallerOfRevoked};
pub use keys::SigningKeys;
pub use revocations::{NotYetRevoked, Revocations, Standing};
pub use tokens::{Claims, Refused, Tokens};
