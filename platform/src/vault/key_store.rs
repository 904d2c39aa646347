//! The one row that says what wraps the data keys.

use std::time::Duration;

use sqlx::PgPool;

use super::cipher::{self, SecretKey};
use crate::config::StartError;

const TIME_OUT: Duration = Duration::from_secs(10);
const DIGEST_KEY: &[u8] = b"digest key";
/// How people know the setting.
const SETTING: &str = "the wrapping key (`keys.wrapping_key`)";

pub(super) struct Opened {
    pub(super) wrapping_key: SecretKey,
    pub(super) digest_key: SecretKey,
}

struct Row {
    fingerprint: Vec<u8>,
    wrapping_key: Option<Vec<u8>>,
    digest_key: Vec<u8>,
}

/// Reads the row, or makes it. Of several processes that open a new store at once one row wins, and all go by it.
pub(super) async fn open(keys: &PgPool, configured: Option<SecretKey>) -> Result<Opened, StartError> {
    let row = match tokio::time::timeout(TIME_OUT, read_or_make(keys, configured)).await {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => return Err(StartError::because("the key store (schema `keys`) cannot be read", error)),
        Err(_) => return Err(StartError::new(format!("the key store (schema `keys`) did not answer within {} s", TIME_OUT.as_secs()))),
    };
    let wrapping_key = match (configured, &row.wrapping_key) {
        (Some(key), None) if key.fingerprint() == row.fingerprint => key,
        (Some(_), None) => {
            return Err(StartError::new(format!("{SETTING} is not the one that the key store was sealed with; configure that one again")));
        }
        (Some(_), Some(_)) => {
            return Err(StartError::new(format!(
                "{SETTING} is configured, but the key store was made without one and keeps its own, which cannot be replaced yet; remove the setting"
            )));
        }
        (None, Some(own)) => {
            <[u8; 32]>::try_from(own.as_slice()).ok().map(SecretKey::from).filter(|key| key.fingerprint() == row.fingerprint).ok_or_else(
                || StartError::new("the key store's own wrapping key (`keys.key_store`) is damaged; restore it from a backup"),
            )?
        }
        (None, None) => {
            return Err(StartError::new(format!("{SETTING} is not configured, but the key store was sealed with one; configure it")));
        }
    };
    let digest_key = cipher::open_key(&wrapping_key, &row.digest_key, DIGEST_KEY)
        .ok_or_else(|| StartError::new("the key store's digest key (`keys.key_store`) is damaged; restore it from a backup"))?;
    Ok(Opened { wrapping_key, digest_key })
}

async fn read_or_make(keys: &PgPool, configured: Option<SecretKey>) -> Result<Row, sqlx::Error> {
    if let Some(row) = read(keys).await? {
        return Ok(row);
    }
    let wrapping_key = configured.unwrap_or_else(SecretKey::draw);
    let kept = if configured.is_none() { Some(wrapping_key.bytes()) } else { None };
    sqlx::query!(
        "INSERT INTO keys.key_store (fingerprint, wrapping_key, digest_key) VALUES ($1, $2, $3) ON CONFLICT (singleton) DO NOTHING",
        wrapping_key.fingerprint(),
        kept,
        cipher::seal(&wrapping_key, SecretKey::draw().bytes(), DIGEST_KEY)
    )
    .execute(keys)
    .await?;
    read(keys).await?.ok_or(sqlx::Error::RowNotFound)
}

async fn read(keys: &PgPool) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(Row, "SELECT fingerprint, wrapping_key, digest_key FROM keys.key_store").fetch_optional(keys).await
}
