//! The end of a socket.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use platform::shutdown::Shutdown;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::Error as WireError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::super::outbox::End;
use super::super::upgrade::{Wire, let_go};

/// How long the last word may take to be read,
const LAST_WORD: Duration = Duration::from_secs(2);
/// and how much longer by a client that is slow, unless the process stops: nothing but its connection is kept for it.
const LAST_WORD_TO_SLOW: Duration = Duration::from_secs(60);

/// Ends a socket with a word, and does not wait long for it to be read.
pub(in super::super) async fn say_goodbye(mut wire: Wire, answers: VecDeque<String>, end: End, shutdown: &Shutdown) {
    let (code, reason) = end.told();
    metrics::counter!("sockets_ended_total", "why" => end.name()).increment(1);
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    let word = async {
        for answer in answers {
            wire.feed(Message::text(answer)).await?;
        }
        wire.send(Message::Close(Some(frame))).await?;
        while let Some(Ok(_)) = wire.next().await {}
        Ok::<_, WireError>(())
    };
    let patience = async {
        if end == End::Slow {
            let _ = timeout(LAST_WORD_TO_SLOW, shutdown.draining()).await;
        }
        sleep(LAST_WORD).await;
    };
    tokio::select! {
        _ = word => {}
        () = patience => {}
    }
    let_go(wire).await;
}
