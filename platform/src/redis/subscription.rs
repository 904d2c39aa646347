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

/// Hands on what is published, until the receiver is gone.
pub(super) async fn follow(client: Client, channel: &'static str, sender: mpsc::Sender<Vec<u8>>) {
    let following = async {
        loop {
            if let Ok(Ok(subscribed)) = tokio::time::timeout(PATIENCE, subscribe(&client, channel)).await {
                hand_on(subscribed, &sender).await;
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    };
    tokio::select! {
        () = sender.closed() => {}
        () = following => {}
    }
}

async fn subscribe(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

/// Returns when the connection ends.
async fn hand_on(connection: PubSub, sender: &mpsc::Sender<Vec<u8>>) {
    let (mut sink, mut messages) = connection.split();
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => if sender.send(message.get_payload_bytes().to_vec()).await.is_err() { return },
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
