use std::sync::Arc;

use projectors::frames::Fold;
use schemas::frames::{Body, Entry, Frame};
use schemas::messages::{MessageEvent, MessageSent, Via};
use schemas::users::{BlockEvent, BlockLifted, BlockPlaced, ContactAdded, ContactEvent, ContactOrigin};
use schemas::{ContactRowId, Event, MessageId, Recorded, UserId, block_id, conversation_id};
use uuid::Uuid;

use crate::history::{at, deleted, delivered, read, read_up_to, recorded, sent, user};

const ANN: u8 = 1;
const BOB: u8 = 2;

fn fold(events: &[Arc<Recorded>]) -> Fold {
    Fold::of(events.iter().map(|event| (event, event.partition())), |error| panic!("{error}"))
}

/// Who is told what, and a block between which two keeps it from them.
type Told = (UserId, Vec<Frame>, Option<(UserId, UserId)>);

/// In order.
fn told(events: &[Arc<Recorded>]) -> Vec<Told> {
    let told = |append: platform::frames::Append| {
        let entry: Entry = serde_json::from_str(&append.text).unwrap();
        let event = events.iter().find(|event| event.position == append.position).unwrap();
        assert_eq!((entry.at, append.partition), (event.recorded_at, event.partition()));
        (append.user, entry.frames, append.between)
    };
    fold(events).appends.into_iter().map(told).collect()
}

fn message() -> MessageId {
    MessageId(Uuid::now_v7())
}

fn sent_via(via: Via, from: u8, to: u8, client: Option<&str>) -> (MessageId, Arc<Recorded>) {
    let id = message();
    let event = MessageEvent::Sent(MessageSent {
        message_id: id,
        conversation_id: conversation_id(user(from), user(to)),
        sender_id: user(from),
        recipient_id: user(to),
        encrypted_content: "content".into(),
        encrypted_session_key: "key".into(),
        sender_encrypted_content: Some("the sender's own".into()),
        crypto_version: "v1".into(),
        encryption_algorithm: "a".into(),
        kdf_algorithm: "k".into(),
        signatures: Some(serde_json::json!({"b": [1, null]})),
        media_ids: Vec::new(),
        reply_to: None,
        client_id: client.map(str::to_owned),
        via,
        expires_at: None,
    });
    (id, recorded(&event, id, 7))
}

#[test]
fn a_message_is_told_to_its_recipient_and_its_acceptance_to_its_sender() {
    for via in [Via::Send, Via::Relay, Via::Socket] {
        let (id, event) = sent_via(via, ANN, BOB, Some("mine"));
        let message = Frame::Message { id, from: user(ANN), relay: via == Via::Relay };
        let accepted = Frame::Sent { id, to: user(BOB), client: Some("mine".into()) };
        let expected = [(user(BOB), vec![message], Some((user(ANN), user(BOB)))), (user(ANN), vec![accepted], None)];
        assert_eq!(told(std::slice::from_ref(&event)), expected, "{via:?}");
        let fold = fold(&[event]);
        assert_eq!(fold.appends.iter().map(|append| append.body).collect::<Vec<_>>(), [Some(id.0), None]);
        let [(of, body)] = &fold.bodies[..] else { panic!("one body") };
        assert!(!body.contains("the sender's own"));
        let body: Body = serde_json::from_str(body).unwrap();
        assert_eq!((*of, body.message_id, body.sender_id, body.recipient_id, body.at), (id.0, id, user(ANN), user(BOB), at(7)));
        assert_eq!(body.signatures.unwrap().get(), r#"{"b":[1,null]}"#);
    }
}

#[test]
fn what_came_from_elsewhere_is_told_to_nobody() {
    let (_, event) = sent_via(Via::Backfill, ANN, BOB, None);
    let fold = fold(&[event]);
    assert!(fold.appends.is_empty() && fold.bodies.is_empty());
}

#[test]
fn who_writes_to_themselves_is_told_both_at_once() {
    let (id, event) = sent_via(Via::Send, ANN, ANN, None);
    let frames = vec![Frame::Message { id, from: user(ANN), relay: false }, Frame::Sent { id, to: user(ANN), client: None }];
    assert_eq!(told(&[event]), [(user(ANN), frames, None)]);
    let events = [deleted(id, ANN, ANN, 9)];
    assert_eq!(told(&events), [(user(ANN), vec![Frame::Deleted { id, from: user(ANN), to: user(ANN) }], None)]);
}

#[test]
fn receipts_are_told_to_authors_unless_a_block_stands_between() {
    let (id, between) = (message(), Some((user(BOB), user(ANN))));
    assert_eq!(told(&[delivered(id, ANN, BOB, 3)]), [(user(ANN), vec![Frame::Delivered { id, by: user(BOB) }], between)]);
    assert_eq!(told(&[read(id, ANN, BOB, 3)]), [(user(ANN), vec![Frame::Read { id, by: user(BOB), up_to: false }], between)]);
    // Of whosever message it names: the peer is told.
    assert_eq!(told(&[read_up_to(id, BOB, ANN, 2, 3)]), [(user(ANN), vec![Frame::Read { id, by: user(BOB), up_to: true }], between)]);
}

#[test]
fn a_deletion_is_told_to_both_and_takes_the_body_along_even_within_a_batch() {
    let id = message();
    let events = [sent(id, ANN, BOB, 1, None, false), deleted(id, ANN, BOB, 2)];
    let frame = vec![Frame::Deleted { id, from: user(ANN), to: user(BOB) }];
    assert_eq!(told(&events)[2..], [(user(ANN), frame.clone(), None), (user(BOB), frame, Some((user(ANN), user(BOB))))]);
    let fold = fold(&events);
    assert_eq!(fold.bodies, []);
}

fn contact(origin: ContactOrigin) -> Arc<Recorded> {
    let contact_row_id = ContactRowId(Uuid::now_v7());
    let event = ContactEvent::Added(ContactAdded { contact_row_id, user_id: user(ANN), contact_id: user(BOB), nickname: None, origin });
    recorded(&event, contact_row_id, 4)
}

#[test]
fn an_added_contact_is_news_to_the_other_and_any_other_row_to_its_owner_unless_they_are_apart() {
    let about = |who: u8, to: u8| (user(to), vec![Frame::Contact { about: user(who) }], Some((user(who), user(to))));
    assert_eq!(told(&[contact(ContactOrigin::Added)]), [about(ANN, BOB)]);
    assert_eq!(told(&[contact(ContactOrigin::Invitation)]), [about(BOB, ANN)]);
    assert_eq!(told(&[contact(ContactOrigin::Admin)]), [about(BOB, ANN)]);
    assert_eq!(told(&[contact(ContactOrigin::Backfill)]), []);
}

#[test]
fn blocks_are_passed_on_with_their_places_and_what_cannot_be_read_is_passed_over() {
    let id = block_id(user(ANN), user(BOB));
    let placed = BlockEvent::Placed(BlockPlaced { block_id: id, user_id: user(ANN), blocked_id: user(BOB) });
    let lifted = BlockEvent::Lifted(BlockLifted { block_id: id, user_id: user(ANN), blocked_id: user(BOB) });
    let mut odd = (*recorded(&placed, id, 6)).clone();
    odd.payload = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    let events = [recorded(&placed, id, 5), Arc::new(odd), recorded(&lifted, id, 7)];
    let mut unreadable = 0;
    let fold = Fold::of(events.iter().map(|event| (event, 3)), |_| unreadable += 1);
    let blocks: Vec<_> = fold.blocks.iter().map(|block| (block.by, block.towards, block.stands, block.partition, block.position)).collect();
    assert_eq!(blocks, [(user(ANN), user(BOB), true, 3, 5), (user(ANN), user(BOB), false, 3, 7)]);
    assert_eq!((unreadable, BlockEvent::AGGREGATE), (1, "block"));
}
