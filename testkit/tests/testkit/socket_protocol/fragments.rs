//! 5: messages in parts.

use super::judge::{Judge, ping_of};
use super::wire::{CONTINUATION, Out, PING, PONG, TEXT};

/// A `ping` in two parts.
fn halves() -> Vec<Out> {
    Out::parts(TEXT, &ping_of(32), 16)
}

#[tokio::test]
async fn a_control_frame_in_parts_fails_the_connection_5_1_and_5_2() {
    let judge = Judge::new().await;
    for (number, opcode) in [("5.1", PING), ("5.2", PONG)] {
        let mut case = judge.case(number).await;
        case.wire.send_all(Out::parts(opcode, b"fragment1fragment2", 9)).await;
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn text_in_two_parts_is_one_message_5_3_to_5_5() {
    let judge = Judge::new().await;
    let bytes: Vec<u8> = halves().iter().flat_map(Out::bytes).collect();
    for (number, length) in [("5.3", bytes.len()), ("5.4", bytes.len() / 2), ("5.5", 1)] {
        let mut case = judge.case(number).await;
        case.wire.chopped(&bytes, length).await;
        case.pong().await;
        case.goes_on().await;
    }
}

#[tokio::test]
async fn a_ping_between_parts_is_answered_before_the_message_5_6_to_5_8() {
    let judge = Judge::new().await;
    let [first, second] = halves().try_into().expect("two");
    let bytes: Vec<u8> = [first, Out::of(PING, "ping payload"), second].iter().flat_map(Out::bytes).collect();
    for (number, length) in [("5.6", bytes.len()), ("5.7", bytes.len() / 3), ("5.8", 1)] {
        let mut case = judge.case(number).await;
        case.wire.chopped(&bytes, length).await;
        case.ponged(b"ping payload").await;
        case.pong().await;
        case.goes_on().await;
    }
}

#[tokio::test]
async fn a_continuation_of_nothing_fails_the_connection_5_9_to_5_14() {
    let judge = Judge::new().await;
    let last = [Out::of(CONTINUATION, "continues nothing"), Out::of(TEXT, ping_of(30))];
    let more = [Out::part(CONTINUATION, "continues nothing"), Out::of(TEXT, ping_of(30))];
    let bytes = |frames: &[Out; 2]| -> Vec<u8> { frames.iter().flat_map(Out::bytes).collect() };
    for (number, frames, length) in
        [("5.9", &last, 500), ("5.10", &last, 23), ("5.11", &last, 1), ("5.12", &more, 500), ("5.13", &more, 23), ("5.14", &more, 1)]
    {
        let mut case = judge.case(number).await;
        case.wire.chopped(&bytes(frames), length).await;
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn a_continuation_after_the_end_fails_the_connection_5_15_to_5_17() {
    let judge = Judge::new().await;
    let mut after = judge.case("5.15").await;
    after.wire.send_all(halves()).await;
    after.pong().await;
    after.wire.send_all([Out::part(CONTINUATION, "more"), Out::of(TEXT, ping_of(30))]).await;
    after.fails(&[1002]).await;
    for (number, begins) in [("5.16", Out::part(CONTINUATION, "fragment1")), ("5.17", Out::of(CONTINUATION, "fragment1"))] {
        let mut case = judge.case(number).await;
        for _ in 0..2 {
            case.send(begins.clone()).await.send(Out::part(TEXT, "fragment2")).await.send(Out::of(CONTINUATION, "fragment3")).await;
        }
        case.fails(&[1002]).await;
    }
}

#[tokio::test]
async fn a_new_message_within_another_fails_the_connection_5_18() {
    let mut case = Judge::new().await.case("5.18").await;
    case.send(Out::part(TEXT, "fragment1")).await.send(Out::of(TEXT, "fragment2")).await;
    case.fails(&[1002]).await;
}

#[tokio::test]
async fn parts_and_pings_in_turn_are_each_answered_at_once_5_19_and_5_20() {
    let judge = Judge::new().await;
    for (number, length) in [("5.19", usize::MAX), ("5.20", 1)] {
        let mut case = judge.case(number).await;
        let parts = Out::parts(TEXT, &ping_of(60), 12);
        for (n, part) in parts.into_iter().enumerate() {
            let ping = format!("ping {n}");
            let bytes = [part.bytes(), if n % 2 == 1 { Out::of(PING, ping.clone()).bytes() } else { Vec::new() }].concat();
            case.wire.chopped(&bytes, length.min(bytes.len())).await;
            if n % 2 == 1 {
                // While the message is not whole.
                case.ponged(ping.as_bytes()).await;
            }
        }
        case.pong().await;
        case.goes_on().await;
    }
}
