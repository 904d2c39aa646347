//! Tokens: made, verified once, and dead when they are revoked.
//!
//! * [`Caller`] the extractor of every protected route · [`CallerOfRevoked`] of those that revoke · [`CallerOrCookie`] of those that browsers ask without a token
//! * [`Tokens`] issue, verify · [`SigningKeys`] what they are signed with · [`Revocations`] which sessions have ended

mod caller;
pub mod cookie;
mod key_file;
mod keys;
mod revocations;
mod revoked_set;
mod tokens;
mod uses;

pub use caller::{Caller, CallerOfRevoked};
pub use cookie::CallerOrCookie;
pub use keys::SigningKeys;
pub use revocations::{NotYetRevoked, Revocations, Standing};
pub use tokens::{Claims, Refused, Tokens};
pub use uses::SessionUses;
