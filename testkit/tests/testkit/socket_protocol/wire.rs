//! A client of its own: frames as bytes on a TCP connection, masked and cut by hand, and what comes back read by the letter of RFC 6455.

use std::time::Duration;

use base64::Engine;
use serde_json::Value;
use testkit::person::Person;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take that must come.
const PATIENCE: Duration = Duration::from_secs(10);

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame to be sent.
#[derive(Debug, Clone)]
pub struct Out {
    pub fin: bool,
    /// RSV1–3, as a number from 0 to 7.
    pub rsv: u8,
    pub opcode: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Out {
    /// A whole message, or a control frame.
    pub fn of(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, rsv: 0, opcode, masked: true, payload: payload.into() }
    }

    /// A part of a message that is not the last.
    pub fn part(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: false, ..Self::of(opcode, payload) }
    }

    pub fn rsv(mut self, rsv: u8) -> Self {
        self.rsv = rsv;
        self
    }

    /// A close frame with a code and a reason.
    pub fn close(code: u16, reason: &[u8]) -> Self {
        Self::of(CLOSE, [&code.to_be_bytes(), reason].concat())
    }

    /// A message in parts of that many bytes.
    pub fn parts(opcode: u8, payload: &[u8], length: usize) -> Vec<Self> {
        let mut parts: Vec<Self> = payload.chunks(length).map(|part| Self::part(CONTINUATION, part)).collect();
        if let Some(first) = parts.first_mut() {
            first.opcode = opcode;
        }
        if let Some(last) = parts.last_mut() {
            last.fin = true;
        }
        parts
    }

    /// On the wire (§5.2).
    pub fn bytes(&self) -> Vec<u8> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(length @ 0..=125), _) => bytes.push(mask_bit | length),
            (_, Ok(length)) => {
                bytes.push(mask_bit | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((self.payload.len() as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum In {
    /// A text message: JSON.
    Text(Value),
    Pong(Vec<u8>),
    Ping(Vec<u8>),
    /// Code (1005: none) and reason.
    Close(u16, String),
    /// The end of the connection; whether by a reset.
    End {
        reset: bool,
    },
}

/// A connection that speaks WebSocket.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The head of a request for an upgrade, as this person; further lines end in `\r\n`.
pub fn upgrade(person: &Person, further: &str) -> String {
    let key = base64::engine::general_purpose::STANDARD.encode(b"the sample nonce");
    let path = format!("/ws/{}?token={}", person.id, person.token);
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    )
}

impl Wire {
    /// Connects, upgrades, and reads `connection_established`.
    pub async fn open(person: &Person, port: u16) -> Self {
        let (mut wire, head) = Self::shake(&upgrade(person, ""), port).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The answer to the key, which is that of the example in §1.3.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        match wire.next().await {
            In::Text(frame) if frame["type"] == "connection_established" => wire,
            other => panic!("greeted with {other:?}"),
        }
    }

    /// Sends a request as it is, and reads the head of the answer.
    pub async fn shake(request: impl AsRef<[u8]>, port: u16) -> (Self, String) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut wire = Self { stream, read: Vec::new() };
        wire.raw(request.as_ref()).await;
        let head = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(end) = wire.read.windows(4).position(|window| window == b"\r\n\r\n") {
                    let head: Vec<u8> = wire.read.drain(..end + 4).collect();
                    return String::from_utf8_lossy(&head).into_owned();
                }
                assert!(wire.fill().await.is_some_and(|count| count > 0), "the connection ended within the head");
            }
        });
        let head = head.await.expect("an answer to the request");
        (wire, head)
    }

    /// Bytes as they are. What a peer that has gone does not take is not our concern.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    pub async fn send(&mut self, frame: Out) {
        self.raw(&frame.bytes()).await;
    }

    pub async fn send_all(&mut self, frames: impl IntoIterator<Item = Out>) {
        for frame in frames {
            self.send(frame).await;
        }
    }

    /// Each piece in a segment of its own, as far as the kernel lets us.
    pub async fn chopped(&mut self, bytes: &[u8], length: usize) {
        for piece in bytes.chunks(length) {
            self.raw(piece).await;
            tokio::task::yield_now().await;
        }
    }

    /// `None`: reset.
    async fn fill(&mut self) -> Option<usize> {
        let mut buffer = [0; 16 << 10];
        let count = self.stream.read(&mut buffer).await.ok()?;
        self.read.extend_from_slice(&buffer[..count]);
        Some(count)
    }

    /// What comes next.
    pub async fn next(&mut self) -> In {
        tokio::time::timeout(PATIENCE, self.frame()).await.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}"))
    }

    /// What comes next, if anything does.
    pub async fn next_within(&mut self, bound: Duration) -> Option<In> {
        tokio::time::timeout(bound, self.frame()).await.ok()
    }

    async fn frame(&mut self) -> In {
        loop {
            if let Some(frame) = self.parse() {
                return frame;
            }
            match self.fill().await {
                Some(0) => {
                    assert!(self.read.is_empty(), "the connection ended within a frame");
                    return In::End { reset: false };
                }
                None => return In::End { reset: true },
                Some(_) => {}
            }
        }
    }

    /// A whole frame, if there is one. Anything that a server must not send is a failure.
    fn parse(&mut self) -> Option<In> {
        let [first, second] = *self.read.first_chunk::<2>()?;
        assert_eq!(second & 0x80, 0, "a server does not mask");
        assert_eq!(first & 0x70, 0, "no extension was agreed on");
        let (at, length) = match second & 0x7f {
            126 => {
                let length = u16::from_be_bytes(*self.read.get(2..)?.first_chunk()?);
                assert!(length > 125, "a length is written as short as it can be");
                (4, usize::from(length))
            }
            127 => {
                let length = u64::from_be_bytes(*self.read.get(2..)?.first_chunk()?);
                assert!(length > 0xffff, "a length is written as short as it can be");
                (10, usize::try_from(length).expect("it fits into memory"))
            }
            length => (2, usize::from(length)),
        };
        let payload = self.read.get(at..at + length)?.to_vec();
        self.read.drain(..at + length);
        assert_ne!(first & 0x80, 0, "this server does not send in parts");
        Some(match first & 0x0f {
            TEXT => {
                let text = String::from_utf8(payload).expect("text is UTF-8");
                In::Text(serde_json::from_str(&text).expect("text is JSON"))
            }
            CLOSE if payload.is_empty() => In::Close(1005, String::new()),
            CLOSE => {
                let code = u16::from_be_bytes(*payload.first_chunk().expect("a code has two bytes"));
                In::Close(code, String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8"))
            }
            PING => In::Ping(payload),
            PONG => In::Pong(payload),
            opcode => panic!("a server of text sends no frames of opcode {opcode}"),
        })
    }

    /// Half of the end: nothing more is sent.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}
