//! Every projection against real tables: whatever the batching and however often, the same rows as a plain fold in memory.

mod at_once;
mod conversations;
mod frames;
mod history;
mod people;
mod relay;
mod tables;
mod users;
mod users_events;
