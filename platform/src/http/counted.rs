//! Who has asked how much: what the edge and the extractors do about limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use schemas::UserId;

use super::Problem;
use crate::limits::{Class, Limits, Networks, Standing, Subject, rate_limited};

/// What guards a router: limits, and whose word on a client's address counts.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The buckets.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Networks,
}

/// What a route counts: of the address, before anything of the request is looked at; of the caller, once their token is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// As which of the address's requests.
    pub address: Option<Class>,
    /// As which of the caller's requests.
    pub user: Option<Class>,
}

/// By path and method. What stands nowhere is public: unknown paths and methods.
pub(super) type Table = HashMap<String, Vec<(Method, Counts)>>;

/// One request's account. Put into its extensions by [`super::guarded`]; clones share it.
#[derive(Debug, Clone)]
pub struct Counted(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    counts: Counts,
    address: Option<Subject>,
    standing: Mutex<Option<Standing>>,
}

impl Counted {
    pub(super) fn new(guard: &Guard, counts: Counts, address: Option<Subject>) -> Self {
        Self(Arc::new(Inner { limits: guard.limits.clone(), counts, address, standing: Mutex::new(None) }))
    }

    /// The address's part, before anything else.
    pub(super) async fn of_address(&self) -> Result<(), Problem> {
        match (self.0.counts.address, self.0.address) {
            (Some(class), Some(address)) => self.took(self.0.limits.take(class, address).await),
            _ => Ok(()),
        }
    }

    /// The caller's part, once it is known who they are.
    pub(crate) async fn of_user(&self, user: UserId) -> Result<(), Problem> {
        match self.0.counts.user {
            Some(class) => self.took(self.0.limits.take(class, Subject::User(user)).await),
            None => Ok(()),
        }
    }

    /// Before a token is verified that was not seen before: whoever has sent too many bad ones is not heard again so soon.
    pub(crate) fn of_stranger(&self) -> Result<(), Problem> {
        match self.0.address {
            Some(address) => self.took(self.0.limits.look(Class::Public, address)),
            None => Ok(()),
        }
    }

    /// A token was none: that was a request of anybody's.
    pub(crate) async fn was_stranger(&self) {
        if let Some(address) = self.0.address {
            // Whatever comes of it, the answer stays 401; the next request will feel it.
            let _ = self.took(self.0.limits.take(Class::Public, address).await);
        }
    }

    fn took(&self, standing: Standing) -> Result<(), Problem> {
        *self.0.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
        if standing.allowed { Ok(()) } else { Err(rate_limited(standing.retry_after)) }
    }

    /// `X-RateLimit-*`: of what was counted last, else of what the address has left.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        let counted = *self.0.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = counted.or_else(|| Some(self.0.limits.look(Class::Public, self.0.address?))) else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day at most")]
        let reset = standing.reset.as_secs_f64().ceil() as u32;
        for (name, value) in
            [("x-ratelimit-limit", standing.limit), ("x-ratelimit-remaining", standing.remaining), ("x-ratelimit-reset", reset)]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}
