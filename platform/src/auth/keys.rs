//! Signing keys: private in a file, public in the database.

use std::path::Path;

use crate::config::StartError;

/// This process's private key and everybody's published public keys. Clones share one state.
///
/// The private key is an EC P-256 key in PKCS#8 PEM, `<dir>/signing-<kid>.pem`, mode 0600, made at the first start (written aside, fsynced, renamed).
/// Its public half is in `auth.signing_keys (kid, public_key, created_at, retired_at)` before anything is signed with it. While a key rotates
/// (`rotate`), two are published; a retired one stays published for the lifetime of the tokens it signed.
#[derive(Clone, Debug)]
pub struct SigningKeys {}

impl SigningKeys {
    /// Reads or makes the private key, publishes it, loads all published ones.
    ///
    /// # Errors
    /// When the directory cannot be read or written, the file's mode is too open, or the database cannot be reached.
    pub async fn open(_dir: &Path, _auth: &sqlx::PgPool, _token_lifetime: std::time::Duration) -> Result<Self, StartError> {
        todo!()
    }
    /// Makes a new private key, publishes it beside the old one and signs with it from now on.
    ///
    /// # Errors
    /// As [`SigningKeys::open`].
    pub async fn rotate(&self) -> Result<(), StartError> {
        todo!()
    }
}
