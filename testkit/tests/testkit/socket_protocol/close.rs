//! 7: the end of a connection.

use std::time::Duration;

use super::judge::{Judge, ping_of};
use super::wire::{CLOSE, CONTINUATION, In, Out, PING, TEXT};

#[tokio::test]
async fn a_close_is_answered_and_nothing_after_it_7_1() {
    let judge = Judge::new().await;
    let mut plain = judge.case("7.1.1").await;
    plain.send(Out::of(TEXT, ping_of(30))).await.pong().await;
    plain.goes_on().await;
    let after: [(&str, Vec<Out>); 3] = [
        ("7.1.2", vec![Out::close(1000, b"")]),
        ("7.1.3", vec![Out::of(PING, "after the close")]),
        ("7.1.4", vec![Out::of(TEXT, ping_of(30))]),
    ];
    for (number, frames) in after {
        let mut case = judge.case(number).await;
        case.send(Out::close(1000, b"")).await;
        case.wire.send_all(frames).await;
        assert!(matches!(case.next().await, In::Close(1000, _)), "{number}");
        let end = case.wire.next_within(Duration::from_secs(5)).await;
        assert!(matches!(end, Some(In::End { .. })), "{number}: {end:?}");
    }
    let mut within = judge.case("7.1.5").await;
    within.send(Out::part(TEXT, "fragment1")).await.send(Out::close(1000, b"")).await.send(Out::of(CONTINUATION, "fragment2")).await;
    within.fails(&[1000]).await;
    let mut large = judge.case("7.1.6").await;
    large.send(Out::of(TEXT, ping_of(256 << 10))).await.send(Out::of(TEXT, ping_of(30))).await.send(Out::close(1000, b"")).await;
    large.send(Out::of(PING, "")).await;
    // What was said before the close may be answered, or not; the close is.
    loop {
        match large.next().await {
            In::Text(frame) => assert_eq!(frame["type"], "pong"),
            In::Close(code, _) => break assert_eq!(code, 1000),
            other => panic!("7.1.6: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_payload_of_a_close_has_a_shape_7_3_and_7_5() {
    let judge = Judge::new().await;
    let cases: [(&str, Out, &[u16]); 7] = [
        ("7.3.1", Out::of(CLOSE, ""), &[1005, 1000]),
        ("7.3.2", Out::of(CLOSE, "a"), &[1002]),
        ("7.3.3", Out::close(1000, b""), &[1000]),
        ("7.3.4", Out::close(1000, b"Hello World!"), &[1000]),
        ("7.3.5", Out::close(1000, &[b'*'; 123]), &[1000]),
        ("7.3.6", Out::close(1000, &[b'*'; 124]), &[1002]),
        ("7.5.1", Out::close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"), &[1007, 1002]),
    ];
    for (number, frame, codes) in cases {
        let mut case = judge.case(number).await;
        case.send(frame).await;
        case.fails(codes).await;
    }
}

#[tokio::test]
async fn codes_that_may_be_sent_are_answered_with_themselves_7_7() {
    let judge = Judge::new().await;
    for (n, code) in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].into_iter().enumerate() {
        let mut case = judge.case(format!("7.7.{}", n + 1)).await;
        case.send(Out::close(code, b"")).await;
        case.fails(&[code]).await;
    }
}

#[tokio::test]
async fn codes_that_may_not_be_sent_fail_the_connection_7_9() {
    let judge = Judge::new().await;
    for (n, code) in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999].into_iter().enumerate() {
        let mut case = judge.case(format!("7.9.{}", n + 1)).await;
        case.send(Out::close(code, b"")).await;
        case.fails(&[1002]).await;
    }
    // 7.13, for information only: codes beyond all ranges end it, one way or the other.
    for (number, code) in [("7.13.1", 5000), ("7.13.2", 65_535)] {
        let mut case = judge.case(number).await;
        case.send(Out::close(code, b"")).await;
        case.fails(&[1002, code]).await;
    }
}
