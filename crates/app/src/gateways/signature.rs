use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::secrets::hex;

/// Whether `signature` is `prefix` and the HMAC-SHA256 of `parts` in lower-case hexadecimal digits. Never with an empty
/// secret, which everybody has. Takes the same time wherever the two differ.
pub(super) fn is_signed(secret: &str, parts: &[&[u8]], prefix: &str, signature: &[u8]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    let expected = format!("{prefix}{}", hex(&mac.finalize().into_bytes()));
    expected.as_bytes().ct_eq(signature).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation, which signs in the same way.
    const SIGNATURE: &[u8] = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn a_signature_is_good_for_its_text_and_secret_only() {
        let signed =
            |secret, text: &[u8], signature| is_signed(secret, &[&text[..5], &text[5..]], "sha256=", signature);

        assert!(signed("It's a Secret to Everybody", b"Hello, World!", SIGNATURE));
        assert!(!signed("It's a Secret to Everybody", b"Hello, World.", SIGNATURE));
        assert!(!signed("another", b"Hello, World!", SIGNATURE));
        for none in [&b""[..], b"sha256=", b"\xc3\xa9", &SIGNATURE[7..]] {
            assert!(!signed("It's a Secret to Everybody", b"Hello, World!", none));
        }
    }

    /// gateways §9: 5
    #[test]
    fn an_empty_secret_signs_nothing() {
        let mac = Hmac::<Sha256>::new_from_slice(b"").unwrap().chain_update(b"x").finalize();

        assert!(!is_signed("", &[b"x"], "", hex(&mac.into_bytes()).as_bytes()));
    }
}
