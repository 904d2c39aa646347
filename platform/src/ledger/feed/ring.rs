//! The newest events of a ledger, bounded by bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use schemas::{Recorded, Topic};

use super::Page;
use super::pages::{PAGE_BYTES, PAGE_EVENTS};
use crate::crash::sabotaged;

/// Holds everything that stands in the ledger after `floor` and up to `scanned`.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Recorded>>,
    bytes: usize,
    bound: usize,
    floor: i64,
    scanned: i64,
}

impl Ring {
    pub(super) fn starting_at(position: i64, bound: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, bound, floor: position, scanned: position }
    }

    /// What stands at or before it has left the ring.
    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// Up to where it has been filled.
    pub(super) fn scanned(&self) -> i64 {
        self.scanned
    }

    /// Adds what stands after `scanned`, and only that: somebody may have added some of it meanwhile. The oldest leave.
    pub(super) fn push(&mut self, page: Page) {
        let scanned = self.scanned;
        for event in page.events.into_iter().filter(|event| event.position > scanned && !is_lost(event)) {
            self.bytes += event.weight();
            self.events.push_back(event);
        }
        self.scanned = self.scanned.max(page.scanned);
        while self.bytes > self.bound {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.floor = oldest.position;
        }
    }

    /// Adds what was committed, when it is certain that nothing stands between it and what is here: positions are given once, and rise in the order of commit. Else nothing is added, and it is to be read.
    pub(super) fn push_next(&mut self, events: Vec<Arc<Recorded>>) -> bool {
        let follow = events.iter().zip(self.scanned + 1..).all(|(event, position)| event.position == position);
        if let (true, Some(scanned)) = (follow, events.last().map(|event| event.position)) {
            self.push(Page { events, scanned });
            return true;
        }
        false
    }

    /// A page of what stands after `position`; `None` when the ring no longer holds it.
    pub(super) fn after(&self, position: i64) -> Option<Page> {
        if position < self.floor {
            return None;
        }
        let mut page = Page { events: Vec::new(), scanned: position.max(self.scanned) };
        let mut bytes = 0;
        for event in self.events.range(self.events.partition_point(|e| e.position <= position)..) {
            bytes += event.weight();
            if !page.events.is_empty() && (bytes > PAGE_BYTES || page.events.len() == PAGE_EVENTS) {
                page.scanned = page.events.last().map_or(position, |e| e.position);
                break;
            }
            page.events.push(event.clone());
        }
        Some(page)
    }
}

fn is_lost(event: &Recorded) -> bool {
    event.topic == Topic::Messages && sabotaged("feed.skip")
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{Metadata, key_hash};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    fn event(position: i64, bytes: usize) -> Arc<Recorded> {
        Arc::new(Recorded {
            topic: Topic::Messages,
            incarnation: Uuid::nil(),
            position,
            prev_position: None,
            aggregate_type: "message".into(),
            aggregate_id: position.to_string(),
            sequence: 1,
            event_type: "message.sent".into(),
            event_version: "1".into(),
            payload: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            metadata: Metadata::default(),
            partition_key: "k".into(),
            key_hash: key_hash("k"),
            event_id: Uuid::nil(),
            recorded_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        })
    }

    fn page(positions: impl Iterator<Item = i64>, bytes: usize) -> Page {
        let events: Vec<_> = positions.map(|p| event(p, bytes)).collect();
        Page { scanned: events.last().map_or(0, |e| e.position), events }
    }

    #[test]
    fn who_is_behind_the_ring_gets_nothing_from_it_and_who_is_in_it_gets_what_follows() {
        let mut ring = Ring::starting_at(10, 10_000);
        ring.push(page([11, 13, 20].into_iter(), 10));
        assert!(ring.after(9).is_none());
        assert_eq!(ring.after(11).unwrap().events.iter().map(|e| e.position).collect::<Vec<_>>(), [13, 20]);
        assert_eq!(ring.after(20).unwrap().scanned, 20);
    }

    #[test]
    fn what_was_committed_is_added_only_right_behind_what_is_there() {
        let held = |ring: &Ring| ring.after(10).unwrap().events.iter().map(|e| e.position).collect::<Vec<_>>();
        let mut ring = Ring::starting_at(10, 10_000);
        assert!(ring.push_next(page(11..=12, 10).events), "it follows");
        for odd in [vec![12], vec![14], vec![13, 15], vec![13, 13], vec![]] {
            assert!(!ring.push_next(page(odd.iter().copied(), 10).events), "{odd:?}");
        }
        assert_eq!((held(&ring), ring.scanned()), (vec![11, 12], 12));
        // A reading that began before comes after it.
        ring.push(page([11, 12, 14, 15].into_iter(), 10));
        assert_eq!((held(&ring), ring.scanned()), (vec![11, 12, 14, 15], 15));
        ring.push(page([12, 14].into_iter(), 10));
        assert_eq!((held(&ring), ring.scanned()), (vec![11, 12, 14, 15], 15));
    }

    #[test]
    fn the_oldest_leave_when_the_bound_is_passed() {
        let mut ring = Ring::starting_at(0, 10_000);
        ring.push(page(1..=100, 500));
        assert!(ring.bytes <= 10_000);
        assert!(ring.floor() > 80, "{}", ring.floor());
        assert!(ring.after(ring.floor() - 1).is_none());
        assert_eq!(ring.after(ring.floor()).unwrap().events[0].position, ring.floor() + 1);
    }

    #[test]
    fn a_page_is_bounded_by_count_and_says_how_far_it_goes() {
        let mut ring = Ring::starting_at(0, usize::MAX);
        ring.push(page(1..=3000, 1));
        let first = ring.after(0).unwrap();
        assert_eq!((first.events.len(), first.scanned), (2000, 2000));
        assert_eq!(ring.after(2000).unwrap().scanned, 3000);
    }

    #[test]
    fn a_page_is_bounded_by_bytes_but_never_empty() {
        let mut ring = Ring::starting_at(0, usize::MAX);
        ring.push(page(1..=12, 900 << 10));
        assert_eq!(ring.after(0).unwrap().events.len(), 9);
    }
}
