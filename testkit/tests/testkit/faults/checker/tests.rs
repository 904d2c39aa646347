//! Histories written by hand: a whole one, and for each rule one that breaks it.

use uuid::Uuid;

use super::{Rule, violations};
use crate::faults::history::{Call, Device, Event, Frame, Outcome, Person, Seen, Shown, SocketId};

const ANN: Person = 0;
const BOB: Person = 1;
const EVE: Person = 2;

fn user(person: Person) -> Uuid {
    Uuid::from_u128(1_000 + person as u128)
}

fn id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128)
}

/// A history that is being told.
#[derive(Debug, Clone)]
struct Story {
    events: Vec<Event>,
    calls: usize,
}

impl Story {
    fn new() -> Self {
        Self { events: [ANN, BOB, EVE].map(|person| Event::Is(person, user(person))).into(), calls: 0 }
    }

    fn asks(mut self, person: Person, call: Call, outcome: Outcome) -> Self {
        self.calls += 1;
        self.events.push(Event::Calls(self.calls, Device { person, number: 0 }, call));
        self.events.push(Event::Returns(self.calls, outcome));
        self
    }

    fn sends(self, from: Person, to: Person, n: usize) -> Self {
        self.tries(from, to, n, Outcome::Ok)
    }

    fn tries(self, from: Person, to: Person, n: usize, outcome: Outcome) -> Self {
        self.asks(from, Call::Send { id: id(n), to, content: format!("text {n}") }, outcome)
    }

    fn connects(self, person: Person, socket: SocketId) -> Self {
        self.opens(person, socket, None).says(socket, Frame::Established)
    }

    fn resumes(self, person: Person, socket: SocketId, from: SocketId, frames: usize) -> Self {
        self.opens(person, socket, Some(Seen { socket: from, frames })).says(socket, Frame::Established)
    }

    fn opens(self, person: Person, socket: SocketId, after: Option<Seen>) -> Self {
        self.and(Event::Connects { socket, device: Device { person, number: 0 }, process: 0, after })
    }

    fn brings(self, socket: SocketId, from: Person, to: Person, n: usize) -> Self {
        self.says(socket, Frame::Message { id: id(n), from: user(from), to: user(to), content: format!("text {n}") })
    }

    fn says(self, socket: SocketId, frame: Frame) -> Self {
        self.and(Event::Says(socket, frame))
    }

    fn ends(self, socket: SocketId) -> Self {
        self.and(Event::Ends(socket, "broken".into()))
    }

    fn and(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// What Ann and Bob are shown in the end: their conversation, whom each of its messages still waits for, and how many of them each has not read.
    fn shows(self, conversation: &[(usize, bool)], pending: [&[usize]; 2], unread: [i64; 2]) -> Self {
        let messages: Vec<_> = conversation.iter().map(|(n, read)| (id(*n), *read)).collect();
        let shown = |who: usize, with: Person| Shown {
            pending: pending[who].iter().map(|n| id(*n)).collect(),
            conversations: vec![(with, messages.clone())],
            unread: vec![(with, unread[who])],
        };
        self.clone().and(Event::Settled).and(Event::Shows(ANN, shown(0, BOB))).and(Event::Shows(BOB, shown(1, ANN)))
    }

    fn broken(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = violations(&self.events).into_iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }
}

/// Ann writes 1 and 2 to Bob, whose socket is open, and who answers with 3.
fn whole() -> Story {
    Story::new()
        .connects(BOB, 1)
        .sends(ANN, BOB, 1)
        .brings(1, ANN, BOB, 1)
        .sends(ANN, BOB, 2)
        .brings(1, ANN, BOB, 2)
        .sends(BOB, ANN, 3)
        .says(1, Frame::Sent(id(3)))
}

const ALL: &[(usize, bool)] = &[(1, false), (2, false), (3, false)];
const WAITING: [&[usize]; 2] = [&[3], &[1, 2]];

#[test]
fn a_history_in_which_every_promise_was_kept_breaks_no_rule() {
    assert_eq!(whole().shows(ALL, WAITING, [1, 2]).broken(), []);
    // Resumed from where it had seen 1; read, acknowledged and deleted; what became of a send is not known.
    let much = Story::new()
        .connects(BOB, 1)
        .connects(ANN, 2)
        .sends(ANN, BOB, 1)
        .brings(1, ANN, BOB, 1)
        .says(2, Frame::Sent(id(1)))
        .ends(1)
        .sends(ANN, BOB, 2)
        .says(2, Frame::Sent(id(2)))
        .tries(ANN, BOB, 3, Outcome::Unknown("503".into()))
        .tries(ANN, BOB, 4, Outcome::Failed("403".into()))
        .resumes(BOB, 3, 1, 2)
        .brings(3, ANN, BOB, 2)
        .says(3, Frame::Resumed)
        .asks(BOB, Call::Acknowledge(id(1)), Outcome::Ok)
        .says(2, Frame::Delivered { id: id(1), by: user(BOB) })
        .asks(BOB, Call::ReadUpTo { with: ANN, id: id(2) }, Outcome::Ok)
        .says(2, Frame::Read { id: id(2), by: user(BOB), up_to: true })
        .sends(ANN, BOB, 5)
        .brings(3, ANN, BOB, 5)
        .says(2, Frame::Sent(id(5)))
        .asks(ANN, Call::Delete(id(5)), Outcome::Ok)
        .says(3, Frame::Deleted(id(5)))
        .connects(BOB, 4);
    assert_eq!(much.clone().shows(&[(1, true), (2, true)], [&[], &[]], [0, 0]).broken(), []);
    let with_the_unknown = much.brings(3, ANN, BOB, 3).brings(4, ANN, BOB, 3).says(2, Frame::Sent(id(3)));
    assert_eq!(with_the_unknown.shows(&[(1, true), (2, true), (3, false)], [&[], &[3]], [0, 1]).broken(), []);
}

#[test]
fn an_acknowledged_message_that_is_nowhere_is_lost() {
    assert_eq!(whole().shows(&[(1, false), (3, false)], [&[3], &[1]], [1, 1]).broken(), [Rule::NothingIsLost]);
    assert_eq!(whole().shows(ALL, [&[3], &[1]], [1, 2]).broken(), [Rule::NothingIsLost], "in the conversation, but waiting for nobody");
    let taken = whole().asks(BOB, Call::Acknowledge(id(1)), Outcome::Ok);
    assert_eq!(taken.shows(ALL, WAITING, [1, 2]).broken(), [Rule::NothingIsLost], "taken, and back");
}

#[test]
fn what_never_arrives_on_an_open_socket_is_a_gap() {
    let last = |story: Story| story.sends(ANN, BOB, 4).shows(&[(1, false), (2, false), (3, false), (4, false)], [&[3], &[1, 2, 4]], [1, 3]);
    assert_eq!(last(whole()).broken(), [Rule::NoGaps]);
    assert_eq!(last(whole().ends(1)).broken(), [], "the socket had ended");
    let in_between = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).sends(ANN, BOB, 2).brings(1, ANN, BOB, 2).ends(1);
    assert_eq!(in_between.shows(&[(1, false), (2, false)], [&[], &[1, 2]], [0, 2]).broken(), [Rule::NoGaps]);
}

#[test]
fn what_waits_at_the_first_connect_and_does_not_come_is_a_gap() {
    let story = Story::new().sends(ANN, BOB, 1).sends(ANN, BOB, 2).connects(BOB, 1).brings(1, ANN, BOB, 2);
    let end = (&[(1, false), (2, false)][..], [&[][..], &[1, 2]], [0, 2]);
    assert_eq!(story.clone().shows(end.0, end.1, end.2).broken(), [Rule::NoGaps]);
    // Taken before, it waits no longer.
    let taken = Story::new().sends(ANN, BOB, 1).asks(BOB, Call::Acknowledge(id(1)), Outcome::Unknown("503".into()));
    let taken = taken.sends(ANN, BOB, 2).connects(BOB, 1).brings(1, ANN, BOB, 2);
    assert_eq!(taken.shows(end.0, [&[], &[2]], [0, 2]).broken(), []);
}

#[test]
fn what_a_resume_leaves_out_is_a_gap() {
    let story = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).brings(1, ANN, BOB, 1).sends(ANN, BOB, 2).ends(1);
    let resumed =
        |frames| story.clone().resumes(BOB, 2, 1, frames).says(2, Frame::Resumed).sends(ANN, BOB, 3).brings(2, ANN, BOB, 3).ends(2);
    let shown = |story: Story| story.shows(ALL, [&[], &[1, 2, 3]], [0, 3]).broken();
    assert_eq!(shown(resumed(2)), [Rule::NoGaps]);
    // Acknowledging elsewhere takes nothing from this device, unless Redis has forgotten what it had yet to say.
    let taken = story.clone().asks(BOB, Call::Acknowledge(id(2)), Outcome::Ok).resumes(BOB, 2, 1, 2).says(2, Frame::Resumed);
    let (taken, end) = (taken.sends(ANN, BOB, 3), (ALL, [&[][..], &[1, 3]], [0, 3]));
    assert_eq!(taken.clone().brings(2, ANN, BOB, 3).shows(end.0, end.1, end.2).broken(), [Rule::NoGaps]);
    let forgets = Event::Suffers { what: "FLUSHALL".into(), forgets: true };
    assert_eq!(taken.and(forgets).brings(2, ANN, BOB, 3).shows(end.0, end.1, end.2).broken(), []);
    // A reset begins anew, with what waits.
    let reset = story.clone().resumes(BOB, 2, 1, 2).says(2, Frame::Reset).brings(2, ANN, BOB, 1);
    assert_eq!(shown(reset.clone().brings(2, ANN, BOB, 2).sends(ANN, BOB, 3).brings(2, ANN, BOB, 3)), []);
    assert_eq!(shown(reset.sends(ANN, BOB, 3).brings(2, ANN, BOB, 3)), [Rule::NoGaps]);
    // Asked for on an open socket: order is whole again after the answer.
    let asked = story.connects(BOB, 2).and(Event::Resumes { socket: 2, after: Seen { socket: 1, frames: 2 } });
    let late = asked.clone().sends(ANN, BOB, 3).brings(2, ANN, BOB, 3).brings(2, ANN, BOB, 2).says(2, Frame::Resumed);
    assert_eq!(shown(late), []);
    assert_eq!(shown(asked.says(2, Frame::Resumed).sends(ANN, BOB, 3).brings(2, ANN, BOB, 3).ends(2)), [Rule::NoGaps]);
}

#[test]
fn who_is_told_to_reload_lacks_what_was_taken_before_and_nothing_else() {
    let story = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).asks(BOB, Call::Acknowledge(id(1)), Outcome::Ok).sends(ANN, BOB, 2);
    let shown = |story: Story| story.shows(ALL, [&[], &[2, 3]], [0, 3]).broken();
    let end = |story: Story| shown(story.sends(ANN, BOB, 3).brings(1, ANN, BOB, 3));
    assert_eq!(end(story.clone().says(1, Frame::Reset).brings(1, ANN, BOB, 2)), []);
    assert_eq!(end(story.clone().says(1, Frame::Reset)), [Rule::NoGaps], "what waits still comes");
    assert_eq!(end(story.clone().brings(1, ANN, BOB, 2).says(1, Frame::Reset)), [Rule::NoGaps], "the word comes before what follows");
    let twice = story.clone().brings(1, ANN, BOB, 1).says(1, Frame::Reset).brings(1, ANN, BOB, 1).brings(1, ANN, BOB, 2);
    assert_eq!(end(twice), [Rule::NothingTwice]);
    // Unasked while a `resume` is on its way: that one is answered as well.
    let asked = story.connects(BOB, 2).and(Event::Resumes { socket: 2, after: Seen { socket: 1, frames: 1 } }).says(2, Frame::Reset);
    let late = asked.brings(2, ANN, BOB, 2).brings(2, ANN, BOB, 1).says(2, Frame::Resumed).ends(2);
    assert_eq!(shown(late.says(1, Frame::Reset).brings(1, ANN, BOB, 2).sends(ANN, BOB, 3).brings(1, ANN, BOB, 3)), []);
}

#[test]
fn a_cursor_from_before_a_resume_of_its_open_socket_stands_for_no_more_than_it_had_seen() {
    let story = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).brings(1, ANN, BOB, 1).ends(1).connects(BOB, 2);
    let asked = story.and(Event::Resumes { socket: 2, after: Seen { socket: 1, frames: 2 } }).says(2, Frame::Resumed).ends(2);
    let resumed = |frames| asked.clone().resumes(BOB, 3, 2, frames).brings(3, ANN, BOB, 1).says(3, Frame::Resumed).ends(3);
    let shown = |story: Story| story.shows(&[(1, false)], [&[], &[1]], [0, 1]).broken();
    assert_eq!(shown(resumed(1)), [], "what waits comes again");
    assert_eq!(shown(resumed(2)), [Rule::NothingTwice]);
}

#[test]
fn a_message_before_an_earlier_one_is_out_of_order() {
    let story = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).sends(ANN, BOB, 2).brings(1, ANN, BOB, 2).brings(1, ANN, BOB, 1);
    assert!(story.shows(&[(1, false), (2, false)], [&[], &[1, 2]], [0, 2]).broken().contains(&Rule::InOrder));
    let own = Story::new().connects(BOB, 1).sends(BOB, ANN, 1).sends(ANN, BOB, 2).brings(1, ANN, BOB, 2).says(1, Frame::Sent(id(1)));
    assert_eq!(own.shows(&[(1, false), (2, false)], [&[1], &[2]], [1, 1]).broken(), [Rule::InOrder]);
}

#[test]
fn a_thing_said_twice_is_found() {
    let shown = |story: Story| story.shows(ALL, WAITING, [1, 2]).broken();
    assert!(shown(whole().brings(1, ANN, BOB, 2)).contains(&Rule::NothingTwice));
    assert!(shown(whole().says(1, Frame::Sent(id(3)))).contains(&Rule::NothingTwice));
    let again = whole().ends(1).resumes(BOB, 2, 1, 4).brings(2, ANN, BOB, 2).says(2, Frame::Resumed).ends(2);
    assert_eq!(shown(again), [Rule::NothingTwice], "its cursor had seen it");
    let from_resumed =
        whole().ends(1).resumes(BOB, 2, 1, 2).brings(2, ANN, BOB, 2).says(2, Frame::Resumed).says(2, Frame::Sent(id(3))).ends(2);
    assert_eq!(shown(from_resumed.resumes(BOB, 3, 2, 3).says(3, Frame::Sent(id(3))).says(3, Frame::Resumed)), [], "it had not");
    assert_eq!(shown(whole().connects(BOB, 2).brings(2, ANN, BOB, 1).brings(2, ANN, BOB, 2).ends(2)), [], "another device");
}

#[test]
fn a_wrong_count_or_mark_of_what_is_unread_is_found() {
    let read = || whole().asks(BOB, Call::Read(id(1)), Outcome::Ok);
    let end: [&[usize]; 2] = [&[3], &[2]];
    assert_eq!(read().shows(&[(1, true), (2, false), (3, false)], end, [1, 1]).broken(), []);
    assert_eq!(read().shows(&[(1, true), (2, false), (3, false)], end, [1, 2]).broken(), [Rule::UnreadIsRight]);
    assert_eq!(read().shows(ALL, end, [1, 2]).broken(), [Rule::UnreadIsRight]);
    assert_eq!(whole().shows(&[(1, true), (2, false), (3, false)], WAITING, [1, 1]).broken(), [Rule::UnreadIsRight]);
}

#[test]
fn what_is_anothers_or_nobodys_is_found() {
    let shown = |story: Story| story.shows(ALL, WAITING, [1, 2]).broken();
    assert_eq!(shown(whole().connects(EVE, 2).brings(2, ANN, BOB, 1)), [Rule::NothingGoesAstray]);
    assert_eq!(shown(whole().connects(EVE, 2).says(2, Frame::Delivered { id: id(1), by: user(BOB) })), [Rule::NothingGoesAstray]);
    assert_eq!(shown(whole().brings(1, ANN, BOB, 9)), [Rule::NothingIsInvented]);
    assert_eq!(shown(whole().tries(ANN, BOB, 9, Outcome::Failed("403".into())).brings(1, ANN, BOB, 9)), [Rule::NothingIsInvented]);
    let unasked = whole().connects(ANN, 2).brings(2, BOB, ANN, 3).says(2, Frame::Read { id: id(1), by: user(BOB), up_to: false });
    assert_eq!(shown(unasked), [Rule::NothingIsInvented]);
    let other = Frame::Message { id: id(3), from: user(BOB), to: user(ANN), content: "another text".into() };
    assert_eq!(shown(whole().connects(ANN, 2).says(2, other)), [Rule::NothingIsInvented]);
}

#[test]
fn what_was_deleted_is_not_told_to_who_connects_afterwards() {
    let deleted = Story::new().connects(BOB, 1).sends(ANN, BOB, 1).brings(1, ANN, BOB, 1).asks(ANN, Call::Delete(id(1)), Outcome::Ok);
    assert_eq!(deleted.clone().shows(&[], [&[], &[]], [0, 0]).broken(), []);
    let told = deleted.clone().says(1, Frame::Deleted(id(1))).connects(BOB, 2).brings(2, ANN, BOB, 1);
    assert_eq!(told.shows(&[], [&[], &[]], [0, 0]).broken(), [Rule::DeletedIsGone]);
    assert_eq!(deleted.shows(&[], [&[], &[1]], [0, 0]).broken(), [Rule::DeletedIsGone]);
}

#[test]
fn what_was_read_up_to_and_then_deleted_may_be_told_as_read() {
    let story = Story::new().connects(ANN, 1).sends(ANN, BOB, 1).says(1, Frame::Sent(id(1)));
    let read = story.asks(BOB, Call::ReadUpTo { with: ANN, id: id(1) }, Outcome::Ok);
    let told = read.says(1, Frame::Read { id: id(1), by: user(BOB), up_to: true }).asks(ANN, Call::Delete(id(1)), Outcome::Ok);
    assert_eq!(told.says(1, Frame::Deleted(id(1))).shows(&[], [&[], &[]], [0, 0]).broken(), []);
}

#[test]
fn a_receipt_that_never_reaches_an_open_socket_is_found() {
    let story = |receipt: bool| {
        let story = whole().connects(ANN, 2).brings(2, BOB, ANN, 3).asks(BOB, Call::Read(id(1)), Outcome::Ok);
        if receipt { story.says(2, Frame::Read { id: id(1), by: user(BOB), up_to: false }) } else { story }
    };
    let shown = |story: Story| story.shows(&[(1, true), (2, false), (3, false)], [&[3], &[2]], [1, 1]).broken();
    assert_eq!(shown(story(true)), []);
    assert_eq!(shown(story(false)), [Rule::TicksArrive]);
}

#[test]
fn an_answer_that_no_contract_knows_is_found() {
    assert_eq!(whole().and(Event::Wrong("500".into())).shows(ALL, WAITING, [1, 2]).broken(), [Rule::Answers]);
}
