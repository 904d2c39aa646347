//! A connection of its own for each channel that is followed.

use std::time::Duration;

use ::redis::aio::{PubSub, PubSubSink};
use ::redis::{Client, RedisError, RedisResult};
use futures::StreamExt;
use tokio::sync::mpsc;

const RETRY_EVERY: Duration = Duration::from_millis(100);
/// A connection that has silently died is noticed after this and [`PATIENCE`].
const PING_EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);

/// What a follower of channels hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// From here on everything is heard; what was said before, since the last message, may not have been.
    Began,
    /// A message.
    Message(Vec<u8>),
}

/// Hands on what is published, as `heard` makes it, until the receiver is gone.
pub(super) async fn follow<T>(client: Client, channels: Vec<String>, sender: mpsc::Sender<T>, heard: fn(Said) -> Option<T>) {
    let following = async {
        loop {
            if let Ok(Ok(subscribed)) = tokio::time::timeout(PATIENCE, subscribe(&client, &channels)).await {
                hand_on(subscribed, &sender, heard).await;
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    };
    tokio::select! {
        () = sender.closed() => {}
        () = following => {}
    }
}

async fn subscribe(client: &Client, channels: &[String]) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channels).await?;
    Ok(connection)
}

/// Returns when the connection ends.
async fn hand_on<T>(connection: PubSub, sender: &mpsc::Sender<T>, heard: fn(Said) -> Option<T>) {
    let (mut sink, mut messages) = connection.split();
    if let Some(began) = heard(Said::Began)
        && sender.send(began).await.is_err()
    {
        return;
    }
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => if let Some(said) = heard(Said::Message(message.get_payload_bytes().to_vec()))
                    && sender.send(said).await.is_err() { return },
                None => return,
            },
            () = tokio::time::sleep(PING_EVERY) => if !answers(&mut sink).await { return },
        }
    }
}

async fn answers(sink: &mut PubSubSink) -> bool {
    let ping = async { sink.ping::<::redis::Value>().await.map(|_| ()) };
    matches!(tokio::time::timeout(PATIENCE, ping).await, Ok(Ok::<(), RedisError>(())))
}
