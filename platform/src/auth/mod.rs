//! Tokens: made, verified once, and dead when they are revoked.
//!
//! * [`Caller`] the extractor of every protected route · [`CallerOfRevoked`] of those that revoke · [`CallerOrCookie`] of those that browsers ask without a token ·
//!   [`Opener`] of sockets, by [`Tickets`] too
//! * [`Tokens`] issue, verify · [`SigningKeys`] what they are signed with · [`Revocations`] which sessions have ended

mod caller;
pub mod cookie;
mod key_file;
mod keys;
mod opener;
mod revocations;
mod revoked_set;
mod tickets;
mod tokens;
mod uses;

pub use caller::{Caller, CallerOfRevoked};
pub use cookie::CallerOrCookie;
pub use keys::SigningKeys;
pub use opener::Opener;
pub use revocations::{NotYetRevoked, Revocations, Standing};
pub use tickets::{NoTicket, TICKET, Tickets};
pub use tokens::{Claims, Refused, Tokens};
pub use uses::SessionUses;
