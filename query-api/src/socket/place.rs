//! Where a client is: what it has seen, as its cursor says it.

use platform::frames::{Cursor, Places};
use schemas::{Topic, UserId, conversation_id, key_hash, partition};

/// Where an event stands: topic, partition, position.
pub(super) type Place = (Topic, i32, i64);

/// Between a cursor's places and how far the queue was read; in no alphabet of the former.
const QUEUE: char = '~';

/// A cursor as a socket gives it: the places up to which its client has seen everything but, perhaps, some of what was waiting when it connected.
///
/// That is pulled slowly, and whoever breaks off in the middle of it and comes back with a cursor has not seen the rest. So until its end a cursor also says how far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) cursor: Cursor,
    /// The position up to which what waited was sent; `None`: all of it was.
    pub(super) queue: Option<i64>,
}

impl Bookmark {
    /// As it is given to clients.
    pub(super) fn write(&self) -> String {
        let mut text = self.cursor.to_string();
        if let Some(position) = self.queue {
            text.push(QUEUE);
            text += &position.to_string();
        }
        text
    }

    /// As it comes back; `None` for what is none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (cursor, queue) = match text.split_once(QUEUE) {
            Some((cursor, queue)) => (cursor, Some(queue.parse().ok().filter(|position| *position >= 0)?)),
            None => (text, None),
        };
        Some(Self { cursor: cursor.parse().ok()?, queue })
    }
}

/// Whether everything up to these places is in a log that ends there.
pub(super) fn reaches(head: &Places, places: &Places) -> bool {
    places.iter().all(|(topic, partition, position)| head.at(topic, partition) >= position)
}

/// The partition of what is between two people.
pub(super) fn partition_between(one: UserId, other: UserId) -> i32 {
    partition(key_hash(&conversation_id(one, other).to_string()), Topic::PARTITIONS)
}

#[cfg(test)]
mod tests {
    use super::Bookmark;
    use platform::clock;
    use platform::frames::{Cursor, Places};
    use schemas::{Timestamp, Topic};
    use time::OffsetDateTime;

    #[test]
    fn a_bookmark_reads_as_it_was_written_and_nonsense_is_none() {
        let mut places = Places::default();
        places.raise(Topic::Messages, 3, 77);
        let given = Timestamp::from(OffsetDateTime::from_unix_timestamp(clock::now().into_inner().unix_timestamp()).expect("now"));
        for queue in [None, Some(0), Some(i64::MAX)] {
            let bookmark = Bookmark { cursor: Cursor { epoch: 7, given, places: places.clone() }, queue };
            let text = bookmark.write();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_~".contains(&b)), "safe in an address: {text}");
            assert_eq!(Bookmark::read(&text), Some(bookmark));
            for odd in [format!("{text}~"), format!("{text}~1"), format!("{text}x~-1"), text[1..].to_owned(), format!("~{text}")] {
                assert_eq!(Bookmark::read(&odd).filter(|_| queue.is_some()), None, "{odd}");
            }
        }
        assert_eq!(Bookmark::read(""), None);
        assert_eq!(Bookmark::read("~1"), None);
    }
}
