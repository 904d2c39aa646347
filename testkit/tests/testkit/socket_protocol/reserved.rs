//! 3: reserved bits. 4: opcodes that mean nothing.

use super::judge::{Judge, ping_of};
use super::wire::{BINARY, CLOSE, Out, PING, TEXT};

#[tokio::test]
async fn a_reserved_bit_fails_the_connection_3() {
    let judge = Judge::new().await;
    let mut alone = judge.case("3.1").await;
    alone.send(Out::of(TEXT, ping_of(30)).rsv(1)).await;
    alone.fails(&[1002]).await;
    for (number, rsv) in [("3.2", 2), ("3.3", 3), ("3.4", 4)] {
        let mut second = judge.case(number).await;
        second.send(Out::of(TEXT, ping_of(30))).await.pong().await;
        let bytes = [Out::of(TEXT, ping_of(30)).rsv(rsv).bytes(), Out::of(PING, "").bytes()].concat();
        match number {
            "3.4" => second.wire.chopped(&bytes, 1).await,
            _ => second.wire.raw(&bytes).await,
        }
        second.fails(&[1002]).await;
    }
    for (number, frame) in
        [("3.5", Out::of(BINARY, vec![0; 30]).rsv(5)), ("3.6", Out::of(PING, "Hello").rsv(6)), ("3.7", Out::of(CLOSE, "").rsv(7))]
    {
        let mut case = judge.case(number).await;
        case.send(frame).await;
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn an_opcode_that_means_nothing_fails_the_connection_4() {
    let judge = Judge::new().await;
    for (number, opcode, payload) in [("4.1.1", 3, ""), ("4.1.2", 4, "reserved"), ("4.2.1", 11, ""), ("4.2.2", 12, "reserved")] {
        let mut case = judge.case(number).await;
        case.send(Out::of(opcode, payload)).await;
        case.fails(&[1002]).await;
    }
    for (number, opcode, payload) in [
        ("4.1.3", 5, ""),
        ("4.1.4", 6, "reserved"),
        ("4.1.5", 7, "reserved"),
        ("4.2.3", 13, ""),
        ("4.2.4", 14, "reserved"),
        ("4.2.5", 15, "reserved"),
    ] {
        let mut case = judge.case(number).await;
        case.send(Out::of(TEXT, ping_of(30))).await.pong().await;
        let bytes = [Out::of(opcode, payload).bytes(), Out::of(PING, "").bytes()].concat();
        case.wire.chopped(&bytes, if number.ends_with('5') { 1 } else { bytes.len() }).await;
        case.fails(&[1002]).await;
    }
}
