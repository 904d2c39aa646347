//! The whole system, through its real interface, with real servers below it.

mod cli;
mod crash;
mod dependencies;
mod readme;
mod refusals;
mod secrets;
mod slice;
