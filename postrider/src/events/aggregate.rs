//! An aggregate, as people name it.

use std::str::FromStr;

use schemas::{Topic, event_types};

/// `message/0190…`: its type says in which ledger it is.
#[derive(Debug, Clone)]
pub struct Aggregate {
    kind: String,
    id: String,
    pub topic: Topic,
}

impl Aggregate {
    /// Type and id.
    pub fn parts(&self) -> (&str, &str) {
        (&self.kind, &self.id)
    }
}

impl std::fmt::Display for Aggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl FromStr for Aggregate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, id) = text.split_once('/').ok_or("TYPE/ID would be right, like message/0190a5c2-…")?;
        let types = event_types();
        let Some(known) = types.iter().find(|known| known.aggregate == kind) else {
            let mut kinds: Vec<_> = types.iter().map(|known| known.aggregate).collect();
            kinds.dedup();
            return Err(format!("there are no aggregates of type {kind:?}; there are {}", kinds.join(", ")));
        };
        let id = uuid::Uuid::parse_str(id).map_err(|_| format!("{id:?} is no id of an aggregate, which is a UUID"))?;
        Ok(Self { kind: kind.to_owned(), id: id.to_string(), topic: known.topic })
    }
}
