//! 1: framing. 2: pings and pongs.

use super::judge::{Judge, ping_of};
use super::wire::{BINARY, Out, PING, PONG, TEXT};

#[tokio::test]
async fn text_of_any_length_is_answered_1_1() {
    let judge = Judge::new().await;
    let mut empty = judge.case("1.1.1").await;
    empty.send(Out::of(TEXT, "")).await.error().await;
    empty.goes_on().await;
    for (number, length) in [("1.1.2", 125), ("1.1.3", 126), ("1.1.4", 127), ("1.1.5", 128), ("1.1.6", 65_535), ("1.1.7", 65_536)] {
        let mut case = judge.case(number).await;
        case.send(Out::of(TEXT, ping_of(length))).await.pong().await;
        case.goes_on().await;
    }
    let mut chopped = judge.case("1.1.8").await;
    chopped.wire.chopped(&Out::of(TEXT, ping_of(65_536)).bytes(), 997).await;
    chopped.pong().await;
    chopped.goes_on().await;
}

#[tokio::test]
async fn bytes_of_any_length_are_answered_and_close_nothing_1_2() {
    let judge = Judge::new().await;
    for (number, length) in
        [("1.2.1", 0), ("1.2.2", 125), ("1.2.3", 126), ("1.2.4", 127), ("1.2.5", 128), ("1.2.6", 65_535), ("1.2.7", 65_536)]
    {
        let mut case = judge.case(number).await;
        case.send(Out::of(BINARY, vec![0xfe; length])).await.error().await;
        case.goes_on().await;
    }
    let mut chopped = judge.case("1.2.8").await;
    chopped.wire.chopped(&Out::of(BINARY, vec![0xfe; 65_536]).bytes(), 997).await;
    chopped.error().await;
    chopped.goes_on().await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_2() {
    let judge = Judge::new().await;
    let payloads: [(&str, &[u8]); 4] =
        [("2.1", b""), ("2.2", b"Hello, world!"), ("2.3", &[0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]), ("2.4", &[0xfe; 125])];
    for (number, payload) in payloads {
        let mut case = judge.case(number).await;
        case.send(Out::of(PING, payload)).await.ponged(payload).await;
        case.goes_on().await;
    }
    let mut too_long = judge.case("2.5").await;
    too_long.send(Out::of(PING, vec![0xfe; 126])).await;
    too_long.fails(&[1002]).await;
    let mut chopped = judge.case("2.6").await;
    chopped.wire.chopped(&Out::of(PING, vec![0xfe; 125]).bytes(), 1).await;
    chopped.ponged(&[0xfe; 125]).await;
    chopped.goes_on().await;
}

#[tokio::test]
async fn pongs_that_nobody_asked_for_mean_nothing_2_7_to_2_9() {
    let judge = Judge::new().await;
    for (number, payload) in [("2.7", ""), ("2.8", "unsolicited pong payload")] {
        let mut case = judge.case(number).await;
        case.send(Out::of(PONG, payload)).await;
        case.goes_on().await;
    }
    let mut case = judge.case("2.9").await;
    case.send(Out::of(PONG, "unsolicited pong payload")).await.send(Out::of(PING, "ping payload")).await.ponged(b"ping payload").await;
    case.goes_on().await;
}

#[tokio::test]
async fn many_pings_are_answered_one_by_one_2_10_and_2_11() {
    let judge = Judge::new().await;
    for number in ["2.10", "2.11"] {
        let mut case = judge.case(number).await;
        for n in 0..10 {
            let ping = Out::of(PING, format!("payload-{n}"));
            match number {
                "2.10" => drop(case.send(ping).await),
                _ => case.wire.chopped(&ping.bytes(), 1).await,
            }
        }
        for n in 0..10 {
            case.ponged(format!("payload-{n}").as_bytes()).await;
        }
        case.goes_on().await;
    }
}
