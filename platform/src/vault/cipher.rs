//! AES-256-GCM with random nonces: `nonce‖ciphertext‖tag`.
//!
//! 96 random bits are safe for 2³² seals under one key (NIST SP 800-38D, 8.3); a subject's key seals a few hundred, the wrapping key one per subject.

use std::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, Generate, Key, KeyInit, Nonce, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const NONCE: usize = 12;

/// 256 bits that nobody prints.
#[derive(Clone, Copy)]
pub(super) struct SecretKey([u8; 32]);

impl SecretKey {
    pub(super) fn draw() -> Self {
        Self(Key::<Aes256Gcm>::generate().into())
    }
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
    /// Tells keys apart without telling anything about them.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        Sha256::new().chain_update(b"postrider wrapping key\0").chain_update(self.0).finalize().to_vec()
    }
}

impl From<[u8; 32]> for SecretKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

fn cipher(key: &SecretKey) -> Aes256Gcm {
    Aes256Gcm::new(&key.0.into())
}

pub(super) fn seal(key: &SecretKey, plain: &[u8], bound_to: &[u8]) -> Vec<u8> {
    let nonce = Nonce::<Aes256Gcm>::generate();
    let sealed = cipher(key).encrypt(&nonce, Payload { msg: plain, aad: bound_to }).expect("only 64 GiB are too much for GCM");
    [nonce.as_slice(), &sealed].concat()
}

/// `None`: another key, bound to something else, or damaged.
pub(super) fn open(key: &SecretKey, sealed: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    cipher(key).decrypt(&(*nonce).into(), Payload { msg: sealed, aad: bound_to }).ok()
}

pub(super) fn open_key(key: &SecretKey, sealed: &[u8], bound_to: &[u8]) -> Option<SecretKey> {
    <[u8; 32]>::try_from(open(key, sealed, bound_to)?).ok().map(SecretKey)
}

pub(super) fn seal_text(key: &SecretKey, plain: &str, bound_to: &[u8]) -> String {
    STANDARD.encode(seal(key, plain.as_bytes(), bound_to))
}

pub(super) fn open_text(key: &SecretKey, sealed: &str, bound_to: &[u8]) -> Option<String> {
    String::from_utf8(open(key, &STANDARD.decode(sealed).ok()?, bound_to)?).ok()
}
