//! The upgrade, what it does not agree on, and masks.

use super::judge::{Judge, ping_of};
use super::wire::{Out, PING, TEXT, Wire, upgrade};

#[tokio::test]
async fn compression_is_offered_and_not_taken_12_and_13() {
    let judge = Judge::new().await;
    let port = testkit::system::System::shared().await.port;
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
        "x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover",
    ] {
        let (wire, head) = Wire::shake(&upgrade(judge.person(), &format!("Sec-WebSocket-Extensions: {offer}\r\n")), port).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "nothing was agreed on: {head}");
        // What is compressed all the same has a reserved bit.
        let mut case = super::judge::Case { number: "12.1.1".into(), wire };
        case.send(Out::of(TEXT, ping_of(30))).await.pong().await;
        case.send(Out::of(TEXT, ping_of(30)).rsv(4)).await;
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn a_frame_without_a_mask_fails_the_connection() {
    let judge = Judge::new().await;
    for frame in [Out::of(TEXT, ping_of(30)), Out::of(PING, "Hello"), Out::close(1000, b"")] {
        let mut case = judge.case("§5.1").await;
        case.send(Out { masked: false, ..frame }).await;
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_lacks_something_is_refused_and_not_upgraded() {
    let judge = Judge::new().await;
    let port = testkit::system::System::shared().await.port;
    let whole = upgrade(judge.person(), "Connection: close\r\n");
    for (what, from, to) in [
        ("no key", "Sec-WebSocket-Key", "X-Key"),
        ("a key of another length", "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        ("no version", "Sec-WebSocket-Version", "X-Version"),
        ("another version", "Version: 13", "Version: 8"),
        ("no upgrade", "Upgrade: websocket", "X-Upgrade: websocket"),
        ("another upgrade", "Upgrade: websocket", "Upgrade: h2c"),
        ("no connection", "Connection: Upgrade", "Connection: close"),
        ("another method", "GET /", "POST /"),
        ("an older HTTP", "HTTP/1.1", "HTTP/1.0"),
    ] {
        let request = whole.replace(from, to);
        assert_ne!(request, whole, "{what}");
        let (_, head) = Wire::shake(&request, port).await;
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        assert!((400..500).contains(&status), "{what}: {head}");
        if what == "another version" {
            assert!(head.to_ascii_lowercase().contains("sec-websocket-version: 13"), "§4.4: it says which one it speaks: {head}");
        }
    }
    let mut lower = judge.case("names in any case").await;
    let request = upgrade(judge.person(), "")
        .replace("Upgrade: websocket", "uPgRaDe: WebSocket")
        .replace("Connection: Upgrade", "connection: keep-alive, uPGRADE");
    let (wire, head) = Wire::shake(&request, port).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    lower.wire = wire;
    lower.send(Out::of(TEXT, ping_of(30))).await.pong().await;
    lower.goes_on().await;
}

#[tokio::test]
async fn frames_that_come_with_the_upgrade_are_heard() {
    let judge = Judge::new().await;
    let port = testkit::system::System::shared().await.port;
    // Nobody may send before the answer; what comes in the same segment is not lost all the same.
    let mut request = upgrade(judge.person(), "").into_bytes();
    request.extend(Out::of(TEXT, ping_of(30)).bytes());
    let (wire, head) = Wire::shake(request, port).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut case = super::judge::Case { number: "early".into(), wire };
    case.pong().await;
    case.goes_on().await;
}
