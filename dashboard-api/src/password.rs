//! Passwords and secrets: making them, hashing them, checking them.
//!
//! Argon2id with the crate's default cost (19 MiB, two passes), on blocking threads, a few at a time.
//! Must never: keep, log or compare a password in the clear.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// Longer passwords would only cost time; nobody types them.
pub(crate) const LONGEST: usize = 1024;

/// The system has no randomness or no memory for a hash.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a password could not be hashed")]
pub struct HashError;

/// Argon2id as a PHC string. Takes tens of milliseconds: call it on a thread that may block.
///
/// # Errors
/// [`HashError`] without randomness.
pub fn hash(password: &str) -> Result<String, HashError> {
    Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string()).map_err(|_| HashError)
}

/// As [`hash`], off the runtime's threads.
///
/// # Errors
/// [`HashError`] without randomness.
pub async fn hash_later(password: String) -> Result<String, HashError> {
    tokio::task::spawn_blocking(move || hash(&password)).await.unwrap_or(Err(HashError))
}

/// Whether `password` is the one; without a hash the same work is done and the answer is no.
pub(crate) fn verify(password: &str, stored: Option<&str>) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let nobody = || NOBODY.get_or_init(|| hash("nobody").unwrap_or_default()).as_str();
    let known = stored.is_some();
    let fits = PasswordHash::new(stored.unwrap_or_else(nobody))
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    known && fits
}

/// 256 random bits as text for a URL, a header or a printed page.
///
/// # Errors
/// [`HashError`] without randomness: no credential may be made then.
pub fn secret() -> Result<String, HashError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| HashError)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// A password that a person may have to type: 100 random bits in groups of five.
///
/// # Errors
/// [`HashError`] without randomness.
pub fn readable() -> Result<String, HashError> {
    let text = letters(20)?;
    let groups: Vec<&str> = (0..4).map(|i| &text[i * 5..i * 5 + 5]).collect();
    Ok(groups.join("-"))
}

/// `n` random letters and digits that are not mistaken for each other.
///
/// # Errors
/// [`HashError`] without randomness.
pub fn letters(n: usize) -> Result<String, HashError> {
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = vec![0_u8; n];
    getrandom::fill(&mut bytes).map_err(|_| HashError)?;
    Ok(bytes.into_iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect())
}

/// SHA-256, for secrets that are random and therefore need no slow hash.
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_own_hash_only() {
        let hashed = hash("correct horse").unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(verify("correct horse", Some(&hashed)));
        assert!(!verify("correct house", Some(&hashed)));
        assert!(!verify("nobody", None));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        assert_ne!(secret().unwrap(), secret().unwrap());
        assert!(secret().unwrap().len() >= 43);
        assert_eq!(readable().unwrap().len(), 23);
    }
}
