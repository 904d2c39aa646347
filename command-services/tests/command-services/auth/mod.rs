//! Accounts and sessions, as a client sees them.

mod account;
mod desk;
mod lockout;
mod login;
mod logout;
mod password;
mod refresh;
mod refusals;
mod register;
mod sessions;
