//! What needs real servers.

mod private;
