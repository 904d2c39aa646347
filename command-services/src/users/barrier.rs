//! The aggregate `block`: what one keeps between oneself and another. Stream id = UUIDv5 of both.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::users::{BlockEvent, BlockLifted, BlockPlaced};
use schemas::{Event, UserId, block_id};
use serde::{Deserialize, Serialize};

/// Whether it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    stands: bool,
}

/// What can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierCommand {
    /// Who wants it.
    pub by: UserId,
    /// Towards whom.
    pub towards: UserId,
    /// Whether it is to stand.
    pub stand: bool,
}

/// Why it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BarrierRefused {
    /// Nobody blocks themselves.
    #[error("You cannot block yourself")]
    Yourself,
}

impl Aggregate for Barrier {
    const TYPE: &'static str = BlockEvent::AGGREGATE;
    type Command = BarrierCommand;
    type Event = BlockEvent;
    type Error = BarrierRefused;
    type Services = ();

    async fn handle(&mut self, command: BarrierCommand, (): &(), sink: &EventSink<Self>) -> Result<(), BarrierRefused> {
        let BarrierCommand { by: user_id, towards: blocked_id, stand } = command;
        let block_id = block_id(user_id, blocked_id);
        match (stand, self.stands) {
            (true, _) if user_id == blocked_id => return Err(BarrierRefused::Yourself),
            (true, false) => sink.write(BlockEvent::Placed(BlockPlaced { block_id, user_id, blocked_id }), self).await,
            (false, true) => sink.write(BlockEvent::Lifted(BlockLifted { block_id, user_id, blocked_id }), self).await,
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    fn apply(&mut self, event: BlockEvent) {
        self.stands = matches!(event, BlockEvent::Placed(_));
    }
}

#[cfg(test)]
mod tests {
    use super::{Barrier, BarrierCommand, BarrierRefused};
    use cqrs_es::test::TestFramework;
    use schemas::users::{BlockEvent, BlockLifted, BlockPlaced};
    use schemas::{UserId, block_id};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    fn placed() -> BlockEvent {
        BlockEvent::Placed(BlockPlaced { block_id: block_id(ANN, BOB), user_id: ANN, blocked_id: BOB })
    }

    fn lifted() -> BlockEvent {
        BlockEvent::Lifted(BlockLifted { block_id: block_id(ANN, BOB), user_id: ANN, blocked_id: BOB })
    }

    #[test]
    fn a_block_stands_or_does_not_however_often_it_is_asked_for() {
        let want = |stand| BarrierCommand { by: ANN, towards: BOB, stand };
        let test = || TestFramework::<Barrier>::with(());
        test().given_no_previous_events().when(want(true)).then_expect_events(vec![placed()]);
        test().given(vec![placed()]).when(want(true)).then_expect_events(vec![]);
        test().given(vec![placed()]).when(want(false)).then_expect_events(vec![lifted()]);
        test().given(vec![placed(), lifted()]).when(want(false)).then_expect_events(vec![]);
        test().given(vec![placed(), lifted()]).when(want(true)).then_expect_events(vec![placed()]);
        test().given_no_previous_events().when(want(false)).then_expect_events(vec![]);
    }

    #[test]
    fn nobody_blocks_themselves() {
        TestFramework::<Barrier>::with(())
            .given_no_previous_events()
            .when(BarrierCommand { by: ANN, towards: ANN, stand: true })
            .then_expect_error(BarrierRefused::Yourself);
    }
}
