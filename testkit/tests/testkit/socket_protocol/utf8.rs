//! 6: text is UTF-8.

use super::judge::Judge;
use super::wire::{CONTINUATION, Out, TEXT};

/// "κόσμε"
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
/// It, a surrogate, and "edited".
const BROKEN: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";

#[tokio::test]
async fn parts_without_content_are_parts_6_1() {
    let judge = Judge::new().await;
    for (number, parts) in [("6.1.1", vec![""]), ("6.1.2", vec!["", "", ""]), ("6.1.3", vec!["", "middle frame payload", ""])] {
        let mut case = judge.case(number).await;
        let last = parts.len() - 1;
        for (n, part) in parts.into_iter().enumerate() {
            let opcode = if n == 0 { TEXT } else { CONTINUATION };
            case.send(if n == last { Out::of(opcode, part) } else { Out::part(opcode, part) }).await;
        }
        case.error().await;
        case.goes_on().await;
    }
}

#[tokio::test]
async fn text_may_be_cut_within_a_character_6_2() {
    let judge = Judge::new().await;
    let text = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    for (number, text, length) in [("6.2.1", text, text.len()), ("6.2.2", text, 8), ("6.2.3", text, 1), ("6.2.4", KOSME, 1)] {
        let mut case = judge.case(number).await;
        case.wire.send_all(Out::parts(TEXT, text, length)).await;
        case.error().await;
        case.goes_on().await;
    }
}

#[tokio::test]
async fn what_is_no_utf_8_fails_the_connection_however_it_is_cut_6_3() {
    let judge = Judge::new().await;
    for (number, length) in [("6.3.1", BROKEN.len()), ("6.3.2", 1)] {
        let mut case = judge.case(number).await;
        case.wire.send_all(Out::parts(TEXT, BROKEN, length)).await;
        case.fails(&[1007]).await;
    }
}

#[tokio::test]
async fn what_is_no_utf_8_is_noticed_before_the_message_ends_6_4() {
    let judge = Judge::new().await;
    // Frame by frame: the rest of the message never comes.
    for (number, broken) in [("6.4.1", &b"\xf4\x90\x80\x80"[..]), ("6.4.2", b"\xf4\x90")] {
        let mut case = judge.case(number).await;
        case.send(Out::part(TEXT, KOSME)).await.send(Out::part(CONTINUATION, broken)).await;
        case.fails(&[1007]).await;
    }
    // Byte by byte within one frame, the suite lets a server wait for the end of the frame ("non-strict").
    for number in ["6.4.3", "6.4.4"] {
        let mut case = judge.case(number).await;
        let payload = [KOSME, b"\xf4\x90\x80\x80", b"edited"].concat();
        case.wire.chopped(&Out::of(TEXT, payload).bytes(), if number == "6.4.3" { 8 } else { 1 }).await;
        case.fails(&[1007]).await;
    }
}

/// Bytes, and whether they are UTF-8.
type Sequence = (bool, Vec<u8>);

/// The sequences of Markus Kuhn's decoder test, by category.
fn sequences() -> Vec<(u32, Vec<Sequence>)> {
    let good = |list: &[&[u8]]| list.iter().map(|bytes| (true, bytes.to_vec())).collect::<Vec<Sequence>>();
    let bad = |list: &[&[u8]]| list.iter().map(|bytes| (false, bytes.to_vec())).collect::<Vec<_>>();
    let both = |one: Vec<Sequence>, other: Vec<Sequence>| [one, other].concat();
    let lonely = |first: u8, last: u8| (false, (first..last).flat_map(|byte| [byte, b' ']).collect::<Vec<u8>>());
    let cut: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let continuations: Vec<&[u8]> =
        vec![b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", b"\x80\xbf\x80\xbf", b"\x80\xbf\x80\xbf\x80", b"\x80\xbf\x80\xbf\x80\xbf"];
    // The last two of each plane, which are no characters, and UTF-8 all the same.
    let no_characters = (0..=16_u32).flat_map(|plane| [0xfffe, 0xffff].map(|low| plane << 16 | low)).filter_map(char::from_u32);
    vec![
        (5, good(&[b"hello\x24world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld", b"hello\xf0\xa4\xad\xa2world", KOSME])),
        (6, (1..=KOSME.len()).map(|length| (std::str::from_utf8(&KOSME[..length]).is_ok(), KOSME[..length].to_vec())).collect()),
        (7, good(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"])),
        (8, bad(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"])),
        (9, good(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"])),
        (10, bad(&[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"])),
        (11, both(good(&[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"]), bad(&[b"\xf4\x90\x80\x80"]))),
        (12, both(bad(&continuations), vec![(false, (0x80..0xbf).collect())])),
        (13, [(0xc0, 0xdf), (0xe0, 0xef), (0xf0, 0xf7), (0xf8, 0xfb), (0xfc, 0xfd)].map(|(first, last)| lonely(first, last)).into()),
        (14, bad(&cut)),
        (15, vec![(false, cut.concat())]),
        (16, bad(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"])),
        (17, bad(&[b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"])),
        (18, bad(&[b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"])),
        (19, bad(&[b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"])),
        (20, bad(&[b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbe\x80", b"\xed\xbf\xbf"])),
        (21, pairs()),
        (22, no_characters.map(|char| (true, char.to_string().into_bytes())).collect()),
        (23, (0xfff9..=0xffff).filter_map(char::from_u32).map(|char| (true, char.to_string().into_bytes())).collect()),
    ]
}

/// UTF-16's pairs, each half written as if it were a character.
fn pairs() -> Vec<Sequence> {
    let highs: [&[u8]; 4] = [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf"];
    let lows: [&[u8]; 2] = [b"\xed\xb0\x80", b"\xed\xbf\xbf"];
    highs.iter().flat_map(|high| lows.map(|low| (false, [high, low].concat()))).collect()
}

#[tokio::test]
async fn what_is_utf_8_is_answered_and_what_is_not_fails_the_connection_6_5_to_6_23() {
    let judge = Judge::new().await;
    for (category, sequences) in sequences() {
        for (n, (valid, bytes)) in sequences.into_iter().enumerate() {
            let mut case = judge.case(format!("6.{category}.{}", n + 1)).await;
            case.send(Out::of(TEXT, bytes)).await;
            if valid {
                case.error().await;
                case.goes_on().await;
            } else {
                case.fails(&[1007]).await;
            }
        }
    }
}
