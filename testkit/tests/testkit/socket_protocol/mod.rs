//! RFC 6455 as Autobahn|Testsuite walks it, against the real server, with a client of its own that writes every byte itself.
//!
//! Cases bear the suite's numbers. It expects an echo where a server of ours answers what it is told: a `ping` (as JSON) with `pong`, other text with `error`; an
//! answer stands for the echo, and that the connection is as good as before. Where the suite fails a connection, the close code is looked at. Cases 12 and 13
//! (compression) end with the offer, which is not taken.

mod close;
mod fragments;
mod framing;
mod handshake;
mod judge;
mod limits;
mod peers;
mod reserved;
mod utf8;
mod wire;
