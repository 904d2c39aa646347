//! The query string.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use schemas::UserId;

use super::Problem;
use super::problem::Violation;
use crate::auth::Caller;

/// What stands in the query string, decoded; 422 when it cannot be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// A parameter that may be absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of a type; 422 when it is there and is not of it.
    ///
    /// # Errors
    /// 422, with `expected` as its sentence.
    pub fn parse<T: std::str::FromStr>(&self, name: &'static str, expected: &'static str) -> Result<Option<T>, Problem> {
        let wrong = |_| Problem::invalid(vec![Violation { field: name.into(), message: expected.into() }]);
        self.get(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// Ids that old clients send as the caller's own must be the caller's (403 `not_yourself`); a `current_user_id` that is no UUID says nothing.
    /// Only for routes whose parameters name nobody else.
    ///
    /// # Errors
    /// 403, or 422 for a `user_id` or `sender_id` that is no UUID.
    pub fn must_be(&self, caller: &Caller) -> Result<(), Problem> {
        caller.must_be(self.get("current_user_id").and_then(|id| id.parse::<UserId>().ok()))?;
        for name in ["user_id", "sender_id"] {
            caller.must_be(self.parse(name, "must be a UUID")?)?;
        }
        Ok(())
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let unreadable = |_| Problem::invalid(vec![Violation { field: "query".into(), message: "cannot be read".into() }]);
        Query::try_from_uri(&parts.uri).map(|Query(pairs)| Self(pairs)).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::Params;
    use crate::auth::Caller;
    use axum::extract::FromRequestParts;
    use axum::http::Request;
    use schemas::{SessionId, UserId};
    use uuid::Uuid;

    async fn params(query: &str) -> Params {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
        Params::from_request_parts(&mut parts, &()).await.expect("readable")
    }

    #[tokio::test]
    async fn an_id_of_somebody_else_is_refused_and_nonsense_in_current_user_id_is_not() {
        let caller =
            Caller { user: UserId(Uuid::from_u128(1)), session: SessionId(Uuid::from_u128(2)), role: "user".into(), token_ends: 0 };
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(3));
        for (query, status) in [
            (String::new(), None),
            (format!("user_id={own}&current_user_id={own}"), None),
            ("current_user_id=undefined".into(), None),
            (format!("current_user_id={other}"), Some(403)),
            (format!("sender_id={other}"), Some(403)),
            ("user_id=me".into(), Some(422)),
        ] {
            let answer = params(&query).await.must_be(&caller);
            assert_eq!(answer.err().map(|problem| problem.status.as_u16()), status, "{query}");
        }
    }
}
