use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngCore as _;
use sha2::Sha256;

use crate::Error;

/// Marks a sealed secret in the store; what lacks it is in clear (written by other servers, or without a key).
const SEALED: &str = "sealed:v1:";
const NONCE_BYTES: usize = 24;

/// 32 bytes that stored secrets are encrypted with.
#[derive(Clone)]
pub struct SecretsKey([u8; 32]);

/// The text is not a key. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 bytes, as 64 hexadecimal digits or base64")]
pub struct SecretsKeyError;

impl SecretsKey {
    /// Reads 64 hexadecimal digits or base64 of 32 bytes.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, SecretsKeyError> {
        let text = text.trim();
        if text.len() == 64 {
            let mut key = [0; 32];
            for (index, byte) in key.iter_mut().enumerate() {
                let pair = text.get(2 * index..2 * index + 2).ok_or(SecretsKeyError)?;
                *byte = u8::from_str_radix(pair, 16).map_err(|_| SecretsKeyError)?;
            }
            return Ok(Self(key));
        }
        let bytes = STANDARD.decode(text).map_err(|_| SecretsKeyError)?;
        bytes.try_into().map(Self).map_err(|_| SecretsKeyError)
    }

    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    /// The key as 64 hexadecimal digits, for the file it is kept in.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsKey(..)")
    }
}

/// Seals secrets that must be recoverable and digests those that are only looked up.
#[derive(Clone)]
pub struct Keyring {
    cipher: Option<Arc<XChaCha20Poly1305>>,
    pepper: Arc<[u8]>,
}

impl Keyring {
    /// Without a `key` secrets are stored in clear, as the reference does; `pepper` is the key of look-up digests and may
    /// be empty, because what is digested has 256 random bits.
    #[must_use]
    pub fn new(key: Option<&SecretsKey>, pepper: &str) -> Self {
        let cipher = key.map(|key| Arc::new(XChaCha20Poly1305::new(&Key::from(key.0))));
        Self { cipher, pepper: pepper.as_bytes().into() }
    }

    /// Whether [`Self::seal`] encrypts.
    pub(crate) const fn seals(&self) -> bool {
        self.cipher.is_some()
    }

    /// The form to store.
    pub(crate) fn seal(&self, secret: &str) -> String {
        let Some(cipher) = &self.cipher else { return secret.to_owned() };
        let nonce: [u8; NONCE_BYTES] = random_bytes();
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), secret.as_bytes())
            .expect("encryption into a growing buffer cannot fail");
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        format!("{SEALED}{}", STANDARD.encode(bytes))
    }

    /// The secret behind a stored form.
    pub(crate) fn open(&self, stored: &str) -> Result<String, Error> {
        let Some(sealed) = stored.strip_prefix(SEALED) else { return Ok(stored.to_owned()) };
        let cipher = self.cipher.as_ref().ok_or(Error::Sealed)?;
        let bytes = STANDARD.decode(sealed).map_err(|_| Error::Sealed)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(Error::Sealed)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Error::Sealed)?;
        let secret = cipher.decrypt(&XNonce::from(nonce), sealed).map_err(|_| Error::Sealed)?;
        String::from_utf8(secret).map_err(|_| Error::Sealed)
    }

    /// The look-up digest: the same for equal secrets, as 64 hexadecimal digits.
    pub(crate) fn digest(&self, secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.pepper).expect("HMAC takes keys of any length");
        mac.update(secret.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// A new secret of 256 random bits, as 64 hexadecimal digits.
    pub(crate) fn mint() -> String {
        hex(&random_bytes::<32>())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("seals", &self.cipher.is_some()).finish_non_exhaustive()
    }
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_with_its_key_only() {
        let key = SecretsKey::generate();
        let keyring = Keyring::new(Some(&key), "");
        let sealed = keyring.seal("s3cret");

        assert!(!sealed.contains("s3cret"));
        assert_ne!(sealed, keyring.seal("s3cret"), "each seal has its own nonce");
        let reopened = Keyring::new(Some(&SecretsKey::parse(&key.to_hex()).unwrap()), "other pepper");
        assert_eq!(reopened.open(&sealed).unwrap(), "s3cret");
        for other in [Keyring::new(Some(&SecretsKey::generate()), ""), Keyring::new(None, "")] {
            assert!(matches!(other.open(&sealed), Err(Error::Sealed)));
        }
        assert!(matches!(keyring.open("sealed:v1:AAAA"), Err(Error::Sealed)));
    }

    #[test]
    fn without_a_key_secrets_stay_as_they_are_and_foreign_rows_open() {
        let clear = Keyring::new(None, "");
        let sealing = Keyring::new(Some(&SecretsKey::generate()), "");

        assert_eq!(clear.seal("abc"), "abc");
        assert_eq!(sealing.open("abc").unwrap(), "abc");
    }

    #[test]
    fn digests_depend_on_the_pepper() {
        let one = Keyring::new(None, "a");

        assert_eq!(one.digest("k"), one.digest("k"));
        assert_ne!(one.digest("k"), one.digest("l"));
        assert_ne!(one.digest("k"), Keyring::new(None, "b").digest("k"));
        assert_eq!(Keyring::mint().len(), 64);
    }

    #[test]
    fn keys_are_hexadecimal_or_base64_of_32_bytes() {
        assert!(SecretsKey::parse(&"ab".repeat(32)).is_ok());
        assert!(SecretsKey::parse(&STANDARD.encode([7; 32])).is_ok());
        for bad in ["", "short", &"zz".repeat(32), &STANDARD.encode([7; 31]), &"é".repeat(32)] {
            assert!(SecretsKey::parse(bad).is_err());
        }
    }
}
