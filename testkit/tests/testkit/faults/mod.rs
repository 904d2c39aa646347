//! Many clients, whatever breaks: nothing acknowledged is lost, doubled, out of order or told to the wrong one.

mod checker;
mod dice;
mod history;
