//! Who may look: accounts with a password, tokens of programs.
//!
//! Passwords are kept as Argon2id hashes in PHC form. A token is 256 random bits, so its SHA-256 is
//! as hard to turn back, and costs nothing to check at each request.

use std::fmt::Write as _;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, SaltString};
use argon2::{Argon2, PasswordVerifier as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use crate::config::admin_settings::Role;

/// What the hash of a token begins with.
const TOKEN_SCHEME: &str = "sha256:";

/// What a token begins with, so that one that has leaked is known for what it is.
const TOKEN_PREFIX: &str = "mppd_";

/// Most memory of one hash, in KiB: a hash that takes more is refused when it is read.
const MOST_MEMORY: u32 = 256 << 10;

/// Most passes of one hash.
const MOST_PASSES: u32 = 16;

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name to log in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The hash of the password.
    pub hash: Hash,
}

/// How a program is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// The SHA-256 of the token.
    pub digest: [u8; 32],
}

/// A hash of a password that can be checked against.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hash)")
    }
}

/// Why a text is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// It has not the form.
    #[error("this is no hash of a password: {0}")]
    Form(argon2::password_hash::Error),
    /// Another kind of hash, or one without its parts.
    #[error("the hash of a password begins with $argon2id$ and has salt and hash")]
    Kind,
    /// Checking it would hold up the server.
    #[error("checking this hash would take too much (m={memory}, t={passes})")]
    Cost {
        /// KiB of memory.
        memory: u32,
        /// Passes over it.
        passes: u32,
    },
    /// A token's hash.
    #[error("the hash of a token is \"sha256:\" and 64 hexadecimal digits")]
    Token,
    /// The system gives no random numbers.
    #[error("there are no random numbers: {0}")]
    Random(String),
}

impl Hash {
    /// Understands a hash in PHC form.
    ///
    /// # Errors
    /// It is none, or one that would take too much to check.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let hash = PasswordHash::new(text).map_err(HashError::Form)?;
        if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
            return Err(HashError::Kind);
        }
        let params = argon2::Params::try_from(&hash).map_err(HashError::Form)?;
        let (memory, passes) = (params.m_cost(), params.t_cost());
        if memory > MOST_MEMORY || passes > MOST_PASSES {
            return Err(HashError::Cost { memory, passes });
        }
        Ok(Hash(text.to_owned()))
    }

    /// Makes the hash of a password.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn of(password: &str) -> Result<Self, HashError> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        let salt = SaltString::encode_b64(&salt).map_err(HashError::Form)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        Ok(Hash(hash.map_err(HashError::Form)?.to_string()))
    }

    /// Whether a password is the one. Takes time and memory by design.
    #[must_use]
    pub fn is_of(&self, password: &str) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    }

    /// The hash in PHC form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Token {
    /// The token of this name that a hash is of.
    ///
    /// # Errors
    /// It is no hash of a token.
    pub fn parse(name: &str, hash: &str) -> Result<Self, HashError> {
        let hex = hash.strip_prefix(TOKEN_SCHEME).ok_or(HashError::Token)?;
        let digest = from_hex(hex).ok_or(HashError::Token)?;
        Ok(Token { name: name.to_owned(), digest })
    }

    /// Whether a text is the token. How long that takes says nothing about it.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        digest.ct_eq(&self.digest).into()
    }
}

/// A new token and its hash.
///
/// # Errors
/// There are no random numbers.
pub fn new_token() -> Result<(String, String), HashError> {
    let token = format!("{TOKEN_PREFIX}{}", random_text()?);
    let hash = format!("{TOKEN_SCHEME}{}", hex(&Sha256::digest(token.as_bytes())));
    Ok((token, hash))
}

/// 256 random bits, as hexadecimal digits.
///
/// # Errors
/// There are no random numbers.
pub fn random_text() -> Result<String, HashError> {
    let mut octets = [0; 32];
    random(&mut octets)?;
    Ok(hex(&octets))
}

fn random(octets: &mut [u8]) -> Result<(), HashError> {
    getrandom::fill(octets).map_err(|error| HashError::Random(error.to_string()))
}

/// Octets as hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a string can't fail.
        let _written = write!(text, "{octet:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, at) in octets.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_no_other_is() {
        let hash = Hash::of("correct horse").unwrap();
        let read = Hash::parse(hash.as_str()).unwrap();
        assert!(read.is_of("correct horse"));
        assert!(!read.is_of("correct horse "));
        assert_ne!(Hash::of("correct horse").unwrap(), hash, "salts differ");
    }

    #[test]
    fn what_is_no_argon2id_hash_is_refused_and_so_is_one_that_takes_too_much() {
        for text in
            ["", "geheim", "$2y$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=19456,t=2,p=1"]
        {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
        let dear = Hash::of("x").unwrap().as_str().replace("m=19456", "m=4000000");
        assert_eq!(Hash::parse(&dear), Err(HashError::Cost { memory: 4_000_000, passes: 2 }));
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_no_other_is() {
        let (token, hash) = new_token().unwrap();
        let read = Token::parse("prometheus", &hash).unwrap();
        assert!(read.is(&token));
        assert!(!read.is("mppd_"));
        assert_eq!(Token::parse("x", "sha256:00"), Err(HashError::Token));
        assert_eq!(Token::parse("x", &token), Err(HashError::Token));
    }

    #[test]
    fn a_hash_is_not_shown() {
        assert_eq!(format!("{:?}", Hash::of("x").unwrap()), "(hash)");
    }
}
