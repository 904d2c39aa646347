//! What travels over pushers' channels: items, one after the other, each a line that says how long its texts are, and the texts.

use std::sync::Arc;

use schemas::UserId;

use super::Logged;

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// An entry, and the number of the one before it (0: none).
    Entry { user: UserId, logged: Logged, before: u64, body: Option<Arc<str>> },
    /// A word to users.
    Note { users: Vec<UserId>, text: Arc<str> },
    /// Logs have been begun anew.
    Begun,
}

/// The items of a message, up to the first that cannot be read. `false`: there is one.
pub(super) fn read(message: &[u8]) -> (Vec<Item>, bool) {
    let mut items = Vec::new();
    let Ok(mut rest) = std::str::from_utf8(message) else { return (items, false) };
    while !rest.is_empty() {
        match item(&mut rest) {
            Some(item) => items.push(item),
            None => return (items, false),
        }
    }
    (items, true)
}

fn item(rest: &mut &str) -> Option<Item> {
    let (head, after) = rest.split_once('\n')?;
    *rest = after;
    let mut parts = head.split(' ');
    match parts.next()? {
        "e" => {
            let user = parts.next()?.parse().ok()?;
            let (seq, before) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let (topic, partition, position) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let (length, of_body) = (parts.next()?, parts.next()?);
            let text = text(rest, length)?;
            let body = if of_body == "-" { None } else { Some(self::text(rest, of_body)?) };
            Some(Item::Entry { user, logged: Logged { seq, topic, partition, position, text }, before, body })
        }
        "n" => {
            let users = parts.next()?.split(',').map(|user| user.parse().ok()).collect::<Option<_>>()?;
            Some(Item::Note { users, text: text(rest, parts.next()?)? })
        }
        "b" => Some(Item::Begun),
        _ => None,
    }
}

/// Lengths are in bytes.
fn text(rest: &mut &str, length: &str) -> Option<Arc<str>> {
    let (text, after) = rest.split_at_checked(length.parse().ok()?)?;
    *rest = after;
    Some(text.into())
}

/// An entry as it stands in a list: topic/partition, position, text.
pub(super) fn read_entry(seq: u64, entry: &str) -> Option<Logged> {
    let mut parts = entry.splitn(3, ' ');
    let (topic, partition) = parts.next()?.split_once('/')?;
    let position = parts.next()?.parse().ok()?;
    Some(Logged { seq, topic: topic.parse().ok()?, partition: partition.parse().ok()?, position, text: parts.next()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Topic;

    const ANN: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn items_are_read_as_the_scripts_write_them() {
        let message = format!("e {ANN} 7 6 messages 3 12 3 2\näx€é\nn {ANN},{ANN} 2\n\n\nb\n").replace("€é", "ü");
        let ann = ANN.parse().expect("an id");
        let logged = Logged { seq: 7, topic: Topic::Messages, partition: 3, position: 12, text: "äx".into() };
        let items = vec![
            Item::Entry { user: ann, logged, before: 6, body: Some("ü".into()) },
            Item::Note { users: vec![ann, ann], text: "\n\n".into() },
            Item::Begun,
        ];
        assert_eq!(read(message.replace("ü\nn", "ün").as_bytes()), (items, true));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_what_came_before_it_is_kept() {
        assert_eq!(read(b"b\nb"), (vec![Item::Begun], false));
        for broken in ["e", "e x 1 0 messages 1 1 0 -\n", &format!("e {ANN} 1 0 messages 1 1 4 -\nabc"), &format!("n {ANN} 1\nä"), "z\n"] {
            assert_eq!(read(broken.as_bytes()), (vec![], false), "{broken}");
        }
        assert_eq!(read(b"\xff"), (vec![], false));
    }
}
