//! 9: limits, at our bound of 1 MiB. 10: parts as large as a network likes them.

use super::judge::{Judge, ping_of};
use super::wire::{BINARY, CONTINUATION, Out, TEXT};

const BOUND: usize = 1 << 20;

#[tokio::test]
async fn a_message_up_to_the_bound_is_answered_9_1_and_9_2() {
    let judge = Judge::new().await;
    for (n, length) in [64 << 10, 256 << 10, BOUND].into_iter().enumerate() {
        let mut text = judge.case(format!("9.1.{}", n + 1)).await;
        text.send(Out::of(TEXT, ping_of(length))).await.pong().await;
        text.goes_on().await;
        let mut bytes = judge.case(format!("9.2.{}", n + 1)).await;
        bytes.send(Out::of(BINARY, vec![0xfe; length])).await.error().await;
        bytes.goes_on().await;
    }
}

#[tokio::test]
async fn a_message_over_the_bound_closes_with_1009_in_one_frame_or_in_many() {
    let judge = Judge::new().await;
    for (what, frames) in [
        ("one byte more", vec![Out::of(TEXT, ping_of(BOUND + 1))]),
        ("9.1.4: 4 MiB", vec![Out::of(TEXT, ping_of(4 << 20))]),
        ("in parts", Out::parts(TEXT, &ping_of(BOUND + 1), 64 << 10)),
        ("in tiny parts", Out::parts(TEXT, &ping_of(BOUND + 1), 1 << 10)),
    ] {
        let mut case = judge.case(what).await;
        case.wire.send_all(frames).await;
        case.fails(&[1009]).await;
    }
    // A length is enough: nothing of it has to come. Nor does what was promised take any room.
    for (what, length) in [("promised", 1_u64 << 32), ("9.1.6", 16 << 20), ("more than there is", (1 << 63) - 1)] {
        let mut case = judge.case(what).await;
        case.wire.raw(&[&[0x81, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat()).await;
        case.fails(&[1009]).await;
    }
    // The highest bit of a length must not be set (§5.2).
    let mut case = judge.case("negative").await;
    case.wire.raw(&[&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &[1, 2, 3, 4]].concat()).await;
    case.fails(&[1002, 1009]).await;
}

#[tokio::test]
async fn parts_of_any_size_make_one_message_9_3_and_9_4() {
    let judge = Judge::new().await;
    for (n, length) in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, BOUND].into_iter().enumerate() {
        let mut text = judge.case(format!("9.3.{}", n + 1)).await;
        text.wire.send_all(Out::parts(TEXT, &ping_of(BOUND), length)).await;
        text.pong().await;
        text.goes_on().await;
        let mut bytes = judge.case(format!("9.4.{}", n + 1)).await;
        bytes.wire.send_all(Out::parts(BINARY, &vec![0xfe; BOUND], length)).await;
        bytes.error().await;
        bytes.goes_on().await;
    }
}

#[tokio::test]
async fn a_message_may_come_in_segments_of_any_size_9_5_and_9_6() {
    let judge = Judge::new().await;
    for (n, length) in [64, 128, 256, 512, 1_024, 2_048].into_iter().enumerate() {
        let mut text = judge.case(format!("9.5.{}", n + 1)).await;
        text.wire.chopped(&Out::of(TEXT, ping_of(BOUND)).bytes(), length).await;
        text.pong().await;
        text.goes_on().await;
        let mut bytes = judge.case(format!("9.6.{}", n + 1)).await;
        bytes.wire.chopped(&Out::of(BINARY, vec![0xfe; BOUND]).bytes(), length).await;
        bytes.error().await;
        bytes.goes_on().await;
    }
}

#[tokio::test]
async fn round_trips_go_on_and_on_9_7() {
    let judge = Judge::new().await;
    for (n, length) in [16, 64, 256, 1 << 10, 4 << 10].into_iter().enumerate() {
        let mut case = judge.case(format!("9.7.{}", n + 1)).await;
        for _ in 0..1_000 {
            case.send(Out::of(TEXT, ping_of(length))).await.pong().await;
        }
        case.goes_on().await;
    }
}

#[tokio::test]
async fn a_message_in_parts_of_1300_bytes_is_one_10_1_1() {
    let mut case = Judge::new().await.case("10.1.1").await;
    case.wire.send_all(Out::parts(TEXT, &ping_of(65_536), 1_300)).await;
    case.pong().await;
    case.goes_on().await;
}

#[tokio::test]
async fn endless_empty_parts_take_no_room_and_keep_nobody_waiting() {
    let judge = Judge::new().await;
    let mut endless = judge.case("empty parts").await;
    endless.send(Out::part(TEXT, "")).await;
    let part = Out::part(CONTINUATION, "").bytes();
    for _ in 0..200 {
        endless.wire.raw(&part.repeat(500)).await;
    }
    judge.case("beside it").await.goes_on().await;
    endless.send(Out::of(CONTINUATION, ping_of(30))).await.pong().await;
    endless.goes_on().await;
}
