//! The platform's promises, against real servers.

mod auth;
mod http;
