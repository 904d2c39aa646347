//! The cookie for the few calls that browsers send without a token (a picture's `src`, the page behind an invitation).
//!
//! `register`, `login` and `refresh` set it, `logout` clears it. No other route looks at it: it is a second way to be oneself, and so a second way for
//! other sites to act as somebody. Against those stand `SameSite=Strict`, and on everything but reads an `Origin` that is allowed.

use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::{COOKIE, InvalidHeaderValue, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};

use super::{Caller, Tokens};
use crate::http::{AllowedOrigins, Problem};

/// The prefix makes browsers refuse it from other hosts and without TLS (RFC 6265bis §4.1.3.2); to them, localhost counts as safe.
const NAME: &str = "__Host-postrider";
const ATTRIBUTES: &str = "Path=/; HttpOnly; Secure; SameSite=Strict";

/// `Set-Cookie` with an access token, for as long as that lives.
///
/// # Errors
/// When the token holds what no header can: none of ours does.
pub fn set(access_token: &str, lifetime: Duration) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("{NAME}={access_token}; {ATTRIBUTES}; Max-Age={}", lifetime.as_secs()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Set-Cookie` that removes it.
#[must_use]
pub fn clear() -> HeaderValue {
    const { assert!(NAME.len() == 16) };
    HeaderValue::from_static("__Host-postrider=; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=0")
}

/// The header of an answer that sets it, or removes it.
#[must_use]
pub fn header(cookie: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(SET_COOKIE, cookie)])
}

/// As [`Caller`]; without a usable token in `Authorization` (none, empty, `Bearer null`) the cookie's counts. A token that is there and wrong stays wrong.
/// On anything but `GET` and `HEAD` the cookie counts only with an allowed `Origin` ([`AllowedOrigins`]).
///
/// Only for `/invitations/send`, `/invitations/accept`, `/users/search` and `/media/files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerOrCookie(pub Caller);

impl<S> FromRequestParts<S> for CallerOrCookie
where
    S: Send + Sync,
    Tokens: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if super::caller::bearer(parts).is_some() {
            return Caller::from_request_parts(parts, state).await.map(Self);
        }
        if !may_use_cookie(parts) {
            return Err(Problem::unauthenticated());
        }
        let token = of(parts).ok_or_else(Problem::unauthenticated)?;
        let claims = Tokens::from_ref(state).verify(&token).await?;
        Ok(Self(Caller::arrives(&Tokens::from_ref(state), &claims, parts).await?))
    }
}

fn may_use_cookie(parts: &Parts) -> bool {
    if [Method::GET, Method::HEAD].contains(&parts.method) {
        return true;
    }
    let allowed = parts.extensions.get::<AllowedOrigins>();
    parts.headers.get(ORIGIN).is_some_and(|origin| allowed.is_some_and(|allowed| allowed.allows(origin)))
}

/// The cookie's value; none when there are two of them, since one may be somebody else's.
fn of(parts: &Parts) -> Option<String> {
    let texts = parts.headers.get_all(COOKIE).iter().filter_map(|header| header.to_str().ok());
    let mut values =
        texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == NAME);
    let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Request;

    use super::{ATTRIBUTES, NAME, clear, may_use_cookie, of, set};
    use crate::http::AllowedOrigins;

    #[test]
    fn what_is_set_is_what_is_cleared_and_never_printed() {
        let set = set("x.y.z", Duration::from_secs(60)).unwrap();
        assert_eq!(set.to_str().unwrap(), format!("{NAME}=x.y.z; {ATTRIBUTES}; Max-Age=60"));
        assert!(!format!("{set:?}").contains("x.y.z"));
        assert_eq!(clear().to_str().unwrap(), format!("{NAME}=; {ATTRIBUTES}; Max-Age=0"));
    }

    #[test]
    fn it_is_found_among_others_and_not_when_there_are_two() {
        let found = |cookies: &[&str]| {
            let request = cookies.iter().fold(Request::builder(), |request, cookie| request.header("cookie", *cookie));
            of(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(found(&["a=b; __Host-postrider=x.y.z; c=d"]).as_deref(), Some("x.y.z"));
        assert_eq!(found(&["a=b", "__Host-postrider=x.y.z"]).as_deref(), Some("x.y.z"));
        for none in [&["a=b"][..], &["__Host-postrider="], &["__Host-postrider=x; __Host-postrider=y"], &["x__Host-postrider=x"], &[]] {
            assert_eq!(found(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_write_needs_an_allowed_origin_and_a_read_none() {
        let may = |method: &str, origin: Option<&str>| {
            let mut request = Request::builder().method(method).extension(AllowedOrigins::new(["https://chat.example.org"]));
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            may_use_cookie(&request.body(()).unwrap().into_parts().0)
        };
        assert!(may("GET", None) && may("HEAD", Some("https://evil.example.org")));
        assert!(may("POST", Some("https://chat.example.org")));
        for origin in [
            None,
            Some("null"),
            Some("https://evil.example.org"),
            Some("https://chat.example.org.evil.org"),
            Some("http://chat.example.org"),
        ] {
            assert!(!may("POST", origin) && !may("PUT", origin) && !may("DELETE", origin), "{origin:?}");
        }
    }
}
