use super::ForwardRefusal;

/// The path below an agent's URL, checked and with leading slashes taken off; the percent-encoding stays as it was.
///
/// Whatever the agent or a proxy before it makes of the encoding, the path must stay below the agent's URL: dot segments,
/// backslashes and control characters are refused, however they are spelled. Encoded question marks and hashes pass, since
/// triggers are made with them. The reserved paths are those of the agent that are not for outsiders; they look absent, also
/// when a proxy would take what follows an encoded question mark or hash for a query or fragment.
pub(super) fn checked<'a>(path: &'a str, reserved: &[String]) -> Result<&'a str, ForwardRefusal> {
    let path = path.trim_start_matches('/');
    let decoded = percent_decoded(path).ok_or(ForwardRefusal::BadPath)?;
    if decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\') {
        return Err(ForwardRefusal::BadPath);
    }
    let mut anywhere = decoded.split(|byte| matches!(byte, b'/' | b'?' | b'#'));
    if anywhere.any(|segment| matches!(segment, b"." | b"..")) {
        return Err(ForwardRefusal::BadPath);
    }
    let before_query = decoded.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let segments = || before_query.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let is_reserved = |reserved: &String| {
        let reserved = reserved.split('/').filter(|segment| !segment.is_empty()).map(str::as_bytes);
        // Agents may not tell the cases apart.
        segments().map(<[u8]>::to_ascii_lowercase).eq(reserved.map(<[u8]>::to_ascii_lowercase))
    };
    if reserved.iter().any(is_reserved) { Err(ForwardRefusal::Reserved) } else { Ok(path) }
}

/// The bytes behind percent-encoded text; `None` when a percent sign does not begin a triplet.
pub(super) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    Some(decoded)
}

/// The value of a hexadecimal digit of either case.
pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ForwardingSettings;

    fn checked_path(path: &str) -> Result<&str, ForwardRefusal> {
        checked(path, &ForwardingSettings::default().reserved_paths)
    }

    #[test]
    fn ordinary_paths_keep_their_encoding() {
        for (path, expected) in [
            ("", ""),
            ("hook", "hook"),
            ("/hook", "hook"),
            ("a/b/", "a/b/"),
            ("a//b", "a//b"),
            ("a%20b/%2Fc/%C3%A9/%FF", "a%20b/%2Fc/%C3%A9/%FF"),
            ("..a/b../...", "..a/b../..."),
            ("api/x", "api/x"),
            ("apis", "apis"),
            ("%252e%252e/x", "%252e%252e/x"),
            ("a%3Fb=c/%23d", "a%3Fb=c/%23d"),
        ] {
            assert_eq!(checked_path(path).unwrap(), expected, "{path}");
        }
    }

    /// api-keys §7: 60
    #[test]
    fn paths_that_change_the_shape_of_the_url_are_refused_in_every_spelling() {
        for path in [
            "..",
            "../api",
            "a/../api",
            "a/..",
            "a/%2e%2e/api",
            "a/.%2E/api",
            "a%2f..%2fapi",
            "a%2F%2e%2e",
            "./a",
            "a/%2e",
            "a%3F/..",
            "..%23",
            "a\\..\\api",
            "a%5c..%5capi",
            "a%0d%0ab",
            "a%00",
            "a%zz",
            "a%2",
        ] {
            assert!(matches!(checked_path(path), Err(ForwardRefusal::BadPath)), "{path}");
        }
    }

    /// api-keys §7: 60
    #[test]
    fn the_agents_own_endpoints_are_refused_in_every_spelling() {
        for path in [
            "api",
            "/api",
            "//api",
            "api/",
            "api//",
            "API",
            "%61pi",
            "%2Fapi",
            "api%2F",
            "healthz",
            "healthz/",
            "api%3Fx",
            "API%2F%23",
        ] {
            assert!(matches!(checked_path(path), Err(ForwardRefusal::Reserved)), "{path}");
        }
        assert_eq!(checked("api", &[]).unwrap(), "api");
    }
}
