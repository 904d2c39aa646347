//! Who is here, as a user's sockets were told: what they were not told is found out by looking.

use std::collections::HashSet;
use std::sync::Arc;

use schemas::UserId;

use super::super::note::Said;
use super::super::outbox::{Live, Outbox};
use super::Held;

/// Of whom the sockets were last told that they are here.
#[derive(Debug, Default)]
pub(super) struct Around {
    online: HashSet<UserId>,
    /// How often somebody came or left.
    said: u64,
    /// How many look who is here, and of whom something was said meanwhile.
    looks: usize,
    meanwhile: Vec<(u64, UserId)>,
}

/// Somebody looks who is here.
#[derive(Debug)]
pub(in super::super) struct Look<'h> {
    held: &'h Held,
    since: u64,
}

impl Held {
    /// From now on what is said of who is here counts more than what is being looked up.
    pub(in super::super) fn look(&self) -> Look<'_> {
        let mut state = self.state();
        state.around.looks += 1;
        Look { held: self, since: state.around.said }
    }
}

impl Look<'_> {
    /// As [`Look::tell`], for all but one socket, which knows nothing yet: that one is told of everybody.
    pub(in super::super) fn tell_all_to(self, online: &[UserId], newcomer: &Arc<Outbox>) {
        online.iter().for_each(|peer| newcomer.push(Live::Said(Said::online(*peer))));
        self.tell(online, Some(newcomer));
    }

    /// Those whom the user sees here were looked up. The sockets are told what they were not, but for one that is told all of it otherwise.
    pub(in super::super) fn tell(self, online: &[UserId], but: Option<&Arc<Outbox>>) {
        let mut state = self.held.state();
        let online: HashSet<UserId> = online.iter().copied().collect();
        for peer in state.around.unlike(&online, self.since) {
            let is_online = online.contains(&peer);
            state.around.say(peer, is_online);
            let said = if is_online { Said::online(peer) } else { Said::offline(peer) };
            let others = state.sockets.iter().filter(|socket| but.is_none_or(|but| !Arc::ptr_eq(socket, but)));
            others.for_each(|socket| socket.push(Live::Said(said.clone())));
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let around = &mut self.held.state().around;
        around.looks -= 1;
        if around.looks == 0 {
            around.meanwhile = Vec::new();
        }
    }
}

impl Around {
    /// The sockets are told of somebody.
    pub(super) fn say(&mut self, peer: UserId, is_online: bool) {
        if is_online {
            self.online.insert(peer);
        } else {
            self.online.remove(&peer);
        }
        self.said += 1;
        if self.looks > 0 {
            self.meanwhile.push((self.said, peer));
        }
    }

    /// Of whom the sockets know otherwise, but for those of whom something was said since.
    fn unlike(&self, online: &HashSet<UserId>, since: u64) -> Vec<UserId> {
        let newer: HashSet<UserId> = self.meanwhile.iter().filter(|(at, _)| *at > since).map(|(_, of)| *of).collect();
        self.online.symmetric_difference(online).filter(|peer| !newer.contains(peer)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use platform::auth::Caller;
    use schemas::{SessionId, UserId};
    use uuid::Uuid;

    use super::super::Held;
    use crate::socket::Said;
    use crate::socket::outbox::{Live, Outbox, Taken};

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));
    const CLEO: UserId = UserId(Uuid::from_u128(3));

    fn socket(held: &Held) -> Arc<Outbox> {
        let socket = Arc::new(Outbox::new(&Caller { user: BOB, session: SessionId(BOB.0), role: "user".into(), token_ends: i64::MAX }));
        held.join(socket.clone());
        told(&socket);
        socket
    }

    fn told(socket: &Outbox) -> Vec<(UserId, bool)> {
        let Taken::Some(live) = socket.take() else { return Vec::new() };
        let said = live
            .into_iter()
            .map(|live| if let Live::Said(said) = live { (said.peer, said.is_online == Some(true)) } else { panic!("{live:?}") });
        let mut said: Vec<_> = said.collect();
        said.sort_unstable();
        said
    }

    #[test]
    fn what_was_not_told_of_who_came_and_left_is_found_by_looking_and_told_once() {
        let held = Held::new(BOB);
        let first = socket(&held);
        held.look().tell(&[ANN], Some(&first));
        assert_eq!(told(&first), [], "its greeting says so");
        held.look().tell(&[CLEO], None);
        assert_eq!(told(&first), [(ANN, false), (CLEO, true)]);
        held.look().tell(&[CLEO], None);
        assert_eq!(told(&first), []);
        held.say(&Said::offline(CLEO));
        held.is_here(ANN);
        assert_eq!(told(&first), [(CLEO, false)]);
        held.look().tell(&[ANN], None);
        assert_eq!(told(&first), []);
    }

    #[test]
    fn what_is_said_while_somebody_looks_is_newer_than_what_is_found() {
        let held = Held::new(BOB);
        let first = socket(&held);
        let (one, other) = (held.look(), held.look());
        held.say(&Said::online(ANN));
        one.tell(&[], None);
        other.tell(&[CLEO], None);
        assert_eq!(told(&first), [(ANN, true), (CLEO, true)]);
        held.look().tell(&[CLEO], None);
        assert_eq!(told(&first), [(ANN, false)], "looked up afterwards");
    }

    #[test]
    fn a_greeting_tells_the_sockets_that_were_there_before_what_they_missed() {
        let held = Held::new(BOB);
        let first = socket(&held);
        held.look().tell(&[ANN], Some(&first));
        let second = socket(&held);
        held.look().tell(&[ANN, CLEO], Some(&second));
        assert_eq!((told(&first), told(&second)), (vec![(CLEO, true)], vec![]));
    }
}
