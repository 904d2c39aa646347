//! Tokens, their keys, and their end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use platform::auth::{Caller, CallerOfRevoked, CallerOrCookie, Claims, Refused, Revocations, SigningKeys, Standing, Tokens};
use platform::clock;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::{SessionId, Timestamp, UserId};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::wait_until;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(10);

async fn auth_database() -> PgPool {
    let database = testkit::servers::database().await;
    let schema = format!("CREATE SCHEMA auth; SET search_path = auth; {}", include_str!("../../../migrations/auth/0001_signing_keys.sql"));
    let mut connection = database.pool.acquire().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(&mut *connection).await.unwrap();
    database.pool.clone()
}

/// A folder of the test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("postrider-test-{}", Uuid::now_v7())))
    }
    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Redis of the test's own: it is stopped, emptied and started again.
struct PrivateRedis {
    port: u16,
    server: Option<Child>,
}

impl PrivateRedis {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, server: None };
        redis.run().await;
        redis
    }
    async fn run(&mut self) {
        let port = self.port.to_string();
        let mut server = Command::new("redis-server");
        server.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).stdout(Stdio::null());
        self.server = Some(server.spawn().unwrap());
        wait_until("redis listens", SOON, async || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()).await;
    }
    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
    fn connect(&self) -> Redis {
        Redis::connect(&format!("redis://127.0.0.1:{}", self.port), Shutdown::new()).unwrap()
    }
    fn command(&self, words: &[&str]) {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        assert!(output.status.success());
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// As the owner of the auth ledger does, with a ledger that knows of these.
fn keep(revocations: &Revocations, ledger: Vec<(SessionId, Timestamp)>) {
    let revocations = revocations.clone();
    tokio::spawn(async move {
        loop {
            revocations.wants_loading().await;
            let _ = revocations.load(&ledger).await;
        }
    });
}

fn follow(redis: &PrivateRedis, grace: Duration) -> Revocations {
    Revocations::follow(redis.connect(), grace, Shutdown::new())
}

async fn loaded(revocations: &Revocations) {
    wait_until("revocations are loaded", SOON, async || revocations.is_loaded().then_some(())).await;
}

fn in_an_hour() -> Timestamp {
    (clock::now().into_inner() + HOUR).into()
}

struct Desk {
    tokens: Tokens,
    keys: SigningKeys,
    revocations: Revocations,
    pool: PgPool,
    folder: Folder,
    #[expect(dead_code, reason = "it is stopped when the test ends")]
    redis: PrivateRedis,
}

impl Desk {
    async fn open() -> Self {
        let (pool, folder, redis) = (auth_database().await, Folder::new(), PrivateRedis::start().await);
        let revocations = follow(&redis, HOUR);
        keep(&revocations, vec![]);
        loaded(&revocations).await;
        let keys = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap();
        let tokens = Tokens::new(keys.clone(), revocations.clone(), "postrider", "postrider-clients");
        Self { tokens, keys, revocations, pool, folder, redis }
    }
    fn issue(&self) -> (String, Claims) {
        self.tokens.issue(UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()), "user", HOUR).unwrap()
    }
    /// What our own key says to any claims and header, as if it had lost its mind.
    fn sign(&self, header: &Header, claims: &Value) -> String {
        let path = self.folder.files().pop().unwrap();
        encode(header, claims, &EncodingKey::from_ec_pem(&fs::read(path).unwrap()).unwrap()).unwrap()
    }
    fn header(&self) -> Header {
        Header { kid: self.tokens.jwks()["keys"][0]["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::ES256) }
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn only_an_es256_token_of_a_published_key_with_our_claims_is_accepted() {
    let desk = Desk::open().await;
    let (token, claims) = desk.issue();
    assert_eq!(*desk.tokens.verify(&token).await.unwrap(), claims);
    let good = serde_json::to_value(&claims).unwrap();
    let kid = desk.header().kid;
    let public: String = sqlx::query_scalar("SELECT public_key FROM auth.signing_keys").fetch_one(&desk.pool).await.unwrap();
    let hs = |algorithm, secret: &[u8]| {
        encode(&Header { kid: kid.clone(), ..Header::new(algorithm) }, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        desk.sign(&desk.header(), &claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        desk.sign(&desk.header(), &claims)
    };
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let none = |alg: &str| format!("{}.{payload}.", part(&json!({"alg": alg, "typ": "JWT", "kid": kid})));
    let now = clock::now().into_inner().unix_timestamp();
    let raw_key = URL_SAFE_NO_PAD.decode(desk.tokens.jwks()["keys"][0]["x"].as_str().unwrap()).unwrap();
    let table: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("garbage", "garbage".into()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.x")),
        ("no signature", format!("{header}.{payload}.")),
        ("another's signature", format!("{header}.{payload}.{}", desk.issue().0.split('.').nth(2).unwrap())),
        ("a changed payload", format!("{header}.{}.{signature}", part(&json!({"sub": claims.sub, "role": "admin"})))),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("alg none with a signature", format!("{}{signature}", none("none"))),
        ("HS256 with the published PEM", hs(Algorithm::HS256, public.as_bytes())),
        ("HS256 with a coordinate", hs(Algorithm::HS256, &raw_key)),
        ("HS384 with the published PEM", hs(Algorithm::HS384, public.as_bytes())),
        ("no kid", desk.sign(&Header::new(Algorithm::ES256), &good)),
        ("a kid that cannot be ours", desk.sign(&Header { kid: Some("../../etc".into()), ..desk.header() }, &good)),
        ("a kid that nobody published", desk.sign(&Header { kid: Some("A".repeat(22)), ..desk.header() }, &good)),
        ("a header that must be understood", desk.sign(&Header { crit: Some(vec!["exp".into()]), ..desk.header() }, &good)),
        ("expired", with("exp", json!(now - 1))),
        ("expiring now", with("exp", json!(now))),
        ("exp as text", with("exp", json!("9999999999"))),
        ("exp negative", with("exp", json!(-1))),
        ("another issuer", with("iss", json!("another"))),
        ("another audience", with("aud", json!("another"))),
        ("several audiences", with("aud", json!(["postrider-clients", "another"]))),
        ("sub is no id", with("sub", json!("ann"))),
        ("without exp", without("exp")),
        ("without sid", without("sid")),
        ("without iss", without("iss")),
        ("without aud", without("aud")),
        ("too long", format!("{token}{}", "A".repeat(8_192))),
    ];
    for (what, token) in table {
        assert_eq!(desk.tokens.verify(&token).await, Err(Refused::Invalid), "{what}");
        assert_eq!(desk.tokens.verify_ignoring_revocation(&token).await, Err(Refused::Invalid), "{what}");
    }
    assert!(desk.tokens.verify(&token).await.is_ok(), "and the good one still is");
}

#[tokio::test]
async fn a_verified_token_is_remembered_and_revocation_still_looked_at_every_time() {
    let desk = Desk::open().await;
    let (token, claims) = desk.issue();
    let first = desk.tokens.verify(&token).await.unwrap();
    let again = desk.tokens.verify(&token).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again), "it was verified twice");

    desk.revocations.announce(claims.sid, in_an_hour()).await.unwrap();
    assert_eq!(desk.tokens.verify(&token).await, Err(Refused::Revoked));
    assert!(desk.tokens.verify_ignoring_revocation(&token).await.is_ok());
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_says() {
    let desk = Desk::open().await;
    let (token, _) = desk.tokens.issue(UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()), "user", Duration::from_secs(1)).unwrap();
    assert!(desk.tokens.verify(&token).await.is_ok());
    wait_until("the token ends", SOON, async || (desk.tokens.verify(&token).await == Err(Refused::Invalid)).then_some(())).await;
}

#[tokio::test]
async fn a_key_is_made_once_kept_private_and_published_before_it_signs() {
    let (pool, folder) = (auth_database().await, Folder::new());
    let first = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap();
    let [file] = &folder.files()[..] else { panic!("one file, and nothing left aside") };
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap();
    assert_eq!(folder.files().len(), 1);
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    let published: Vec<String> = sqlx::query_scalar("SELECT kid FROM auth.signing_keys").fetch_all(&pool).await.unwrap();
    assert_eq!(file.file_name().unwrap().to_str().unwrap(), format!("signing-{}.pem", published[0]));
    // A crash between file and table: it is published at the next start.
    sqlx::query("DELETE FROM auth.signing_keys").execute(&pool).await.unwrap();
    let third = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap();
    assert_eq!(format!("{first:?}"), format!("{third:?}"));
}

#[tokio::test]
async fn a_key_that_others_can_read_or_that_is_none_stops_the_start() {
    let (pool, folder) = (auth_database().await, Folder::new());
    SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap();
    let file = folder.files().pop().unwrap();
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let error = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains(file.to_str().unwrap()), "{error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "planted secret").unwrap();
    let error = SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap_err();
    assert!(error.to_string().contains("not an EC P-256 key") && !format!("{error:?}").contains("planted"), "{error:?}");
}

#[tokio::test]
async fn another_processs_key_is_found_when_its_first_token_comes() {
    let desk = Desk::open().await;
    let elsewhere = Folder::new();
    let keys = SigningKeys::open(&elsewhere.0, &desk.pool, HOUR).await.unwrap();
    let other = Tokens::new(keys, desk.revocations.clone(), "postrider", "postrider-clients");
    let (token, _) = other.issue(UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()), "user", HOUR).unwrap();
    assert!(desk.tokens.verify(&token).await.is_ok());
    assert!(other.verify(&desk.issue().0).await.is_ok());
    assert_eq!(desk.tokens.jwks()["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_unknown_rather_than_invalid_when_the_database_is_away() {
    let desk = Desk::open().await;
    let stranger = desk.sign(&Header { kid: Some("B".repeat(22)), ..desk.header() }, &serde_json::to_value(desk.issue().1).unwrap());
    let (mine, _) = desk.issue();
    desk.pool.close().await;
    assert_eq!(desk.tokens.verify(&stranger).await, Err(Refused::Unknown));
    assert!(desk.tokens.verify(&mine).await.is_ok(), "a known key needs no database");
}

#[tokio::test]
async fn while_a_key_rotates_tokens_of_both_are_accepted_and_the_old_one_goes_when_its_tokens_have() {
    let desk = Desk::open().await;
    let (old, _) = desk.issue();
    let old_kid = desk.header().kid.unwrap();
    desk.keys.rotate().await.unwrap();
    let (new, _) = desk.issue();
    assert_ne!(old.split('.').next(), new.split('.').next(), "it signs with the new one");
    assert!(desk.tokens.verify(&old).await.is_ok() && desk.tokens.verify(&new).await.is_ok());
    assert_eq!(desk.tokens.jwks()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(desk.folder.files().len(), 1, "the old private key is of no use any more");
    // A restart goes on with the new one.
    let reopened = SigningKeys::open(&desk.folder.0, &desk.pool, HOUR).await.unwrap();
    let again = Tokens::new(reopened, desk.revocations.clone(), "postrider", "postrider-clients");
    let (third, _) = again.issue(UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()), "user", HOUR).unwrap();
    assert_eq!(third.split('.').next(), new.split('.').next());
    // Its tokens have ended long ago: the key is no longer accepted, also not by who remembers the token.
    sqlx::query("UPDATE auth.signing_keys SET retired_at = retired_at - interval '2 hours' WHERE kid = $1")
        .bind(&old_kid)
        .execute(&desk.pool)
        .await
        .unwrap();
    desk.keys.rotate().await.unwrap();
    assert_eq!(desk.tokens.verify(&old).await, Err(Refused::Invalid));
    assert!(desk.tokens.verify(&new).await.is_ok());
}

#[tokio::test]
async fn what_one_process_revokes_is_dead_in_all_within_a_second() {
    let redis = PrivateRedis::start().await;
    let (here, there) = (follow(&redis, HOUR), follow(&redis, HOUR));
    keep(&here, vec![]);
    loaded(&here).await;
    loaded(&there).await;
    for _ in 0..20 {
        let session = SessionId(Uuid::now_v7());
        assert_eq!(there.standing(session), Standing::Live);
        here.announce(session, in_an_hour()).await.unwrap();
        assert_eq!(here.standing(session), Standing::Revoked);
        wait_until("the other knows", Duration::from_secs(1), async || (there.standing(session) == Standing::Revoked).then_some(())).await;
    }
}

#[tokio::test]
async fn what_the_channel_loses_is_found_within_a_second() {
    let redis = PrivateRedis::start().await;
    let (here, there) = (follow(&redis, HOUR), follow(&redis, HOUR));
    keep(&here, vec![]);
    loaded(&here).await;
    loaded(&there).await;
    redis.command(&["client", "kill", "type", "pubsub"]);
    let session = SessionId(Uuid::now_v7());
    here.announce(session, in_an_hour()).await.unwrap();
    wait_until("the other knows", Duration::from_secs(1), async || (there.standing(session) == Standing::Revoked).then_some(())).await;
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_loaded_again_from_the_ledger() {
    let redis = PrivateRedis::start().await;
    let revoked = SessionId(Uuid::now_v7());
    let keeper = follow(&redis, HOUR);
    keep(&keeper, vec![(revoked, in_an_hour())]);
    loaded(&keeper).await;
    redis.command(&["flushall"]);
    let newcomer = follow(&redis, HOUR);
    loaded(&newcomer).await;
    assert_eq!(newcomer.standing(revoked), Standing::Revoked);
    assert_eq!(newcomer.standing(SessionId(Uuid::now_v7())), Standing::Live);
}

#[tokio::test]
async fn a_process_that_starts_learns_of_everybody_who_signed_out_in_a_day() {
    let redis = PrivateRedis::start().await;
    let sessions = (0..50_000).map(|n| (SessionId(Uuid::now_v7()), (in_an_hour().into_inner() + Duration::from_secs(n / 7)).into()));
    let sessions: Vec<(SessionId, Timestamp)> = sessions.collect();
    let keeper = follow(&redis, HOUR);
    keep(&keeper, sessions.clone());
    loaded(&keeper).await;
    let newcomer = follow(&redis, HOUR);
    loaded(&newcomer).await;
    assert!(sessions.iter().all(|(session, _)| newcomer.standing(*session) == Standing::Revoked));
}

#[tokio::test]
async fn without_redis_a_process_goes_on_for_the_grace_then_does_not_know_and_recovers() {
    let mut redis = PrivateRedis::start().await;
    let revocations = follow(&redis, Duration::from_secs(2));
    keep(&revocations, vec![]);
    loaded(&revocations).await;
    let (ended, live) = (SessionId(Uuid::now_v7()), SessionId(Uuid::now_v7()));
    redis.stop();
    assert!(revocations.announce(ended, in_an_hour()).await.is_err(), "it must not claim what others cannot know");
    assert_eq!((revocations.standing(ended), revocations.standing(live)), (Standing::Revoked, Standing::Live));
    wait_until("the grace passes", SOON, async || (revocations.standing(live) == Standing::Unknown).then_some(())).await;
    assert_eq!(revocations.standing(ended), Standing::Revoked);
    redis.run().await;
    wait_until("it knows again", SOON, async || (revocations.standing(live) == Standing::Live).then_some(())).await;
    wait_until("the repeat completes it", SOON, async || revocations.announce(ended, in_an_hour()).await.ok()).await;
}

#[tokio::test]
async fn a_route_asks_for_a_token_that_lives_and_a_revoking_one_for_one_that_lived() {
    let desk = Desk::open().await;
    let (token, claims) = desk.issue();
    let (dead, dead_claims) = desk.issue();
    desk.revocations.announce(dead_claims.sid, in_an_hour()).await.unwrap();
    let router = Router::new()
        .route("/me", get(async |caller: Caller| caller.user.to_string()))
        .route("/leave", get(async |CallerOfRevoked(caller): CallerOfRevoked| caller.user.to_string()))
        .with_state(desk.tokens.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(platform::http::serve(listener, platform::http::routes(router), Shutdown::new()));
    let client = reqwest::Client::new();
    let ask = async |path: &str, authorization: Option<String>| {
        let mut request = client.get(format!("http://{address}{path}"));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let none = [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some("Bearer null".into()),
        Some("Bearer undefined".into()),
        Some("Bearer garbage".into()),
        Some(format!("Basic {token}")),
        Some(token.clone()),
    ];
    for authorization in none {
        for path in ["/me", "/leave"] {
            let (status, body) = ask(path, authorization.clone()).await;
            assert_eq!(status, 401, "{authorization:?}");
            assert!(body.contains("\"unauthenticated\"") && !body.contains(&token));
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(ask("/me", Some(format!("{scheme} {token}"))).await, (200, claims.sub.to_string()));
    }
    assert_eq!(ask("/me", Some(format!("Bearer {dead}"))).await.0, 401);
    assert_eq!(ask("/leave", Some(format!("Bearer {dead}"))).await, (200, dead_claims.sub.to_string()));
}

#[tokio::test]
async fn a_token_that_cannot_be_checked_is_503_and_never_401() {
    let (pool, folder, mut redis) = (auth_database().await, Folder::new(), PrivateRedis::start().await);
    redis.stop();
    let tokens = Tokens::new(SigningKeys::open(&folder.0, &pool, HOUR).await.unwrap(), follow(&redis, HOUR), "i", "a");
    let (token, _) = tokens.issue(UserId(Uuid::now_v7()), SessionId(Uuid::now_v7()), "user", HOUR).unwrap();
    assert_eq!(tokens.verify(&token).await, Err(Refused::Unknown));
    let problem = platform::http::Problem::from(Refused::Unknown);
    assert_eq!((problem.status.as_u16(), problem.code, problem.retry_after.is_some()), (503, "auth_unavailable", true));
}

#[tokio::test]
async fn the_cookie_stands_for_a_token_that_was_not_sent_and_on_writes_only_from_an_allowed_origin() {
    let desk = Desk::open().await;
    let (token, claims) = desk.issue();
    let (other, _) = desk.issue();
    let who = async |CallerOrCookie(caller): CallerOrCookie| caller.user.to_string();
    let router = Router::new().route("/either", get(who).post(who)).route("/token", get(async |caller: Caller| caller.user.to_string()));
    let router = platform::http::cors(
        platform::http::routes(router.with_state(desk.tokens.clone())),
        platform::http::AllowedOrigins::new(["https://chat.example.org"]),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(platform::http::serve(listener, router, Shutdown::new()));
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        let request = reqwest::Client::new().request(method.parse().unwrap(), format!("http://{address}{path}"));
        let answer = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let cookie = format!("theme=dark; __Host-postrider={token}");
    let (mine, bearer) = ((200, claims.sub.to_string()), format!("Bearer {other}"));
    let allowed = ("origin", "https://chat.example.org");
    for usable in ["", "Bearer null", "Bearer", "Bearer undefined"] {
        assert_eq!(ask("GET", "/either", &[("cookie", &cookie), ("authorization", usable)]).await, mine, "{usable:?}");
    }
    assert_eq!(ask("GET", "/either", &[("cookie", &cookie)]).await, mine);
    assert_eq!(ask("POST", "/either", &[("cookie", &cookie), allowed]).await, mine);
    for origin in ["https://evil.example.org", "null", "http://chat.example.org"] {
        assert_eq!(ask("POST", "/either", &[("cookie", &cookie), ("origin", origin)]).await.0, 401, "{origin}");
    }
    assert_eq!(ask("POST", "/either", &[("cookie", &cookie)]).await.0, 401, "a write without an origin");
    // A token that was sent decides, right or wrong; no other route looks at the cookie.
    assert_ne!(ask("GET", "/either", &[("cookie", &cookie), ("authorization", &bearer)]).await, mine);
    assert_eq!(ask("GET", "/either", &[("cookie", &cookie), ("authorization", "Bearer x.y.z")]).await.0, 401);
    assert_eq!(ask("GET", "/token", &[("cookie", &cookie)]).await.0, 401);
    for odd in ["__Host-postrider=", "__Host-postrider=x.y.z", "postrider=x", &format!("{cookie}; __Host-postrider={other}")] {
        assert_eq!(ask("GET", "/either", &[("cookie", odd)]).await.0, 401, "{odd}");
    }
    desk.revocations.announce(claims.sid, in_an_hour()).await.unwrap();
    assert_eq!(ask("GET", "/either", &[("cookie", &cookie)]).await.0, 401, "it ends with its session");
}
