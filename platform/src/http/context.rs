//! Who asks, in which request: what follows an action from the first byte to the last projection.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use uuid::Uuid;

/// What a command needs to know of the request that caused it. Put into the request's extensions by [`super::routes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// `X-Request-Id` of the client when it is sane (1–64 of `[A-Za-z0-9._-]`), else a UUIDv7. Answered in `X-Request-Id`; the events' `correlation_id`.
    pub request_id: String,
    /// W3C `traceparent`, when it is well-formed.
    pub traceparent: Option<String>,
    /// The client's address, for `address_prefix`.
    pub peer: Option<std::net::IpAddr>,
    /// `User-Agent`, at most 200 characters.
    pub user_agent: Option<String>,
}

impl RequestContext {
    /// Of a command that no request has caused.
    #[must_use]
    pub fn of_system() -> Self {
        Self { request_id: Uuid::now_v7().to_string(), ..Self::default() }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Reads it from headers and peer address.
#[must_use]
pub fn request_context(parts: &Parts) -> RequestContext {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    RequestContext {
        request_id: text("x-request-id").filter(|id| is_sane_request_id(id)).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
        traceparent: text("traceparent").filter(|value| is_traceparent(value)).map(str::to_owned),
        // An address of IPv4 that arrives on a socket of IPv6 is the same client.
        peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical()),
        user_agent: parts
            .headers
            .get(USER_AGENT)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().chars().take(200).collect::<String>())
            .filter(|agent| !agent.is_empty()),
    }
}

fn is_sane_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Version 00 of W3C Trace Context, §3.2: anything else is as good as none.
fn is_traceparent(value: &str) -> bool {
    let fields: Vec<&str> = value.split('-').collect();
    let [version, trace, parent, flags] = fields[..] else { return false };
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |text: &str| text.bytes().any(|b| b != b'0');
    version == "00" && hex(trace, 32) && not_zero(trace) && hex(parent, 16) && not_zero(parent) && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::{is_traceparent, request_context};
    use axum::http::Request;

    fn context(name: &str, value: &str) -> super::RequestContext {
        request_context(&Request::builder().header(name, value).body(()).expect("a valid header").into_parts().0)
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(context("x-request-id", "abc.DEF_1-2").request_id, "abc.DEF_1-2");
        for odd in ["", "with space", "<script>", &"x".repeat(65)] {
            let id = context("x-request-id", odd).request_id;
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{odd:?} became {id:?}");
        }
    }

    #[test]
    fn only_a_well_formed_traceparent_is_carried_on() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for odd in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(odd), "{odd}");
        }
    }

    #[test]
    fn a_user_agent_is_cut_at_two_hundred_characters() {
        assert_eq!(context("user-agent", &"x".repeat(300)).user_agent.map(|agent| agent.len()), Some(200));
        assert_eq!(context("user-agent", " ").user_agent, None);
    }
}
