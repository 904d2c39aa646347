//! Projections: what readers see, folded from the log. One folder each, with its tables beside its fold.
//!
//! * [`conversations`] history of direct messages · [`relay`] what waits for its recipient
//! * [`users`] who people are · [`profiles`] how they present themselves · [`contacts`] whom they know
//! * [`frames`] what sockets are told (in Redis)
//! * copies of other services' facts: [`people`] who exists, [`blocks`] who has blocked whom, [`portraits`] names and pictures for the auth service
#![warn(missing_docs)]

pub mod blocks;
pub mod contacts;
pub mod conversations;
pub mod frames;
mod opened;
pub mod people;
pub mod portraits;
pub mod profiles;
pub mod relay;
pub mod users;

pub use blocks::Blocks;
pub use contacts::Contacts;
pub use conversations::Conversations;
pub use frames::{Frames, FramesConfig};
pub use people::People;
pub use portraits::Portraits;
pub use profiles::Profiles;
pub use relay::Relay;
pub use users::Users;
