use std::borrow::Cow;

const HIDDEN: &str = "[REDACTED]";

/// Parts of names whose values are secret.
const NAMES: [&str; 9] =
    ["apikey", "api_key", "api-key", "cookie", "password", "secret", "token", "authorization", "acting-user"];
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "token"];

/// Whether the value of something called `name` is kept out of logs.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// `text` with the values of secret names (`name: value`, `name=value`, with or without quotes) and the credentials of URLs
/// blotted out.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let lower = text.to_ascii_lowercase();
    let mut hidden: Vec<(usize, usize)> = Vec::new();
    let mut from = 0;
    while let Some((start, end)) = next_secret(text, &lower, from) {
        hidden.push((start, end));
        from = end;
    }
    hidden.extend(credentials(text));
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }

    hidden.sort_unstable();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in hidden {
        if start >= at {
            clean.push_str(&text[at..start]);
            clean.push_str(HIDDEN);
        }
        at = at.max(end);
    }
    clean.push_str(&text[at..]);
    Cow::Owned(clean)
}

/// The next value that belongs to a secret name, at or after `from`.
fn next_secret(text: &str, lower: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let (at, name) = NAMES
            .iter()
            .filter_map(|name| Some((from + lower[from..].find(name)?, *name)))
            .min_by_key(|(at, _)| *at)?;
        from = at + name.len();
        if let Some(value) = value_after(text, lower, from, name) {
            return Some(value);
        }
    }
}

/// The value behind a name that ends at or after `end`, when one follows.
fn value_after(text: &str, lower: &str, end: usize, name: &str) -> Option<(usize, usize)> {
    let skip = |from: usize, drop: fn(char) -> bool| text.len() - text[from..].trim_start_matches(drop).len();
    let quote_of_name: fn(char) -> bool = |c| matches!(c, '"' | '\'' | '\\');
    let in_name: fn(char) -> bool = |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');

    let separator = skip(skip(skip(end, in_name), quote_of_name), |c| c == ' ');
    if !text[separator..].starts_with([':', '=']) {
        return None;
    }
    let mut start = skip(separator + 1, |c| c == ' ');
    if text[start..].starts_with("Some(") {
        start += "Some(".len();
    }
    let opening = skip(start, quote_of_name);
    if opening > start {
        let quote = &text[opening - 1..opening];
        let length = closing(&text[opening..], quote, opening - start > 1);
        return (length > 0).then_some((opening, opening + length));
    }
    for scheme in SCHEMES {
        if lower[start..].starts_with(scheme) && text[start + scheme.len()..].starts_with(' ') {
            start = skip(start + scheme.len(), |c| c == ' ');
            break;
        }
    }
    // A cookie header goes on after blanks and semicolons.
    let ends: fn(char) -> bool = if name == "cookie" {
        |c| c == '\n'
    } else {
        |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')')
    };
    let length = text[start..].find(ends).unwrap_or(text.len() - start);
    (length > 0).then_some((start, start + length))
}

/// How long the quoted text is. A quote that is itself escaped (`\"`) is closed by one that is, too.
fn closing(text: &str, quote: &str, escaped: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = text[at..].find(quote) {
        let position = at + found;
        let has_backslash = position > 0 && bytes[position - 1] == b'\\';
        if has_backslash == escaped {
            return position - usize::from(escaped);
        }
        at = position + quote.len();
    }
    text.len()
}

/// User names and passwords in URLs.
fn credentials(text: &str) -> Vec<(usize, usize)> {
    const SCHEME: &str = "://";
    text.match_indices(SCHEME)
        .filter_map(|(at, _)| {
            let start = at + SCHEME.len();
            let authority =
                text[start..].split(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"')).next()?;
            Some((start, start + authority.rfind('@')?))
        })
        .filter(|(start, end)| end > start)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_names_are_blotted_out() {
        for (text, clean) in [
            ("password=hunter2 next", "password=[REDACTED] next"),
            ("Authorization: Bearer abc.def, more", "Authorization: Bearer [REDACTED], more"),
            ("x-api-key: k1", "x-api-key: [REDACTED]"),
            ("APIKEY=k1&page=2", "APIKEY=[REDACTED]&page=2"),
            ("max_tokens: 5", "max_tokens: [REDACTED]"),
            (r#"{"client_secret":"a b \" c","x":1}"#, r#"{"client_secret":"[REDACTED]","x":1}"#),
            (r#"body "{\"token\":\"a b\",\"x\":1}""#, r#"body "{\"token\":\"[REDACTED]\",\"x\":1}""#),
            ("secret: Some(\"a b\")", "secret: Some(\"[REDACTED]\")"),
            ("Cookie: a=1; b=2\nnext", "Cookie: [REDACTED]\nnext"),
            ("token=a token=b", "token=[REDACTED] token=[REDACTED]"),
            ("x-acting-user: u", "x-acting-user: [REDACTED]"),
            ("secret='a b' c", "secret='[REDACTED]' c"),
            ("password=é€ next", "password=[REDACTED] next"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn credentials_of_urls_are_blotted_out() {
        for (text, clean) in [
            ("postgres://u:p@h/d?x=1", "postgres://[REDACTED]@h/d?x=1"),
            ("at redis://:p@ss@h:1 and http://h/a@b", "at redis://[REDACTED]@h:1 and http://h/a@b"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in
            ["a token was refused", "the password is wrong", "secret", "secret=", "token:", "key: value", "é://"]
        {
            assert!(matches!(redact(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn secret_names_are_recognised_in_any_case_and_anywhere() {
        assert!(
            ["X-Api-Key", "apikey", "max_tokens", "Set-Cookie", "x-acting-user-id"].iter().all(|name| is_secret(name))
        );
        assert!(!is_secret("request_id") && !is_secret("key"));
    }
}
