//! Projections: what readers see, folded from the log. One folder each, with its tables beside its fold.
//!
//! * [`conversations`] history of direct messages · [`relay`] what waits for its recipient
//! * [`users`] who people are · [`people`] the messages service's copy of who exists
#![warn(missing_docs)]

pub mod conversations;
pub mod people;
pub mod relay;
pub mod users;

pub use conversations::Conversations;
pub use people::People;
pub use relay::Relay;
pub use users::Users;
