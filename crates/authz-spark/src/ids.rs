use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What an id begins with when it is stored in base64.
const MARK: &str = "b64=";
/// SpiceDB's limit.
const MAX_BYTES: usize = 1024;

/// `id` as SpiceDB stores it; `None` when it is too long for that.
pub(crate) fn encode(id: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_|-=+".contains(&byte);
    let stored = if !id.is_empty() && id.bytes().all(plain) && !id.starts_with(MARK) {
        id.to_owned()
    } else {
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(id))
    };
    (stored.len() <= MAX_BYTES).then_some(stored)
}

/// The id that is stored as `stored`; `None` for what [`encode`] never makes.
pub(crate) fn decode(stored: &str) -> Option<String> {
    match stored.strip_prefix(MARK) {
        None => Some(stored.to_owned()),
        Some(encoded) => String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ids_stay_as_they_are() {
        for id in ["3f2a", "a/b_c|d-e=f+g", "b64", "B64=x"] {
            assert_eq!(encode(id).as_deref(), Some(id));
        }
    }

    #[test]
    fn every_id_comes_back_and_uses_the_allowed_characters_only() {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_|-=+".contains(&byte);
        for id in ["", "*", "run-schedule::a1::r1", "alice@example.com", "b64=", "b64=YQ", "ä ö", "a\u{0}b"] {
            let stored = encode(id).unwrap();

            assert!(stored.starts_with(MARK) && stored.bytes().all(allowed), "{stored}");
            assert_eq!(decode(&stored).as_deref(), Some(id));
        }
    }

    #[test]
    fn two_ids_are_never_stored_alike() {
        assert_ne!(encode("b64=YQ"), encode("a"));
        assert_ne!(encode("*"), encode("b64=Kg"));
    }

    #[test]
    fn an_id_that_does_not_fit_has_no_stored_form() {
        assert!(encode(&"a".repeat(1024)).is_some());
        assert!(encode(&"a".repeat(1025)).is_none());
        assert!(encode(&":".repeat(765)).is_some());
        assert!(encode(&":".repeat(766)).is_none());
    }

    #[test]
    fn foreign_ids_under_our_mark_are_not_guessed_at() {
        assert_eq!(decode("b64=_w"), None, "not UTF-8");
        assert_eq!(decode("b64=a|b"), None);
    }
}
