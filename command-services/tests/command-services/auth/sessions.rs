//! Where one is signed in.

use platform::auth::Standing;
use serde_json::{Value, json};
use testkit::wait_until;

use super::desk::{Answer, Desk, PASSWORD, SOON, is_problem, refresh_token, token};

async fn sign_in_from(desk: &Desk, device: &str) -> Answer {
    let body = json!({"email": "ann@example.org", "password": PASSWORD}).to_string();
    desk.send_from(device, ("POST", "/api/v1/auth/login"), None, Some(body)).await
}

async fn revoke(desk: &Desk, token: &str, id: &Value) -> Answer {
    desk.send("DELETE", &format!("/api/v1/auth/sessions/{}", id.as_str().unwrap()), Some(token), None).await
}

#[tokio::test]
async fn the_list_shows_ones_own_living_sessions_and_which_of_them_asks() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    token(&desk.register("bob@example.org", "bob").await);
    let phone = sign_in_from(&desk, "a phone").await;
    let sessions = desk.sessions(token(&phone)).await;
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        let mut members: Vec<&str> = session.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["address_prefix", "created_at", "current", "device", "id", "last_used_at"]);
        assert_eq!(session["address_prefix"], "127.0.0.0/24");
        assert!(session["last_used_at"].as_str() >= session["created_at"].as_str());
    }
    let shown: Vec<_> = sessions.iter().map(|session| (session["device"].as_str(), session["current"].as_bool())).collect();
    assert_eq!(shown, [(Some("a phone"), Some(true)), (Some("planted-device"), Some(false))]);
    assert_eq!(desk.logout(token(&ann)).await.0, 200);
    assert_eq!(desk.sessions(token(&phone)).await.len(), 1);
}

#[tokio::test]
async fn a_session_that_is_used_says_so() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let created = desk.sessions(token(&ann)).await[0]["created_at"].clone();
    wait_until("its use is noted", SOON, async || {
        (desk.sessions(token(&ann)).await[0]["last_used_at"].as_str() > created.as_str()).then_some(())
    })
    .await;
    let noted = desk.sessions(token(&ann)).await[0]["last_used_at"].clone();
    token(&desk.refresh(refresh_token(&ann)).await);
    assert!(desk.sessions(token(&ann)).await[0]["last_used_at"].as_str() > noted.as_str(), "a refresh is a use");
}

#[tokio::test]
async fn ending_one_kills_its_tokens_and_no_others_and_can_be_repeated() {
    let desk = Desk::open().await;
    let (ann, phone) = (desk.register("ann@example.org", "ann").await, sign_in_from(&desk, "a phone").await);
    let phones = desk.sessions(token(&phone)).await[0]["id"].clone();
    for _ in 0..2 {
        let answer = revoke(&desk, token(&ann), &phones).await;
        assert_eq!((answer.0, &answer.2), (204, &Value::Null));
    }
    is_problem(&desk.me(token(&phone)).await, 401, "unauthenticated");
    is_problem(&desk.refresh(refresh_token(&phone)).await, 401, "invalid_refresh_token");
    assert_eq!(desk.me(token(&ann)).await.0, 200);
    assert_eq!(desk.events_of(phones.as_str().unwrap()).await, ["session.started", "session.revoked"]);
}

#[tokio::test]
async fn a_session_of_somebody_else_is_not_there_and_stays_as_it_is() {
    let desk = Desk::open().await;
    let (ann, bob) = (desk.register("ann@example.org", "ann").await, desk.register("bob@example.org", "bob").await);
    let anns = desk.sessions(token(&ann)).await[0]["id"].clone();
    let never = json!(uuid::Uuid::now_v7());
    for id in [&anns, &never] {
        is_problem(&revoke(&desk, token(&bob), id).await, 404, "session_unknown");
    }
    is_problem(&desk.send("DELETE", "/api/v1/auth/sessions/mine", Some(token(&bob)), None).await, 422, "invalid");
    assert_eq!(desk.me(token(&ann)).await.0, 200);
    assert_eq!(desk.send("DELETE", "/api/v1/auth/sessions", Some(token(&bob)), None).await.0, 204);
    assert_eq!(desk.me(token(&ann)).await.0, 200);
    assert_eq!(desk.events_of(anns.as_str().unwrap()).await, ["session.started"]);
}

#[tokio::test]
async fn ending_all_others_leaves_the_one_that_asks() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let others = [sign_in_from(&desk, "one").await, sign_in_from(&desk, "two").await, sign_in_from(&desk, "three").await];
    for _ in 0..2 {
        assert_eq!(desk.send("DELETE", "/api/v1/auth/sessions", Some(token(&ann)), None).await.0, 204);
    }
    for other in &others {
        is_problem(&desk.me(token(other)).await, 401, "unauthenticated");
    }
    assert_eq!(desk.sessions(token(&ann)).await.len(), 1);
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'session.revoked' AND payload->>'reason' = 'revoked'").await, 3);
}

#[tokio::test]
async fn a_dead_token_completes_its_own_end_and_ends_no_other() {
    let desk = Desk::open().await;
    let (ann, phone) = (desk.register("ann@example.org", "ann").await, sign_in_from(&desk, "a phone").await);
    let own = |sessions: Vec<Value>| sessions.into_iter().find(|session| session["current"] == true).unwrap()["id"].clone();
    let (anns, phones) = (own(desk.sessions(token(&ann)).await), own(desk.sessions(token(&phone)).await));
    let answer = revoke(&desk, token(&phone), &phones).await;
    assert_eq!(answer.0, 204);
    assert!(answer.1["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(revoke(&desk, token(&phone), &phones).await.0, 204);
    is_problem(&revoke(&desk, token(&phone), &anns).await, 401, "unauthenticated");
    is_problem(&desk.send("DELETE", "/api/v1/auth/sessions", Some(token(&phone)), None).await, 401, "unauthenticated");
    assert_eq!(desk.me(token(&ann)).await.0, 200);
}

#[tokio::test]
async fn what_redis_cannot_take_is_pending_until_a_repeat_completes_it() {
    let mut desk = Desk::open().await;
    let (ann, phone) = (desk.register("ann@example.org", "ann").await, sign_in_from(&desk, "a phone").await);
    let sid = desk.auth.tokens.verify(token(&phone)).await.unwrap().sid;
    desk.redis.stop();
    let all = async || desk.send("DELETE", "/api/v1/auth/sessions", Some(token(&ann)), None).await;
    is_problem(&all().await, 503, "revocation_pending");
    is_problem(&all().await, 503, "revocation_pending");
    desk.redis.run().await;
    let all = async || desk.send("DELETE", "/api/v1/auth/sessions", Some(token(&ann)), None).await;
    wait_until("the repeat completes it", SOON, async || (all().await.0 == 204).then_some(())).await;
    let newcomer = platform::auth::Revocations::follow(
        platform::redis::Redis::connect(&desk.redis.url(), desk.auth.shutdown.clone()).unwrap(),
        SOON,
        desk.auth.shutdown.clone(),
    );
    wait_until("another process knows", SOON, async || (newcomer.standing(sid) == Standing::Revoked).then_some(())).await;
}
