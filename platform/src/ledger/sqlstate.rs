//! What a failed call means: see the table in `docs/architecture.md`.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// What a failed call says of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Some append in it cannot be stored; nothing was written. Carries the SQLSTATE.
    Culprit(String),
    /// Rolled back for certain; may well succeed when tried again.
    Again,
    /// Rolled back for certain, and no use to try again at once.
    Unavailable,
    /// The connection is gone: it may have been written, or be written yet.
    InDoubt,
    /// There was an answer, and we do not understand it: no use to ask again.
    Unreadable,
}

pub(super) fn verdict(error: &sqlx::Error) -> Verdict {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::RowNotFound => {
            Verdict::Unreadable
        }
        // Refused before a byte was sent.
        sqlx::Error::Encode(_) => Verdict::Culprit("encoding".to_owned()),
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            // The backend is gone with its last word; whether it had committed, that word does not say.
            Some(error) if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) => Verdict::InDoubt,
            Some(error) => by_code(error.code()),
            None => Verdict::InDoubt,
        },
        _ => Verdict::InDoubt,
    }
}

fn by_code(code: &str) -> Verdict {
    match (code.get(..2).unwrap_or_default(), code) {
        ("22" | "23" | "54", _) => Verdict::Culprit(code.to_owned()),
        ("40", _) | (_, "55P03" | "57014") => Verdict::Again,
        ("08", _) | (_, "57P01" | "57P02" | "57P03") => Verdict::InDoubt,
        // 53 no room, 25006 read only, 58 and XX the system; anything else is an error of the statement, and undone as well.
        _ => Verdict::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, by_code};

    #[test]
    fn every_class_of_failures_has_its_meaning() {
        for (code, meaning) in [
            ("22021", Verdict::Culprit("22021".to_owned())),
            ("23514", Verdict::Culprit("23514".to_owned())),
            ("54000", Verdict::Culprit("54000".to_owned())),
            ("40P01", Verdict::Again),
            ("55P03", Verdict::Again),
            ("57014", Verdict::Again),
            ("53100", Verdict::Unavailable),
            ("25006", Verdict::Unavailable),
            ("58030", Verdict::Unavailable),
            ("XX001", Verdict::Unavailable),
            ("42883", Verdict::Unavailable),
            ("08006", Verdict::InDoubt),
            ("57P01", Verdict::InDoubt),
            ("57P03", Verdict::InDoubt),
        ] {
            assert_eq!(by_code(code), meaning, "{code}");
        }
    }
}
