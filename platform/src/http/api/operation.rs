//! What is said of one operation, while its extractors and answers say it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::http::{Counts, Problem};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An operation as far as it is known. Extractors and answers add to it ([`super::Takes`], [`super::Answers`]).
#[derive(Debug, Clone, Default)]
pub struct Operation {
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
    pub(super) secured: bool,
    pub(super) counts: Option<Counts>,
    pub(super) path: Vec<(&'static str, &'static str)>,
    /// Schema of the path's variables; text when nothing says more.
    pub(super) path_schema: Option<Value>,
    pub(super) query: Vec<Field>,
    pub(super) header: Vec<Field>,
    pub(super) body: Option<SchemaOf>,
    pub(super) example: Option<Value>,
    pub(super) status: Option<u16>,
    /// By media type.
    pub(super) answer: Vec<(&'static str, SchemaOf)>,
    pub(super) others: Vec<(u16, &'static str, SchemaOf)>,
    pub(super) headers: Vec<&'static str>,
    pub(super) problems: Vec<Problem>,
    pub(super) links: Vec<(&'static str, &'static str, &'static str)>,
}

/// A parameter.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) schema: Value,
    pub(super) meaning: Cow<'static, str>,
    pub(super) required: bool,
}

impl Operation {
    /// It wants an access token.
    pub fn wants_token(&mut self) {
        self.secured = true;
    }

    /// The variables of its path are of this form.
    pub fn takes_path(&mut self, schema: Value) {
        self.path_schema = Some(schema);
    }

    /// A header that may be sent.
    pub fn takes_header(&mut self, name: &'static str, schema: Value, meaning: &'static str) {
        self.header.push(Field { name, schema, meaning: Cow::Borrowed(meaning), required: false });
    }

    /// A body as JSON.
    pub fn takes_body<T: JsonSchema>(&mut self) {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
    }

    /// An answer with a body.
    pub fn answers<T: JsonSchema>(&mut self, media_type: &'static str) {
        self.answer = vec![(media_type, SchemaGenerator::subschema_for::<T>)];
    }

    /// The same in another media type.
    pub fn or_answers<T: JsonSchema>(&mut self, media_type: &'static str) {
        self.answer.push((media_type, SchemaGenerator::subschema_for::<T>));
    }

    /// A header of the good answer.
    pub fn answers_header(&mut self, name: &'static str) {
        self.headers.push(name);
    }

    /// Something that is answered instead; said twice, it counts once.
    pub fn refuses(&mut self, refusal: impl Into<Problem>) {
        let problem = refusal.into();
        if !self.problems.iter().any(|known| (known.status, known.code) == (problem.status, problem.code)) {
            self.problems.push(problem);
        }
    }
}
