//! Accounts and sessions, as a client sees them.

mod desk;
mod login;
mod logout;
mod refusals;
mod register;
