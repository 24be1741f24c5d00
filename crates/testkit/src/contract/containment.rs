//! JSON containment as lists and filters mean it: the same answers whatever the store.

use agentex_domain::JsonObject;
use serde_json::{Value, json};

use crate::build::object;

/// One stored object, one wanted object, and whether the first contains the second.
#[derive(Debug)]
pub struct Case {
    /// What the row holds.
    pub stored: JsonObject,
    /// What is asked for.
    pub wanted: JsonObject,
    /// Whether the row is in the answer.
    pub matches: bool,
}

/// Objects contain recursively; arrays when every wanted element is contained in some stored one; scalars when equal by
/// value. Keys and texts are data whatever characters they hold.
#[must_use]
pub fn cases() -> Vec<Case> {
    let yes = |stored: Value, wanted: Value| Case { stored: object(stored), wanted: object(wanted), matches: true };
    let no = |stored: Value, wanted: Value| Case { stored: object(stored), wanted: object(wanted), matches: false };
    vec![
        yes(json!({"k": "v", "more": 1}), json!({"k": "v"})),
        yes(json!({"k": "v"}), json!({})),
        yes(json!({}), json!({})),
        no(json!({"k": "w"}), json!({"k": "v"})),
        no(json!({"K": "v"}), json!({"k": "v"})),
        no(json!({"k": "V"}), json!({"k": "v"})),
        no(json!({}), json!({"k": "v"})),
        no(json!({"k": "v"}), json!({"k": "v", "l": 1})),
        // Nested objects, at their place only.
        yes(json!({"a": {"b": {"c": 1, "d": 2}}, "e": 3}), json!({"a": {"b": {"c": 1}}})),
        yes(json!({"a": {"b": 1}}), json!({"a": {}})),
        no(json!({"a": {"b": 1}}), json!({"b": 1})),
        no(json!({"a": {"b": 1}}), json!({"a": {"b": 2}})),
        no(json!({"a": 1}), json!({"a": {}})),
        no(json!({"a": {}}), json!({"a": 1})),
        // Scalars.
        yes(json!({"n": 1}), json!({"n": 1.0})),
        yes(json!({"n": 1.0}), json!({"n": 1})),
        no(json!({"n": 1}), json!({"n": "1"})),
        no(json!({"n": "1"}), json!({"n": 1})),
        no(json!({"n": 1}), json!({"n": true})),
        no(json!({"n": true}), json!({"n": 1})),
        no(json!({"n": true}), json!({"n": "true"})),
        no(json!({"n": true}), json!({"n": false})),
        yes(json!({"n": false}), json!({"n": false})),
        no(json!({"n": 0}), json!({"n": false})),
        yes(json!({"n": -2.5}), json!({"n": -2.5})),
        yes(json!({"n": 9_007_199_254_740_993_i64}), json!({"n": 9_007_199_254_740_993_i64})),
        no(json!({"n": 9_007_199_254_740_993_i64}), json!({"n": 9_007_199_254_740_992_i64})),
        // Null is a value: equal to null, not to absence.
        yes(json!({"z": null}), json!({"z": null})),
        no(json!({}), json!({"z": null})),
        no(json!({"z": 0}), json!({"z": null})),
        no(json!({"z": null}), json!({"z": ""})),
        no(json!({"z": "null"}), json!({"z": null})),
        // Arrays are sets of patterns.
        yes(json!({"t": ["a", "b", "c"]}), json!({"t": ["c", "a"]})),
        yes(json!({"t": ["a"]}), json!({"t": ["a", "a"]})),
        yes(json!({"t": ["a"]}), json!({"t": []})),
        no(json!({"t": ["a"]}), json!({"t": ["a", "b"]})),
        no(json!({"t": ["a"]}), json!({"t": "a"})),
        no(json!({"t": "a"}), json!({"t": ["a"]})),
        no(json!({"t": {}}), json!({"t": []})),
        no(json!({"t": []}), json!({"t": {}})),
        yes(json!({"t": [{"a": 1, "b": 2}, {"c": 3}]}), json!({"t": [{"b": 2}]})),
        no(json!({"t": [{"a": 1}, {"b": 2}]}), json!({"t": [{"a": 1, "b": 2}]})),
        yes(json!({"t": [[1, 2], [3]]}), json!({"t": [[2]]})),
        no(json!({"t": [[1, 2]]}), json!({"t": [1]})),
        yes(json!({"t": [null, true]}), json!({"t": [null]})),
        no(json!({"t": [1]}), json!({"t": ["1"]})),
        yes(json!({"a": {"t": [{"x": [1, {"y": 2}]}]}}), json!({"a": {"t": [{"x": [{"y": 2}]}]}})),
        // Keys and texts that mean something to query languages.
        yes(json!({"a.b": 1}), json!({"a.b": 1})),
        no(json!({"a": {"b": 1}}), json!({"a.b": 1})),
        no(json!({"a.b": 1}), json!({"a": {"b": 1}})),
        yes(json!({"$gt": ""}), json!({"$gt": ""})),
        no(json!({"k": "v"}), json!({"k": {"$gt": ""}})),
        yes(json!({"$": {"$ne": null}}), json!({"$": {"$ne": null}})),
        yes(json!({"it's": "O'Hara"}), json!({"it's": "O'Hara"})),
        yes(json!({"say \"hi\"": "\"'; DROP TABLE tasks; --"}), json!({"say \"hi\"": "\"'; DROP TABLE tasks; --"})),
        no(json!({"k": "x"}), json!({"k": "x' OR '1'='1"})),
        yes(json!({"back\\slash": "a\\b"}), json!({"back\\slash": "a\\b"})),
        yes(json!({"": "empty"}), json!({"": "empty"})),
        yes(json!({"[0]": 1, "0": 2}), json!({"[0]": 1, "0": 2})),
        no(json!({"l": [5]}), json!({"l": {"0": 5}})),
        no(json!({"k": "value"}), json!({"k": "val%"})),
        no(json!({"k": "value"}), json!({"k": "valu_"})),
        yes(json!({"%": "_", "?": "$1", ":x": "@y"}), json!({"%": "_", "?": "$1", ":x": "@y"})),
        yes(json!({"ключ": "значение \u{1F980}\n\t"}), json!({"ключ": "значение \u{1F980}\n\t"})),
        no(json!({"k": "v"}), json!({"k": "v "})),
    ]
}
