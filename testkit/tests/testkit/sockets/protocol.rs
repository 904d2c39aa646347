//! What ends a socket because it is no protocol, and what does not.

use std::time::Duration;

use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::System;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection after its upgrade, on which anything can be sent.
async fn raw(person: &Person) -> TcpStream {
    let url = person.socket_url();
    let (address, path) = url.strip_prefix("ws://").and_then(|rest| rest.split_once('/')).expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "GET /{path}?token={} HTTP/1.1\r\nhost: {address}\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        person.token
    );
    stream.write_all(head.as_bytes()).await.expect("it takes it");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("an answer");
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    stream
}

/// A frame as clients send it: masked, with a mask of nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).expect("short")),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("short").to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The code with which the server ends it.
async fn ends_with(stream: &mut TcpStream) -> u16 {
    let ended = async {
        loop {
            let mut head = [0; 2];
            if stream.read_exact(&mut head).await.is_err() {
                return 1006;
            }
            let length = match head[1] {
                126 => usize::from(stream.read_u16().await.expect("a length")),
                127 => usize::try_from(stream.read_u64().await.expect("a length")).expect("it fits"),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.expect("a whole frame");
            if head[0] == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it ends")
}

#[tokio::test]
async fn what_is_no_protocol_is_ended_with_its_code() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let text = |payload: &[u8]| frame(0x81, payload);
    for (what, bytes, code) in [
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("a reserved opcode", frame(0x83, b""), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("no mask", b"\x81\x02{}".to_vec(), 1002),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a continuation of nothing", frame(0x80, b""), 1002),
        ("a text within a text", [frame(0x01, b"{"), text(b"}")].concat(), 1002),
        ("no UTF-8", text(b"\xff\xfe"), 1007),
        ("no UTF-8 in two parts", [frame(0x01, b"\xce"), frame(0x80, b"\x41")].concat(), 1007),
        ("more than a megabyte", frame(0x82, &vec![0; (1 << 20) + 1]), 1009),
        ("more than a megabyte in parts", [frame(0x02, &vec![0; 1 << 20]), frame(0x80, b"x")].concat(), 1009),
    ] {
        let mut stream = raw(&ann).await;
        // It may be ended before it has taken all of that.
        let _ = stream.write_all(&bytes).await;
        assert_eq!(ends_with(&mut stream).await, code, "{what}");
    }
    for (what, payload, code) in
        [("with a code", &b"\x03\xe8bye"[..], 1000), ("with another", b"\x0f\xa0", 4000), ("with none that may be", b"\x03\xed", 1002)]
    {
        let mut stream = raw(&ann).await;
        stream.write_all(&frame(0x88, payload)).await.expect("it takes it");
        assert_eq!(ends_with(&mut stream).await, code, "{what}");
    }
}

#[tokio::test]
async fn half_a_frame_from_one_client_holds_nobody_else_up() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut stream = raw(&ann).await;
        stream.write_all(&frame(0x81, &[b' '; 70_000])[..9]).await.expect("it takes it");
        stuck.push(stream);
    }
    let mut socket = Socket::open(&ann).await;
    socket.before_pong().await;
    drop(stuck);
    socket.before_pong().await;
}
