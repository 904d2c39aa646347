//! What a case expects: an answer where the suite expects an echo, or the end of the connection with a code.

use std::time::Duration;

use serde_json::Value;
use testkit::person::Person;
use testkit::system::System;

use super::wire::{CLOSE, In, Out, TEXT, Wire};

/// Somebody whose connections are looked at.
#[derive(Debug)]
pub struct Judge {
    person: Person,
    port: u16,
}

impl Judge {
    pub async fn new() -> Self {
        let system = System::shared().await;
        Self { person: Person::register(system, "judge").await, port: system.port }
    }

    pub fn person(&self) -> &Person {
        &self.person
    }

    /// A connection for a case, named by its number in Autobahn|Testsuite.
    pub async fn case(&self, number: impl Into<String>) -> Case {
        Case { number: number.into(), wire: Wire::open(&self.person, self.port).await }
    }
}

/// A case.
#[derive(Debug)]
pub struct Case {
    pub number: String,
    pub wire: Wire,
}

/// JSON that is answered with `pong`, of exactly so many bytes.
pub fn ping_of(length: usize) -> Vec<u8> {
    let mut text = br#"{"type":"ping"}"#.to_vec();
    assert!(length >= text.len(), "a ping has at least {} bytes", text.len());
    text.resize(length, b' ');
    text
}

impl Case {
    pub async fn send(&mut self, frame: Out) -> &mut Self {
        self.wire.send(frame).await;
        self
    }

    /// The next that is said, presence and what else has nothing to do with it passed over.
    pub async fn next(&mut self) -> In {
        loop {
            match self.wire.next().await {
                In::Text(frame) if frame["type"] != "pong" && frame["type"] != "error" => {}
                next => return next,
            }
        }
    }

    async fn text(&mut self) -> Value {
        match self.next().await {
            In::Text(frame) => frame,
            other => panic!("{}: expected an answer, got {other:?}", self.number),
        }
    }

    /// What was sent was understood: `pong`.
    pub async fn pong(&mut self) -> &mut Self {
        let frame = self.text().await;
        assert_eq!(frame["type"], "pong", "{}: {frame}", self.number);
        self
    }

    /// What was sent was taken for text that means nothing: `error`, and not an end.
    pub async fn error(&mut self) -> &mut Self {
        let frame = self.text().await;
        assert_eq!(frame["type"], "error", "{}: {frame}", self.number);
        self
    }

    /// A pong frame with this payload.
    pub async fn ponged(&mut self, payload: &[u8]) -> &mut Self {
        assert_eq!(self.next().await, In::Pong(payload.to_vec()), "{}", self.number);
        self
    }

    /// It is as good as before; then it is closed in order.
    pub async fn goes_on(mut self) {
        self.send(Out::of(TEXT, ping_of(20))).await.pong().await;
        self.send(Out::close(1000, b"")).await;
        self.closes_as(&[1000]).await;
    }

    /// The server ends it with one of these codes, and the connection after it, without anything else in between.
    pub async fn fails(self, codes: &[u16]) {
        self.closes_as(codes).await;
    }

    async fn closes_as(mut self, codes: &[u16]) {
        match self.next().await {
            In::Close(code, _) => assert!(codes.contains(&code), "{}: closed with {code}, not with {codes:?}", self.number),
            other => panic!("{}: expected a close, got {other:?}", self.number),
        }
        self.send(Out::of(CLOSE, Vec::new())).await;
        // Whoever asked for the upgrade waits for the server to end the connection first (§7.1.1).
        let end = self.wire.next_within(Duration::from_secs(5)).await;
        assert!(matches!(end, Some(In::End { .. })), "{}: after the close came {end:?}", self.number);
    }
}
