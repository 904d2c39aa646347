use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use platform::redis::{Redis, RedisAway, TIME_OUT};
use platform::shutdown::Shutdown;
use testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::own_redis::OwnRedis;

const LONG: Duration = Duration::from_secs(10);

fn connect(server: &OwnRedis) -> Redis {
    Redis::connect(&server.url(), Shutdown::new()).unwrap()
}

async fn up(redis: &Redis) {
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
}

async fn ping(redis: &Redis) -> Result<String, RedisAway> {
    let (pong,): (String,) = redis.query(::redis::pipe().cmd("PING")).await?;
    Ok(pong)
}

#[tokio::test]
async fn a_redis_that_is_absent_at_the_start_is_used_when_it_comes() {
    let mut server = OwnRedis::planned();
    let redis = connect(&server);
    assert!(ping(&redis).await.is_err());
    assert!(!redis.has_answered() && redis.up_for().is_none());
    server.start().await;
    up(&redis).await;
    assert_eq!(ping(&redis).await.unwrap(), "PONG");
    assert!(redis.has_answered());
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_time_out_and_not_one_per_call() {
    let server = OwnRedis::started().await;
    let redis = connect(&server);
    up(&redis).await;
    server.hang();
    let begin = Instant::now();
    for _ in 0..200 {
        assert!(ping(&redis).await.is_err());
    }
    assert!(begin.elapsed() < TIME_OUT * 3, "200 calls took {:?}", begin.elapsed());
    server.go_on();
    up(&redis).await;
    ping(&redis).await.unwrap();
    assert!(redis.up_for().unwrap() < LONG, "a return is counted from the return");
}

#[tokio::test]
async fn a_redis_that_was_killed_and_started_again_is_young() {
    let mut server = OwnRedis::started().await;
    let redis = Redis::connect_to_own(&server.url(), Shutdown::new()).unwrap();
    up(&redis).await;
    assert!(redis.up_for().unwrap() > Duration::from_secs(3600), "nothing can have been lost before the first connection to one's own");
    server.kill();
    // Nobody calls: the loss is noticed all the same.
    wait_until("the loss is noticed", LONG, async || (!redis.is_up()).then_some(())).await;
    server.start().await;
    up(&redis).await;
    assert!(redis.up_for().unwrap() < LONG);
    assert!(redis.has_answered());
}

#[tokio::test]
async fn the_first_connection_is_as_old_as_the_server() {
    let server = OwnRedis::started().await;
    let direct = server.directly().await;
    wait_until("the server is two seconds old", LONG, async || {
        let info: String = ::redis::cmd("INFO").arg("server").query_async(&mut direct.clone()).await.unwrap();
        info.lines().any(|line| line.trim() == "uptime_in_seconds:2").then_some(())
    })
    .await;
    let redis = connect(&server);
    up(&redis).await;
    assert!(redis.up_for().unwrap() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_redis_that_refuses_writes_counts_as_away_until_it_takes_them() {
    let server = OwnRedis::started().await;
    let redis = connect(&server);
    up(&redis).await;
    let mut direct = server.directly().await;
    let mut limit = async |bytes: &str| {
        ::redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut direct).await.unwrap();
    };
    limit("1").await;
    let refused: Result<(), RedisAway> = redis.query(::redis::pipe().cmd("SET").arg("a").arg(1).ignore()).await;
    assert!(refused.is_err());
    assert!(!redis.is_up());
    limit("0").await;
    up(&redis).await;
}

#[tokio::test]
async fn the_fault_of_one_command_is_no_fault_of_redis() {
    let server = OwnRedis::started().await;
    let redis = connect(&server);
    up(&redis).await;
    let wrong: Result<(), RedisAway> =
        redis.query(::redis::pipe().cmd("SET").arg("text").arg("x").ignore().cmd("HGETALL").arg("text").ignore()).await;
    assert!(wrong.is_err());
    assert!(redis.is_up());
}

#[tokio::test]
async fn a_script_is_loaded_again_when_redis_has_forgotten_it() {
    let server = OwnRedis::started().await;
    let redis = connect(&server);
    up(&redis).await;
    let script = ::redis::Script::new("return KEYS[1] .. ARGV[1]");
    let run = async || redis.script::<String>(&script, &["k".to_owned()], &["v".to_owned()]).await.unwrap();
    assert_eq!(run().await, "kv");
    ::redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut server.directly().await).await.unwrap();
    assert_eq!(run().await, "kv");
}

#[tokio::test]
async fn a_channel_is_followed_across_a_restart() {
    let mut server = OwnRedis::started().await;
    let redis = connect(&server);
    let mut channel = redis.subscribe("news");
    for round in ["first", "second"] {
        wait_until("somebody listens", LONG, async || {
            let published = redis.query::<(i64,)>(::redis::pipe().cmd("PUBLISH").arg("news").arg(round)).await;
            matches!(published, Ok((1..,))).then_some(())
        })
        .await;
        let received = tokio::time::timeout(LONG, channel.recv()).await.unwrap().unwrap();
        assert_eq!(received, round.as_bytes());
        if round == "first" {
            server.kill();
            server.start().await;
        }
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused_without_being_repeated() {
    let error = Redis::connect("postgres://user:hunter2@host", Shutdown::new()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// Answers every command alike.
async fn answering_all(answer: Arc<RwLock<&'static str>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut received = [0; 4096];
                while let Ok(n @ 1..) = connection.read(&mut received).await {
                    // One array per command.
                    let commands = received[..n].iter().filter(|byte| **byte == b'*').count();
                    let text = answer.read().unwrap().repeat(commands);
                    connection.write_all(text.as_bytes()).await.unwrap();
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_redis_that_is_still_loading_its_data_is_away() {
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    let answer = Arc::new(RwLock::new(loading));
    let redis = Redis::connect(&answering_all(Arc::clone(&answer)).await, Shutdown::new()).unwrap();
    assert!(ping(&redis).await.is_err());
    *answer.write().unwrap() = "+OK\r\n";
    up(&redis).await;
    *answer.write().unwrap() = loading;
    assert!(ping(&redis).await.is_err());
    assert!(!redis.is_up());
}
