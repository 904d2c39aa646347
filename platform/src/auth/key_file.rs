//! A private key in a file that nobody else can read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use p256::elliptic_curve::rand_core::OsRng;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use p256::{PublicKey, SecretKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::StartError;

/// A private key as it was found or made.
pub(super) struct KeyFile {
    pub(super) kid: String,
    pub(super) private: EncodingKey,
    pub(super) public: PublicKey,
}

/// The first 22 characters (132 bits) of the key's thumbprint (RFC 7638): whoever has the key can tell its name.
fn kid(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let mut kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes()));
    kid.truncate(22);
    kid
}

fn coordinates(public: &PublicKey) -> (String, String) {
    let point = public.to_encoded_point(false);
    let encode = |coordinate: Option<_>| coordinate.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default();
    (encode(point.x()), encode(point.y()))
}

/// What verifies, and how it is published.
pub(super) fn verifying(kid: &str, public: &PublicKey) -> (DecodingKey, Value) {
    let (x, y) = coordinates(public);
    let key = DecodingKey::from_ec_der(public.to_encoded_point(false).as_bytes());
    (key, json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y}))
}

fn key_file(secret: &SecretKey) -> Result<KeyFile, StartError> {
    let public = secret.public_key();
    let (x, y) = coordinates(&public);
    let der = secret.to_pkcs8_der().map_err(|e| StartError::because("the signing key cannot be encoded", e))?;
    Ok(KeyFile { kid: kid(&x, &y), private: EncodingKey::from_ec_der(der.as_bytes()), public })
}

fn name(kid: &str) -> String {
    format!("signing-{kid}.pem")
}

/// Draws a key and stores it: there in whole, with mode 0600 from its first byte, or not at all.
pub(super) fn make(dir: &Path) -> Result<KeyFile, StartError> {
    let secret = SecretKey::random(&mut OsRng);
    let file = key_file(&secret)?;
    let pem = secret.to_pkcs8_pem(LineEnding::LF).map_err(|e| StartError::because("the signing key cannot be encoded", e))?;
    store(dir, &name(&file.kid), pem.as_bytes())
        .map_err(|e| StartError::because(format!("the signing key cannot be written to {}", dir.display()), e))?;
    Ok(file)
}

fn store(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let aside = dir.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Every key in the directory; none when there is no directory.
pub(super) fn read_all(dir: &Path) -> Result<Vec<KeyFile>, StartError> {
    let cannot = |e| StartError::because(format!("the signing keys in {} cannot be read", dir.display()), e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let file_name = entry.file_name();
        if file_name.to_str().is_some_and(|name| name.starts_with("signing-") && name.ends_with(".pem")) {
            keys.push(read(&entry.path())?);
        }
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<KeyFile, StartError> {
    let shown = path.display();
    let cannot = |e| StartError::because(format!("the signing key {shown} cannot be read"), e);
    let mut file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StartError::new(format!(
            "the signing key {shown} can be read by others (mode {mode:03o}): run `chmod 600 {shown}`, and rotate it if somebody may have"
        )));
    }
    let mut pem = String::new();
    file.read_to_string(&mut pem).map_err(cannot)?;
    let secret = SecretKey::from_pkcs8_pem(&pem)
        .map_err(|_| StartError::new(format!("{shown} is not an EC P-256 key in PKCS#8 PEM: remove it, and a new one is made")))?;
    key_file(&secret)
}

/// Removes a key that signs nothing any more.
pub(super) fn remove(dir: &Path, kid: &str) -> Result<(), StartError> {
    match fs::remove_file(dir.join(name(kid))) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::because(format!("the retired signing key in {} cannot be removed", dir.display()), e))
        }
        _ => Ok(()),
    }
}
