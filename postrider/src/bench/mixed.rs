//! `postrider bench mixed`: a day in small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::future::try_join_all;
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::pairs::{self, Pair};
use super::processes::cpu_seconds;
use super::report::percentile;
use super::target::Target;
use super::{TargetOptions, print};
use crate::client::Client;

/// How often memory and lag are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// People do what people do, at an even pace (open loop): per thousand requests 300 sends, 250 acknowledgements, 200 reads of a conversation's newest 50, 100 of the inbox, 50 of the contact list, 50 reads marked, 40 `auth/me`, 10 logins.
///
/// Fails when a request does, when a projection lags by more than a second, or when memory keeps growing.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Pairs of people.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pairs: u32,
    /// How long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Requests per second, all kinds together.
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Send,
    Acknowledge,
    Conversation,
    Inbox,
    Contacts,
    Read,
    Me,
    Login,
}

/// Out of a thousand.
const SHARES: [(Act, i64); 8] = [
    (Act::Send, 300),
    (Act::Acknowledge, 250),
    (Act::Conversation, 200),
    (Act::Inbox, 100),
    (Act::Contacts, 50),
    (Act::Read, 50),
    (Act::Me, 40),
    (Act::Login, 10),
];

/// A thousand acts in the order in which they come, each kind spread over all of it as evenly as the others allow: whoever is most behind their share is next (the
/// smooth weighted round-robin of nginx).
fn a_thousand() -> Vec<Act> {
    let mut credits = SHARES.map(|_| 0_i64);
    let mut acts = Vec::with_capacity(1_000);
    for _ in 0..1_000 {
        for (credit, (_, share)) in credits.iter_mut().zip(SHARES) {
            *credit += share;
        }
        let next = (0..SHARES.len()).max_by_key(|kind| credits[*kind]).unwrap_or_default();
        credits[next] -= 1_000;
        acts.push(SHARES[next].0);
    }
    acts
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Send => "POST /messages/send",
            Self::Acknowledge => "POST /relay/acknowledge",
            Self::Conversation => "GET /messages/conversation",
            Self::Inbox => "GET /messages/conversations",
            Self::Contacts => "GET /contacts",
            Self::Read => "PUT /messages/{id}/read",
            Self::Me => "GET /auth/me",
            Self::Login => "POST /auth/login",
        }
    }
}

#[derive(Debug, Serialize)]
struct Figures {
    seconds: f64,
    requests: usize,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    routes: BTreeMap<&'static str, Route>,
    /// The largest that was seen, over all projections.
    lag_seconds: f64,
    /// Of our process, after the first tenth of the time and at the end.
    resident_mib: (f64, f64),
    /// Cores, over all processes.
    cores_busy: f64,
}

#[derive(Debug, Serialize)]
struct Route {
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Figures {
    fn table(&self) -> String {
        let mut out = format!("{:<30} {:>9} {:>10} {:>10} {:>10}\n", "", "requests", "p50 ms", "p99 ms", "max ms");
        for (name, route) in &self.routes {
            out += &format!("{name:<30} {:>9} {:>10.2} {:>10.2} {:>10.2}\n", route.requests, route.p50_ms, route.p99_ms, route.max_ms);
        }
        out += &format!(
            "{} requests in {:.0} s, {} errors; lag ≤ {:.2} s; resident {:.1} → {:.1} MiB; {:.2} cores busy\n",
            self.requests, self.seconds, self.errors, self.lag_seconds, self.resident_mib.0, self.resident_mib.1, self.cores_busy
        );
        out
    }
}

#[derive(Default)]
struct Done {
    latencies_us: BTreeMap<Act, Vec<u32>>,
    errors: u64,
    first_error: Option<String>,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let figures = measure(&options, &target).await;
    target.close().await?;
    let figures = figures?;
    print(options.target.json, &figures, &figures.table())?;
    if let Some(first) = &figures.first_error {
        bail!("{} requests failed; the first one: {first}", figures.errors);
    }
    ensure!(figures.lag_seconds < 1.0, "a projection was {:.1} s behind", figures.lag_seconds);
    let (begin, end) = figures.resident_mib;
    ensure!(end < begin * 1.25 + 16.0, "memory grows: {begin:.1} MiB, then {end:.1} MiB");
    Ok(())
}

async fn measure(options: &Options, target: &Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run: Arc<str> = Uuid::now_v7().simple().to_string().into();
    let mut people = pairs::register(&target.url, &run, options.pairs, &registering).await?;
    registering.finish_and_clear();
    for pair in &mut people {
        let contact = json!({ "contact_id": pair.recipient_id });
        pair.sender.json(Method::POST, "/api/v1/contacts/add", Some(contact)).await.context("a contact cannot be added")?;
    }

    let bar = options.target.bar(options.seconds, "a day (s)");
    let (before, begin) = (target.usage(), Instant::now());
    let end = begin + Duration::from_secs(options.seconds);
    let (due, rate) = (Arc::new(AtomicU64::new(0)), options.rate);
    let acts: Arc<[Act]> = a_thousand().into();
    let actors = people.into_iter().zip(0..).map(|(pair, n)| {
        let (due, acts, run, url) = (due.clone(), acts.clone(), run.clone(), target.url.clone());
        tokio::spawn(async move { live(pair, n, &url, &run, &acts, begin, end, rate, &due).await })
    });
    let actors: Vec<_> = actors.collect();
    let (mut lag, mut settled, mut last): (f64, Option<f64>, f64) = (0.0, None, 0.0);
    while Instant::now() < end {
        tokio::time::sleep(LOOK.min(end.saturating_duration_since(Instant::now()))).await;
        bar.set_position(begin.elapsed().as_secs());
        last = target.resident_mib().get("postrider").copied().unwrap_or_default();
        if settled.is_none() && begin.elapsed() * 10 >= end.duration_since(begin) {
            settled = Some(last);
        }
        lag = lag.max(target.lag_seconds().await.unwrap_or_default());
    }
    let done = try_join_all(actors).await?;
    bar.finish_and_clear();
    let seconds = begin.elapsed().as_secs_f64();
    let after = target.usage();
    let cpu = cpu_seconds(&before, &after);

    let (mut all, mut errors, mut first_error) = (BTreeMap::<Act, Vec<u32>>::new(), 0, None);
    for done in done {
        errors += done.errors;
        first_error = first_error.or(done.first_error);
        for (act, latencies) in done.latencies_us {
            all.entry(act).or_default().extend(latencies);
        }
    }
    let routes = all.into_iter().map(|(act, mut latencies)| {
        latencies.sort_unstable();
        let of = |hundred| percentile(&latencies, hundred);
        (act.name(), Route { requests: latencies.len(), p50_ms: of(50.0), p99_ms: of(99.0), max_ms: of(100.0) })
    });
    let routes: BTreeMap<_, _> = routes.collect();
    Ok(Figures {
        seconds,
        requests: routes.values().map(|route| route.requests).sum(),
        errors,
        first_error,
        routes,
        lag_seconds: lag,
        resident_mib: (settled.unwrap_or(last), last),
        cores_busy: cpu / seconds,
    })
}

/// One pair's share of the day: whoever is free takes what is due next.
#[expect(clippy::too_many_arguments, reason = "what a day is made of")]
async fn live(
    mut pair: Pair,
    n: u32,
    url: &str,
    run: &str,
    acts: &[Act],
    begin: Instant,
    end: Instant,
    rate: f64,
    due: &AtomicU64,
) -> Done {
    let mut done = Done::default();
    // Sent, and not yet acknowledged or read.
    let (mut waiting, mut unread): (Vec<Uuid>, Vec<Uuid>) = (Vec::new(), Vec::new());
    loop {
        let number = due.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a run does not last 2^52 requests")]
        let asked = begin + Duration::from_secs_f64(number as f64 / rate);
        if asked >= end {
            return done;
        }
        tokio::time::sleep_until(asked.into()).await;
        let mut act = acts[usize::try_from(number).unwrap_or_default() % acts.len()];
        // Nothing to acknowledge or to read: a message first.
        if act == Act::Acknowledge && waiting.is_empty() || act == Act::Read && unread.is_empty() {
            act = Act::Send;
        }
        let answer = match act {
            Act::Send => {
                let id = Uuid::now_v7();
                let body = json!({ "message_id": id, "recipient_id": pair.recipient_id, "encrypted_content": "m".repeat(600), "encrypted_session_key": "k" });
                let answer = pair.sender.request(Method::POST, "/api/v1/messages/send", Some(body.to_string())).await;
                waiting.push(id);
                unread.push(id);
                answer
            }
            Act::Acknowledge => {
                let body = json!({ "message_id": waiting.pop() });
                pair.recipient.request(Method::POST, "/api/v1/relay/acknowledge", Some(body.to_string())).await
            }
            Act::Read => {
                let path = format!("/api/v1/messages/{}/read", unread.pop().unwrap_or_default());
                pair.recipient.request(Method::PUT, &path, None).await
            }
            Act::Conversation => {
                let path = format!("/api/v1/messages/conversation/{}?limit=50", pair.sender_id);
                pair.recipient.request(Method::GET, &path, None).await
            }
            Act::Inbox => pair.recipient.request(Method::GET, "/api/v1/messages/conversations", None).await,
            Act::Contacts => pair.sender.request(Method::GET, "/api/v1/contacts", None).await,
            Act::Me => pair.sender.request(Method::GET, "/api/v1/auth/me", None).await,
            Act::Login => {
                let body = json!({ "email": pairs::email(run, n * 2), "password": pairs::PASSWORD });
                match Client::new(url) {
                    Ok(mut client) => client.request(Method::POST, "/api/v1/auth/login", Some(body.to_string())).await,
                    Err(error) => Err(error),
                }
            }
        };
        match answer {
            Ok((200 | 201 | 204, _)) => {
                done.latencies_us.entry(act).or_default().push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            other => {
                done.errors += 1;
                done.first_error.get_or_insert_with(|| match other {
                    Ok((status, answer)) => format!("{}: {status} {}", act.name(), String::from_utf8_lossy(&answer)),
                    Err(error) => format!("{}: {error:#}", act.name()),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, SHARES, a_thousand};
    use std::collections::BTreeMap;

    #[test]
    fn a_thousand_requests_hold_exactly_the_stated_shares() {
        let mut counted = BTreeMap::<Act, i64>::new();
        a_thousand().into_iter().for_each(|act| *counted.entry(act).or_default() += 1);
        assert_eq!(counted, BTreeMap::from(SHARES));
        assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<i64>(), 1_000);
    }

    #[test]
    fn nothing_that_people_do_comes_in_bursts() {
        let acts = a_thousand();
        for (kind, share) in SHARES {
            let places: Vec<usize> = (0..2_000).filter(|n| acts[n % 1_000] == kind).collect();
            let even = 1_000 / usize::try_from(share).unwrap();
            for two in places.windows(2) {
                let apart = two[1] - two[0];
                assert!(apart + 2 + even / 3 >= even && apart <= even + 1 + even / 3, "{kind:?}: {apart} apart, {even} would be even");
            }
        }
    }
}
