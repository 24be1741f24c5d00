use std::collections::BTreeSet;

use agentex_authz::{Decision, Scope};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::wire::Fault;

/// The members of an answer that can take a success back. Whatever else it holds is ignored; a member that comes twice
/// is an error, because nobody can tell which one counts.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default, deserialize_with = "literal")]
    success: Option<bool>,
    #[serde(default, deserialize_with = "literal")]
    allowed: Option<bool>,
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow, default)]
    unscoped: Option<&'a RawValue>,
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
}

/// A Boolean and nothing else, so that `null` is not taken for an absent member.
fn literal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

/// The JSON object in `body`.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    // serde would also read an array as the members in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Fault::Malformed("the answer is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|_| Fault::Malformed("the answer is not the expected JSON object"))
}

fn takes_back(body: &[u8]) -> Result<bool, Fault> {
    let verdict: Verdict = object(body)?;
    Ok(verdict.success == Some(false) || verdict.allowed == Some(false))
}

/// The decision in the 200 answer to a check: the status allows unless the body takes it back.
pub(crate) fn decision(body: &[u8]) -> Result<Decision, Fault> {
    Ok(if takes_back(body)? { Decision::Deny } else { Decision::Allow })
}

/// Whether the 200 answer to a write says that it was made. Services that answer with nothing, or with the `null` that
/// frameworks make of nothing, made it.
pub(crate) fn written(body: &[u8]) -> Result<bool, Fault> {
    if matches!(body.trim_ascii(), b"" | b"null") {
        return Ok(true);
    }
    Ok(!takes_back(body)?)
}

/// The scope in the 200 answer to a search. Only the literal `true` lifts the filter; everything that is neither that nor
/// a list of ids is an error, because reading it leniently would show one tenant's resources to all.
pub(crate) fn scope(body: &[u8], max_list_ids: usize) -> Result<Scope, Fault> {
    let listing: Listing<'_> = object(body)?;
    if listing.unscoped.is_some_and(|unscoped| unscoped.get() == "true") {
        return Ok(Scope::All);
    }
    let items = listing.items.ok_or(Fault::Malformed("the answer has neither ids nor the unscoped mark"))?;
    let items: Vec<String> =
        serde_json::from_str(items.get()).map_err(|_| Fault::Malformed("the ids are not an array of strings"))?;
    if items.iter().any(String::is_empty) {
        return Err(Fault::Malformed("an id is empty"));
    }
    let ids: BTreeSet<String> = items.into_iter().collect();
    if ids.len() > max_list_ids {
        return Err(Fault::Malformed("there are more ids than a list may have"));
    }
    Ok(Scope::Only(ids.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Scope {
        Scope::Only(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_check_is_allowed_by_its_status_unless_the_object_takes_it_back() {
        for body in [r#"{"success":true}"#, r#"{"allowed":true}"#, "{}", r#" {"decision":"x","success":true}"#] {
            assert_eq!(decision(body.as_bytes()).unwrap(), Decision::Allow, "{body}");
        }
        for body in [
            r#"{"success":false}"#,
            r#"{"allowed":false}"#,
            r#"{"success":true,"allowed":false}"#,
            r#"{"success":false,"allowed":true}"#,
        ] {
            assert_eq!(decision(body.as_bytes()).unwrap(), Decision::Deny, "{body}");
            assert!(!written(body.as_bytes()).unwrap(), "{body}");
        }
    }

    #[test]
    fn an_unclear_answer_to_a_check_is_no_decision() {
        for body in [
            "",
            "null",
            "true",
            "[]",
            "[true,true]",
            "\"success\"",
            "OK",
            "<html>",
            r#"{"success":null}"#,
            r#"{"success":"false"}"#,
            r#"{"success":0}"#,
            r#"{"success":false,"success":true}"#,
            r#"{"success":true"#,
            r#"{"success":true}{}"#,
        ] {
            assert!(matches!(decision(body.as_bytes()), Err(Fault::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_write_may_be_answered_with_nothing_but_not_with_nonsense() {
        for body in ["", " \n", "null", "{}", r#"{"success":true}"#] {
            assert!(written(body.as_bytes()).unwrap(), "{body}");
        }
        for body in ["OK", "[]", "true", r#"{"success":1}"#] {
            assert!(matches!(written(body.as_bytes()), Err(Fault::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn duplicate_ids_count_once_and_too_many_are_an_error_rather_than_cut() {
        let twice = br#"{"items":["a","b","a"]}"#;

        assert_eq!(scope(twice, 2).unwrap(), ids(&["a", "b"]));
        assert!(matches!(scope(twice, 1), Err(Fault::Malformed(_))));
    }

    #[test]
    fn a_mark_or_list_that_comes_twice_is_an_error() {
        for body in [
            r#"{"unscoped":false,"unscoped":true}"#,
            r#"{"items":["a"],"items":["a","b"]}"#,
            r#"{"items":["a"],"unscoped":true,"unscoped":true}"#,
        ] {
            assert!(matches!(scope(body.as_bytes(), 10), Err(Fault::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn the_wildcard_among_the_ids_is_an_id_like_any_other() {
        assert_eq!(scope(br#"{"items":["*"]}"#, 10).unwrap(), ids(&["*"]));
    }
}
