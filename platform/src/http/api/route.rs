//! One route: method, path, handler, and what is said of it.

use std::borrow::Cow;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::describe::Documented;
use super::operation::{Field, Operation};
use crate::http::{Counts, Problem};
use crate::limits::Class;

/// A route with its description.
#[derive(Debug)]
pub struct Route<S> {
    pub(super) methods: MethodRouter<S>,
    pub(super) described: Described,
}

/// What is known of a route beside its handler.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) operation: Operation,
}

impl Described {
    /// What it counts: unless it says so itself, of the address what is public, of the caller a query or a command.
    pub(super) fn counts(&self) -> Counts {
        let usual = match (self.operation.secured, self.method) {
            (false, _) => Counts { address: Some(Class::Public), user: None },
            (true, "get") => Counts { address: None, user: Some(Class::Reads) },
            (true, _) => Counts { address: None, user: Some(Class::Commands) },
        };
        self.operation.counts.unwrap_or(usual)
    }
}

/// A route of which nothing has been said yet: [`Unsaid::says`] makes it one that can be served.
#[derive(Debug)]
pub struct Unsaid<S>(Route<S>);

/// `GET path`
pub fn get<H, T, S, A, R>(path: &str, handler: H) -> Unsaid<S>
where
    H: Handler<T, S> + Documented<A, R>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    route("get", MethodFilter::GET, path, handler)
}

/// `POST path`
pub fn post<H, T, S, A, R>(path: &str, handler: H) -> Unsaid<S>
where
    H: Handler<T, S> + Documented<A, R>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    route("post", MethodFilter::POST, path, handler)
}

/// `PUT path`
pub fn put<H, T, S, A, R>(path: &str, handler: H) -> Unsaid<S>
where
    H: Handler<T, S> + Documented<A, R>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    route("put", MethodFilter::PUT, path, handler)
}

/// `DELETE path`
pub fn delete<H, T, S, A, R>(path: &str, handler: H) -> Unsaid<S>
where
    H: Handler<T, S> + Documented<A, R>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    route("delete", MethodFilter::DELETE, path, handler)
}

fn route<H, T, S, A, R>(method: &'static str, filter: MethodFilter, path: &str, handler: H) -> Unsaid<S>
where
    H: Handler<T, S> + Documented<A, R>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    let mut operation = Operation::default();
    H::describe(&mut operation);
    Unsaid(Route { methods: on(filter, handler), described: Described { method, path: path.to_owned(), operation } })
}

impl<S> Unsaid<S> {
    /// `name` is `tag.operationId` (`messages.sendMessage`), `summary` a few words without a full stop, `text` everything else that a caller must know
    /// (CommonMark).
    #[must_use]
    pub fn says(self, name: &'static str, summary: &'static str, text: &'static str) -> Route<S> {
        let mut route = self.0;
        let (tag, id) = name.split_once('.').unwrap_or(("", name));
        let operation = &mut route.described.operation;
        (operation.tag, operation.id, operation.summary, operation.text) = (tag, id, summary, text);
        route
    }
}

impl<S> Route<S> {
    /// What it may answer instead of what was asked, beside what its extractors refuse. Given as the refusals themselves, so that code, status and sentence
    /// are those of the answer.
    #[must_use]
    pub fn refuses<P: Into<Problem>>(mut self, refusals: impl IntoIterator<Item = P>) -> Self {
        for refusal in refusals {
            self.described.operation.refuses(refusal);
        }
        self
    }

    /// What it counts of the caller, where that is no ordinary query or command.
    #[must_use]
    pub fn counts(mut self, class: Class) -> Self {
        let counts = self.described.counts();
        self.described.operation.counts = Some(Counts { user: Some(class), ..counts });
        self
    }

    /// What it counts of the address, before anything of the request is looked at.
    #[must_use]
    pub fn counts_address(mut self, class: Class) -> Self {
        let counts = self.described.counts();
        self.described.operation.counts = Some(Counts { address: Some(class), ..counts });
        self
    }

    /// Counts nothing.
    #[must_use]
    pub fn counts_nothing(mut self) -> Self {
        self.described.operation.counts = Some(Counts::default());
        self
    }

    /// The meaning of a variable of the path.
    #[must_use]
    pub fn path(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.described.operation.path.push((name, meaning));
        self
    }

    /// A parameter of the query, with its JSON Schema.
    #[must_use]
    pub fn query(mut self, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.described.operation.query.push(Field { name, schema, meaning: Cow::Borrowed(meaning), required: false });
        self
    }

    /// As [`Route::query`], one that must be there.
    #[must_use]
    pub fn query_required(mut self, name: &'static str, schema: Value, meaning: &'static str) -> Self {
        self.described.operation.query.push(Field { name, schema, meaning: Cow::Borrowed(meaning), required: true });
        self
    }

    /// A body that can be sent as it stands. Ids in it that stand for something real are replaced by whoever tries it.
    #[must_use]
    pub fn example(mut self, body: Value) -> Self {
        self.described.operation.example = Some(body);
        self
    }

    /// The answer's status, where it is another than 200 (204 of one without a body).
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.described.operation.status = Some(status);
        self
    }

    /// Another answer that is no problem document, with its status and meaning.
    #[must_use]
    pub fn or_answers<T: JsonSchema>(mut self, status: u16, meaning: &'static str) -> Self {
        self.described.operation.others.push((status, meaning, SchemaGenerator::subschema_for::<T>));
        self
    }

    /// A header of the good answer; one of the document's ([`super::Info`]).
    #[must_use]
    pub fn answers_header(mut self, name: &'static str) -> Self {
        self.described.operation.headers.push(name);
        self
    }

    /// What can be done next with something in the answer: an operation, one of its parameters, and where in the answer it stands (`/message_id`).
    #[must_use]
    pub fn leads_to(mut self, operation: &'static str, parameter: &'static str, pointer: &'static str) -> Self {
        self.described.operation.links.push((operation, parameter, pointer));
        self
    }
}
