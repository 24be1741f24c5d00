use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::algorithm::{KeyKind, SigningAlgorithm};

/// RFC 7518 forbids shorter moduli; the library checks no signatures with longer ones.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A JSON Web Key Set as it came. Members of keys are looked at one key at a time, so that one that nobody here knows
/// does not take the others with it.
#[derive(Deserialize)]
pub(crate) struct KeyDocument {
    keys: Vec<Map<String, Value>>,
}

/// The keys of an issuer that tokens can be signed with, in the order of its document.
#[derive(Debug)]
pub(crate) struct KeySet(Vec<PublicKey>);

#[derive(Debug)]
struct PublicKey {
    id: Option<String>,
    /// The only algorithm the issuer uses the key with, when it says so.
    algorithm: Option<KeyAlgorithm>,
    kind: KeyKind,
    key: Arc<DecodingKey>,
}

impl From<KeyDocument> for KeySet {
    /// Leaves out keys that are not for signatures, of a kind that is not known here, broken, or too weak, as RFC 7517
    /// asks.
    fn from(document: KeyDocument) -> Self {
        let total = document.keys.len();
        let keys: Vec<_> = document.keys.into_iter().filter_map(public_key).collect();
        if keys.len() < total {
            tracing::debug!(keys.used = keys.len(), keys.total = total, "the issuer publishes keys of no use here");
        }
        Self(keys)
    }
}

impl KeySet {
    /// The one key that a token with this `kid` and this algorithm can be signed with; `None` when there is none, or
    /// when several are possible.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: SigningAlgorithm) -> Option<Arc<DecodingKey>> {
        let named = KeyAlgorithm::from(algorithm.library());
        let mut matching = self.0.iter().filter(|one| {
            id.is_none_or(|id| one.id.as_deref() == Some(id))
                && one.kind == algorithm.key_kind()
                && one.algorithm.is_none_or(|only| only == named)
        });
        match (matching.next(), matching.next()) {
            (Some(one), None) => Some(Arc::clone(&one.key)),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn public_key(members: Map<String, Value>) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(Value::Object(members)).ok()?;
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let for_checking = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !for_signatures || !for_checking || common.key_algorithm == Some(KeyAlgorithm::UNKNOWN_ALGORITHM) {
        return None;
    }
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => KeyKind::Rsa,
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => KeyKind::P256,
            EllipticCurve::P384 => KeyKind::P384,
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => KeyKind::Ed25519,
        // Shared secrets above all: whoever can read this document could sign with them.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    has_sound_size(kind, &key).then(|| PublicKey {
        id: jwk.common.key_id.clone(),
        algorithm: jwk.common.key_algorithm,
        kind,
        key: Arc::new(key),
    })
}

/// Checked here because the library takes RSA keys of any size, and ends the process's thread over a short Ed25519 key.
fn has_sound_size(kind: KeyKind, key: &DecodingKey) -> bool {
    let bytes = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => {
            return kind == KeyKind::Rsa && RSA_MODULUS_BITS.contains(&bits(n));
        }
        DecodingKeyKind::SecretOrDer(bytes) => bytes.len(),
    };
    match kind {
        KeyKind::Rsa => false,
        // A point in its uncompressed form.
        KeyKind::P256 => bytes == 1 + 2 * 32,
        KeyKind::P384 => bytes == 1 + 2 * 48,
        KeyKind::Ed25519 => bytes == 32,
    }
}

fn bits(number: &[u8]) -> usize {
    let significant = number.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &number[first..]);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(keys: Value) -> KeySet {
        serde_json::from_value::<KeyDocument>(json!({"keys": keys})).unwrap().into()
    }

    fn base64(bytes: usize, first: &str) -> String {
        // Four characters hold three bytes, and `A` six zero bits.
        let characters = (bytes * 4).div_ceil(3);
        format!("{first}{}", "A".repeat(characters - first.len()))
    }

    fn ed25519(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(32, "w")})
    }

    fn rsa(kid: &str, bytes: usize) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": base64(bytes, "w"), "e": "AQAB"})
    }

    #[test]
    fn keys_of_no_use_are_left_out_and_the_others_stay() {
        let with = |mut key: Value, name: &str, value: Value| {
            key[name] = value;
            key
        };
        let useless = [
            json!({}),
            json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}),
            json!({"kty": "RSA", "kid": "k", "e": "AQAB"}),
            json!({"kty": "RSA", "kid": "k", "n": "!", "e": "AQAB"}),
            json!({"kty": "OKP", "crv": "X25519", "kid": "k", "x": base64(32, "w")}),
            json!({"kty": "OKP", "crv": "P-256", "kid": "k", "x": base64(32, "w")}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": base64(31, "w")}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": base64(33, "w")}),
            json!({"kty": "EC", "crv": "P-521", "kid": "k", "x": base64(66, "A"), "y": base64(66, "A")}),
            json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": base64(48, "w"), "y": base64(48, "w")}),
            json!({"kty": "EC", "crv": "Ed25519", "kid": "k", "x": base64(32, "w"), "y": base64(32, "w")}),
            json!({"kty": "new", "kid": "k"}),
            rsa("k", 128),
            rsa("k", 255),
            rsa("k", 513),
            with(ed25519("k"), "use", json!("enc")),
            with(ed25519("k"), "key_ops", json!(["sign"])),
            with(ed25519("k"), "alg", json!("ES1024")),
            with(ed25519("k"), "alg", json!("RS256")),
            with(ed25519("k"), "kid", json!(7)),
        ];

        for one in useless {
            let shown = one.to_string();
            let keys = set(json!([one, ed25519("good")]));
            for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Rs256, SigningAlgorithm::Es256] {
                assert!(keys.find(Some("k"), algorithm).is_none(), "{shown}");
            }
            assert!(keys.find(Some("good"), SigningAlgorithm::EdDsa).is_some(), "{shown}");
        }
    }

    #[test]
    fn a_key_is_found_by_its_id_and_only_for_what_it_can_sign() {
        let keys = set(json!([
            ed25519("ed"),
            rsa("rsa", 256),
            {"kty": "RSA", "kid": "pss", "n": base64(512, "w"), "e": "AQAB", "alg": "PS256", "use": "sig"},
            {
                "kty": "EC", "crv": "P-384", "kid": "ec", "key_ops": ["verify"],
                "x": base64(48, "w"), "y": base64(48, "w"),
            },
        ]));
        let fits = |id, algorithm| keys.find(Some(id), algorithm).is_some();

        assert_eq!(keys.len(), 4);
        assert!(fits("ed", SigningAlgorithm::EdDsa));
        assert!(fits("rsa", SigningAlgorithm::Rs256) && fits("rsa", SigningAlgorithm::Ps512));
        assert!(fits("pss", SigningAlgorithm::Ps256) && fits("ec", SigningAlgorithm::Es384));
        assert!(!fits("ed", SigningAlgorithm::Rs256) && !fits("rsa", SigningAlgorithm::EdDsa));
        assert!(!fits("pss", SigningAlgorithm::Rs256) && !fits("ec", SigningAlgorithm::Es256));
        assert!(!fits("none", SigningAlgorithm::EdDsa) && !fits("", SigningAlgorithm::EdDsa));
    }

    #[test]
    fn without_an_id_only_a_key_that_is_alone_of_its_kind_is_found() {
        let keys = set(json!([ed25519("a"), rsa("b", 256), rsa("c", 256)]));

        assert!(keys.find(None, SigningAlgorithm::EdDsa).is_some());
        assert!(keys.find(None, SigningAlgorithm::Rs256).is_none());
        assert!(keys.find(None, SigningAlgorithm::Es256).is_none());
    }

    #[test]
    fn an_id_that_two_keys_of_a_kind_share_names_neither() {
        let keys = set(json!([ed25519("a"), ed25519("a"), rsa("a", 256)]));

        assert!(keys.find(Some("a"), SigningAlgorithm::EdDsa).is_none());
        assert!(keys.find(Some("a"), SigningAlgorithm::Rs256).is_some());
    }

    #[test]
    fn what_is_no_key_set_is_not_taken_for_an_empty_one() {
        for body in
            ["", "null", "[]", "{}", r#"{"keys":null}"#, r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":["a"]}"#]
        {
            assert!(serde_json::from_str::<KeyDocument>(body).is_err(), "{body}");
        }
        assert_eq!(set(json!([])).len(), 0);
    }

    #[test]
    fn leading_zeros_do_not_make_a_modulus_longer() {
        assert_eq!((bits(&[]), bits(&[0, 0]), bits(&[0, 1, 0]), bits(&[0x80])), (0, 0, 9, 8));
    }
}
