//! The same over Kafka: two processes divide its partitions, and whoever holds a socket is told by whichever of them reads an event.

use testkit::kafka;
use testkit::servers::Pair;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};

use super::{acknowledge, message_of, people, send, until_message};

#[tokio::test]
async fn over_kafka_sockets_of_two_processes_are_told_of_each_others_messages_and_resume_there() {
    let broker = tokio::task::spawn_blocking(kafka::broker).await.expect("a broker");
    let pair = Pair::start().await;
    let config = SystemConfig::default().kafka(broker).env("DATABASE_URL", pair.postgres.url()).env("REDIS_URL", pair.redis.url());
    let (mut one, two) = (System::start(config.clone()).await, System::start(config).await);
    let (ann, bob) = people(&one).await;
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob.at(&two)).await);
    let first = send(&ann, &bob, "one").await;
    until_message(&mut bobs, first).await;
    acknowledge(&bob.at(&two), first).await;
    let delivered = anns.find("message_delivered").await;
    assert_eq!(message_of(&delivered), Some(first));

    // Whatever the one that leaves was to tell, the other does. (Of one that dies, the group learns after ten seconds.)
    one.stop().await;
    let second = send(&ann.at(&two), &bob.at(&two), "two").await;
    until_message(&mut bobs, second).await;
    let mut resumed = Socket::open_after(&ann.at(&two), &anns.cursor()).await;
    let frames = resumed.until(|frame| frame["type"] == "resumed").await;
    assert_eq!(frames.iter().filter(|frame| frame["type"] == "message_delivered").count(), 0, "it was seen before: {frames:?}");
    let sent = frames.iter().any(|frame| frame["type"] == "message_sent" && message_of(frame) == Some(second));
    assert!(sent || message_of(&resumed.find("message_sent").await) == Some(second));
}
