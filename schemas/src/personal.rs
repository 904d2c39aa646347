//! Personal data inside events.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use uuid::Uuid;

/// A field that is personal data (marked † in the contract).
///
/// In the clear only in memory: it refuses to be serialised until it is sealed, and never shows its value in `Debug`, so that it can
/// reach neither a ledger nor a log line by mistake. On the wire it is `{"sealed": "<base64 nonce‖ciphertext‖tag>", "subject": "<id>"}`.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal {
    /// Readable, and bound to whose key seals it.
    Clear {
        /// User id (or the invitation's while the invitee has no account).
        subject: Uuid,
        /// The text itself.
        value: String,
    },
    /// As it is stored.
    Sealed {
        /// Whose key opens it.
        subject: Uuid,
        /// base64 of nonce‖ciphertext‖tag.
        sealed: String,
    },
    /// Its subject's key was destroyed: nobody can read it any more.
    Erased {
        /// Whose it was.
        subject: Uuid,
    },
}

/// Somebody asked for a value that has not been opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("personal data of {0} is still sealed")]
pub struct StillSealed(pub Uuid);

impl Personal {
    /// A clear value of a subject.
    pub fn of(subject: impl Into<Uuid>, value: impl Into<String>) -> Self {
        Self::Clear { subject: subject.into(), value: value.into() }
    }

    /// Whose data this is.
    #[must_use]
    pub fn subject(&self) -> Uuid {
        match self {
            Self::Clear { subject, .. } | Self::Sealed { subject, .. } | Self::Erased { subject } => *subject,
        }
    }

    /// The opened text; `None` when it was erased.
    ///
    /// # Errors
    /// [`StillSealed`] when the vault has not opened it.
    pub fn reveal(&self) -> Result<Option<&str>, StillSealed> {
        match self {
            Self::Clear { value, .. } => Ok(Some(value)),
            Self::Erased { .. } => Ok(None),
            Self::Sealed { subject, .. } => Err(StillSealed(*subject)),
        }
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self {
            Self::Clear { .. } => "clear",
            Self::Sealed { .. } => "sealed",
            Self::Erased { .. } => "erased",
        };
        write!(f, "Personal({state}, {})", self.subject())
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Personal")]
struct Wire {
    /// base64 of nonce‖ciphertext‖tag: AES-256-GCM under the subject's data key, associated data = event id and field name.
    sealed: String,
    /// The user (or invitation) whose key opens it.
    subject: Uuid,
}

impl Serialize for Personal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sealed { subject, sealed } => Wire { sealed: sealed.clone(), subject: *subject }.serialize(serializer),
            Self::Clear { .. } | Self::Erased { .. } => Err(ser::Error::custom("personal data must be sealed before it is written")),
        }
    }
}

impl<'de> Deserialize<'de> for Personal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(|Wire { sealed, subject }| Self::Sealed { subject, sealed })
    }
}

impl JsonSchema for Personal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Personal".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::Personal;
    use uuid::Uuid;

    #[test]
    fn a_clear_value_can_be_neither_serialised_nor_printed() {
        let email = Personal::of(Uuid::nil(), "ann@example.org");
        assert!(serde_json::to_string(&email).is_err());
        assert!(!format!("{email:?}").contains("ann"));
    }
}
