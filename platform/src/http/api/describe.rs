//! What extractors and answers say of themselves.

use std::future::Future;
use std::marker::PhantomData;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, NoContent, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::Operation;
use crate::auth::{Caller, CallerOfRevoked, Refused};
use crate::fresh::{Fresh, ReadModels};
use crate::http::{Id, IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violation, Written, body};
use crate::ledger::{AppendError, CommitError};

/// Something that a handler takes: says what it reads of the request, and what it refuses.
pub trait Takes {
    /// Adds it.
    fn describe(operation: &mut Operation);
}

/// Something that a handler answers: says how it looks.
pub trait Answers {
    /// Adds it.
    fn describe(operation: &mut Operation);
}

/// A handler whose arguments and answer all say what they are.
pub trait Documented<Arguments, Answer> {
    /// Adds everything that they say.
    fn describe(operation: &mut Operation);
}

macro_rules! documented {
    ($($argument:ident),*) => {
        impl<F, Fut, R, $($argument: Takes),*> Documented<($($argument,)*), R> for F
        where
            F: FnOnce($($argument),*) -> Fut,
            Fut: Future<Output = R>,
            R: Answers,
        {
            fn describe(operation: &mut Operation) {
                $($argument::describe(operation);)*
                R::describe(operation);
            }
        }
        impl<$($argument: Takes),*> Takes for ($($argument,)*) {
            fn describe(operation: &mut Operation) {
                let _ = &operation;
                $($argument::describe(operation);)*
            }
        }
    };
}

documented!();
documented!(A);
documented!(A, B);
documented!(A, B, C);
documented!(A, B, C, D);
documented!(A, B, C, D, E);
documented!(A, B, C, D, E, F1);
documented!(A, B, C, D, E, F1, G);
documented!(A, B, C, D, E, F1, G, H);

impl<S> Takes for State<S> {
    fn describe(_: &mut Operation) {}
}

/// `X-Request-Id` and `traceparent` are every route's, and stand in the document's introduction.
impl Takes for RequestContext {
    fn describe(_: &mut Operation) {}
}

/// A way to say that an answer may lack something.
impl Takes for Option<axum::Extension<crate::fresh::Behind>> {
    fn describe(operation: &mut Operation) {
        operation.answers_header("X-Projection-Behind");
    }
}

impl Takes for Caller {
    fn describe(operation: &mut Operation) {
        operation.wants_token();
        operation.refuses(Problem::unauthenticated());
        operation.refuses(Refused::Unknown);
    }
}

impl Takes for CallerOfRevoked {
    fn describe(operation: &mut Operation) {
        Caller::describe(operation);
    }
}

impl Takes for crate::auth::cookie::CallerOrCookie {
    fn describe(operation: &mut Operation) {
        Caller::describe(operation);
    }
}

impl Takes for crate::auth::Opener {
    fn describe(operation: &mut Operation) {
        Caller::describe(operation);
    }
}

impl<T: JsonSchema + Validate> Takes for Valid<T> {
    fn describe(operation: &mut Operation) {
        operation.takes_body::<T>();
        operation.refuses(body::unreadable_body());
        operation.refuses(body::timed_out());
        operation.refuses(body::too_large());
        operation.refuses(body::unsupported());
        operation.refuses(Problem::invalid(vec![Violation { field: "email".into(), message: "is required".into() }]));
        if operation.secured {
            operation.refuses(Caller::not_yourself());
        }
    }
}

impl Takes for Params {
    fn describe(operation: &mut Operation) {
        operation.refuses(Problem::invalid(vec![Violation { field: "limit".into(), message: "must be a positive integer".into() }]));
        if operation.secured {
            operation.refuses(Caller::not_yourself());
        }
    }
}

impl<T> Takes for Id<T> {
    fn describe(operation: &mut Operation) {
        operation.takes_path(json!({"type": "string", "format": "uuid"}));
        operation.refuses(Problem::invalid(vec![Violation { field: "id".into(), message: "must be a UUID".into() }]));
    }
}

impl Takes for IdempotencyKey {
    fn describe(operation: &mut Operation) {
        operation.takes_header(
            "Idempotency-Key",
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"}),
            "A key of the client's own for this request. The same key with the same body gets the first answer again, for 24 hours; with another body it is refused. \
             Answers that hand out tokens are never kept.",
        );
        operation.refuses(CommitError::Mismatch);
    }
}

impl<M: ReadModels> Takes for Fresh<M> {
    fn describe(operation: &mut Operation) {
        operation.takes_header(
            "X-Consistency-Token",
            json!({"type": "string"}),
            "The `X-Consistency-Token` of a command's answer: this read then waits until it contains what that command did.",
        );
        operation.answers_header("X-Projection-Behind");
        operation.refuses(crate::fresh::unreadable_token());
        operation.refuses(crate::fresh::is_behind());
        operation.refuses(Problem::unavailable("database_unavailable", "The data cannot be read at the moment; please try again"));
    }
}

impl<T: JsonSchema> Answers for Json<T> {
    fn describe(operation: &mut Operation) {
        operation.answers::<T>("application/json");
    }
}

impl<A: Answers> Answers for Result<A, Problem> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
    }
}

impl Answers for NoContent {
    fn describe(_: &mut Operation) {}
}

/// An answer with headers of its own, a cookie among them.
impl<A: Answers> Answers for (axum::http::HeaderMap, A) {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        operation.answers_header("Set-Cookie");
    }
}

/// A command's answer: what the ledger can say instead of it is everybody's.
impl<A: Answers> Answers for Written<A> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        operation.answers_header("X-Consistency-Token");
        operation.refuses(AppendError::Unavailable);
        operation.refuses(AppendError::OutcomeUnknown);
    }
}

/// An answer that has been rendered as JSON already, from something borrowed or as a stream, and looks as `T` does.
#[derive(Debug)]
pub struct Rendered<T>(Response, PhantomData<T>);

impl<T> Rendered<T> {
    /// As it stands.
    #[must_use]
    pub fn of(response: Response) -> Self {
        Self(response, PhantomData)
    }

    /// Renders it.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        Self::of(Json(value).into_response())
    }
}

impl<T> IntoResponse for Rendered<T> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<T: JsonSchema> Answers for Rendered<T> {
    fn describe(operation: &mut Operation) {
        operation.answers::<T>("application/json");
    }
}
