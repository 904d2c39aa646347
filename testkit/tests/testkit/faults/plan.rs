//! What clients do and what is done to the servers, in which order: decided by the seed alone, whatever comes of it.

use std::time::Duration;

use super::dice::Dice;

/// The next thing that a client does. Numbers choose among what there is when it comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Writes so many to one of the others, one after the other.
    Send { to: u64, many: u64, by: Way },
    /// Tries the newest send again whose outcome it does not know.
    Repeat,
    /// Takes one of those that it has received from the queue.
    Acknowledge { which: u64, by: Way },
    /// Reads one of those.
    Read { which: u64, by: Way },
    /// Reads everything up to one of those.
    ReadUpTo { which: u64 },
    /// Deletes one of those that it has sent.
    Delete { which: u64 },
    /// Looks at its queue.
    Look,
    /// Opens a socket at a process, instead of the one it has.
    Connect { process: u64, from: From, before: Leave },
    /// Says `resume` on a new socket.
    Resume { process: u64, back: u64, before: Leave },
    /// Ends its socket.
    Leave(Leave),
    /// Does nothing.
    Idle(Duration),
}

/// By which way a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `/messages/send`, `PUT …/read`, `/relay/acknowledge`.
    Http,
    /// `/relay/send`, `DELETE /relay/…`.
    Relay,
    /// A frame.
    Socket,
}

/// What a socket is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Nothing: what waits comes.
    Nothing,
    /// `?cursor=`, of the frame so far back.
    Cursor { back: u64 },
}

/// How a socket is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// With a close frame.
    Politely,
    /// As a network that is gone.
    Abruptly,
}

impl Act {
    /// The next one of a client.
    pub fn next(dice: &mut Dice) -> Self {
        let which = dice.below(1 << 20);
        let process = dice.below(1 << 20);
        let before = if dice.once_in(3) { Leave::Politely } else { Leave::Abruptly };
        // Mostly from the newest frame, sometimes from far back.
        let back = if dice.once_in(3) { dice.below(30) } else { 0 };
        match dice.below(100) {
            0..44 => Self::Send { to: which, many: if dice.once_in(12) { 2 + dice.below(12) } else { 1 }, by: way(dice) },
            44..48 => Self::Repeat,
            48..58 => Self::Acknowledge { which, by: way(dice) },
            58..66 => Self::Read { which, by: way(dice) },
            66..68 => Self::ReadUpTo { which },
            68..71 => Self::Delete { which },
            71..74 => Self::Look,
            74..77 => Self::Connect { process, from: From::Nothing, before },
            77..85 => Self::Connect { process, from: From::Cursor { back }, before },
            85..87 => Self::Resume { process, back, before },
            87..89 => Self::Leave(before),
            _ => Self::Idle(Duration::from_millis(20 + dice.below(400))),
        }
    }

    /// Between two acts.
    pub fn pause(dice: &mut Dice) -> Duration {
        Duration::from_millis(dice.below(60))
    }
}

fn way(dice: &mut Dice) -> Way {
    [Way::Http, Way::Relay, Way::Socket, Way::Socket][dice.index(4)]
}

/// What is done to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9` of a process, and a new start.
    Kill { process: u64 },
    /// SIGTERM, and a new start.
    Stop { process: u64 },
    /// SIGSTOP, and SIGCONT later.
    Pause { process: u64, length: Duration },
    /// `kill -9` of Postgres.
    KillPostgres,
    /// SIGSTOP of all of Postgres, and SIGCONT later.
    PausePostgres(Duration),
    /// `kill -9` of Redis, and a new start a moment later: up to a second is lost.
    KillRedis(Duration),
    /// SIGSTOP, and SIGCONT later.
    PauseRedis(Duration),
    /// FLUSHALL.
    FlushRedis,
    /// Redis is killed, its data replaced by those of a while ago, and started again.
    AgeRedis,
}

/// What is done, after which time, and whether the data of Redis are copied just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    pub after: Duration,
    pub copy: bool,
    pub blow: Blow,
}

impl Strike {
    /// The next one.
    pub fn next(dice: &mut Dice) -> Self {
        let after = Duration::from_millis(300 + dice.below(2200));
        let copy = dice.once_in(2);
        let process = dice.below(1 << 20);
        let length = Duration::from_millis(100 + dice.below(2900));
        let blow = match dice.below(16) {
            0..3 => Blow::Kill { process },
            3 => Blow::Stop { process },
            4..6 => Blow::Pause { process, length: length * 2 },
            6..8 => Blow::KillPostgres,
            8 => Blow::PausePostgres(length),
            9..11 => Blow::KillRedis(length / 4),
            11 => Blow::PauseRedis(length),
            12..14 => Blow::FlushRedis,
            _ => Blow::AgeRedis,
        };
        Self { after, copy, blow }
    }
}

#[test]
fn the_same_seed_plans_the_same() {
    let plan = |seed| {
        let (mut acts, mut blows) = (Dice::of(seed, 1), Dice::of(seed, 2));
        let acts: Vec<Act> = (0..200).map(|_| Act::next(&mut acts)).collect();
        (acts, (0..50).map(|_| Strike::next(&mut blows)).collect::<Vec<_>>())
    };
    assert_eq!(plan(5), plan(5));
    assert_ne!(plan(5), plan(6));
}
