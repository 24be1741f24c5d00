use super::*;

const NOTHING: [&str; 0] = [];

/// An object with these fields, some of them required.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

#[test]
fn fields_are_missing_or_extra() {
    let text = json!({ "type": "string" });

    let (request, response) =
        both_ways(object(json!({ "a": text, "b": text }), &[]), object(json!({ "b": text, "c": text }), &[]));

    assert_eq!(request, ["missing POST /things body.a", "extra POST /things body.c"]);
    assert_eq!(response, ["missing POST /things 200.a", "extra POST /things 200.c"]);
}

#[test]
fn a_field_that_becomes_required_is_narrower_and_one_that_no_longer_is_wider() {
    let fields = json!({ "a": { "type": "string" } });

    let (request, response) = both_ways(object(fields.clone(), &[]), object(fields.clone(), &["a"]));
    assert_eq!(request, ["narrower POST /things body.a: is required"]);
    assert_eq!(response, NOTHING);

    let (request, response) = both_ways(object(fields.clone(), &["a"]), object(fields, &[]));
    assert_eq!(request, NOTHING);
    assert_eq!(response, ["wider POST /things 200.a: may be left out"]);

    let (request, _) = both_ways(object(json!({}), &[]), object(json!({ "n": {} }), &["n"]));
    assert_eq!(request, ["narrower POST /things body.n: is required"]);
}

#[test]
fn null_that_is_refused_is_narrower_and_null_that_is_new_is_wider() {
    let (plain, nullable) =
        (json!({ "type": "string" }), json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }));

    let (request, response) = both_ways(nullable.clone(), plain.clone());
    assert_eq!(request, ["narrower POST /things body: null is refused"]);
    assert_eq!(response, NOTHING);

    let (request, response) = both_ways(plain, nullable);
    assert_eq!(request, ["extra POST /things body: null"]);
    assert_eq!(response, ["wider POST /things 200: may be null"]);
}

#[test]
fn every_way_of_writing_null_is_the_same() {
    let ways = [
        json!({ "type": ["string", "null"] }),
        json!({ "type": "string", "nullable": true }),
        json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }),
        json!({ "oneOf": [{ "type": "string" }, { "enum": [null] }] }),
        json!({ "allOf": [{ "type": "string" }], "nullable": true }),
    ];

    for (theirs, ours) in ways.iter().flat_map(|a| ways.iter().map(move |b| (a, b))) {
        let (request, response) = both_ways(theirs.clone(), ours.clone());
        assert_eq!((request.as_slice(), response.as_slice()), ([].as_slice(), [].as_slice()), "{theirs} and {ours}");
    }
}

#[test]
fn types_are_compared_and_numbers_hold_integers() {
    let of = |name: &str| json!({ "type": name });

    let (request, response) = both_ways(of("integer"), of("number"));
    assert_eq!(request, NOTHING);
    assert_eq!(response, ["missing POST /things 200: integer", "wider POST /things 200: may be number"]);

    let (request, response) = both_ways(of("number"), of("integer"));
    assert_eq!(request, ["narrower POST /things body: number is refused", "extra POST /things body: integer"]);
    assert_eq!(response, NOTHING);

    let (request, _) = both_ways(of("boolean"), of("string"));
    assert_eq!(request, ["narrower POST /things body: boolean is refused", "extra POST /things body: string"]);
}

#[test]
fn values_are_missing_new_or_a_closed_list_that_was_none() {
    let of = |values: &[&str]| json!({ "type": "string", "enum": values });

    let (request, response) = both_ways(of(&["a", "b"]), of(&["b", "c"]));
    assert_eq!(request, ["missing POST /things body value a", "extra POST /things body value c"]);
    assert_eq!(response, ["missing POST /things 200 value a", "wider POST /things 200 value c"]);

    let (request, response) = both_ways(json!({ "type": "string" }), of(&["a", "b"]));
    assert_eq!(request, ["narrower POST /things body: takes only a, b"]);
    assert_eq!(response, NOTHING);

    let (request, response) = both_ways(of(&["a"]), json!({ "type": "string" }));
    assert_eq!(request, ["extra POST /things body: any string"]);
    assert_eq!(response, ["wider POST /things 200: any string"]);

    let (request, response) = both_ways(json!({ "const": "a" }), of(&["a"]));
    assert_eq!((request.len(), response.len()), (0, 0));
}

#[test]
fn formats_patterns_and_bounds_narrow_what_is_taken() {
    let (request, response) = both_ways(
        json!({ "type": "string" }),
        json!({ "type": "string", "format": "uuid", "pattern": "^a", "maxLength": 3, "minLength": 0 }),
    );
    assert_eq!(
        request,
        [
            "narrower POST /things body: maxLength 3",
            "narrower POST /things body: must be a uuid",
            "narrower POST /things body: must match ^a",
        ]
    );
    assert_eq!(response, NOTHING);

    let of = |low: i64, high: i64| json!({ "type": "integer", "format": "int64", "minimum": low, "maximum": high });
    let (request, _) = both_ways(of(1, 100), of(2, 50));
    assert_eq!(request, ["narrower POST /things body: maximum 50", "narrower POST /things body: minimum 2"]);
    let (request, _) = both_ways(of(1, 100), of(0, 200));
    assert_eq!(request, NOTHING);

    let (request, response) =
        both_ways(json!({ "type": "string", "format": "date-time" }), json!({ "type": "string" }));
    assert_eq!(request, NOTHING);
    assert_eq!(response, ["wider POST /things 200: is not always a date-time"]);
}

#[test]
fn what_may_be_anything_is_narrowed_by_a_type_and_lost_without_one() {
    let (request, response) = both_ways(json!({}), json!({ "type": "object" }));
    assert_eq!(request, ["narrower POST /things body: takes only object"]);
    assert_eq!(response, NOTHING);

    let (request, response) = both_ways(json!({ "type": "object" }), json!({}));
    assert_eq!(request, ["missing POST /things body: nothing is said about it; theirs: object"]);
    assert_eq!(response, ["missing POST /things 200: nothing is said about it; theirs: object"]);
}

#[test]
fn items_and_other_fields_are_followed() {
    let list = |items: Value| json!({ "type": "array", "items": items });
    let (request, _) = both_ways(list(json!({ "type": ["string", "null"] })), list(json!({ "type": "string" })));
    assert_eq!(request, ["narrower POST /things body[]: null is refused"]);

    let map = |rest: Value| json!({ "type": "object", "additionalProperties": rest });
    let (request, _) = both_ways(map(json!(true)), map(json!({ "type": "string" })));
    assert_eq!(request, ["narrower POST /things body{}: takes only string"]);
    let (request, response) = both_ways(map(json!({})), map(json!(false)));
    assert_eq!(request, ["narrower POST /things body{}: other fields are refused"]);
    assert_eq!(response, NOTHING);
    let (_, response) = both_ways(map(json!({ "type": "string" })), map(json!({ "type": ["string", "null"] })));
    assert_eq!(response, ["wider POST /things 200{}: may be null"]);
    let (_, response) = both_ways(map(json!({ "type": "string" })), map(json!(true)));
    assert_eq!(response, ["missing POST /things 200{}: nothing is said about it; theirs: string"]);
    let closed = json!({ "type": "object", "additionalProperties": false });
    let (_, response) = both_ways(closed, object(json!({ "a": {} }), &[]));
    assert_eq!(response, ["wider POST /things 200.a: is new"]);
}

#[test]
fn a_field_with_another_default_is_a_change_in_requests_only() {
    let of = |default: Value| object(json!({ "a": { "type": "integer", "default": default } }), &[]);

    let (request, response) = both_ways(of(json!(1)), of(json!(2)));
    assert_eq!(request, ["changed POST /things body.a: the default is 2 instead of 1"]);
    assert_eq!(response, NOTHING);
    assert_eq!(both_ways(of(json!(1)), of(json!(1.0))).0, NOTHING);
    assert_eq!(both_ways(of(Value::Null), of(json!(1))).0, NOTHING);
}

#[test]
fn parts_of_all_of_are_one_schema() {
    let whole = object(json!({ "a": { "type": "string" }, "b": { "type": "integer" } }), &["a", "b"]);
    let parts = json!({ "allOf": [
        object(json!({ "a": { "type": "string" } }), &["a"]),
        object(json!({ "b": { "type": "integer" } }), &["b"]),
    ] });

    let (request, response) = both_ways(whole.clone(), parts.clone());
    assert_eq!((request.len(), response.len()), (0, 0), "{request:?} {response:?}");
    let (request, response) = both_ways(parts, whole);
    assert_eq!((request.len(), response.len()), (0, 0), "{request:?} {response:?}");
}

#[test]
fn members_of_a_union_are_paired_by_the_field_that_tells_them_apart() {
    let text = object(json!({ "type": { "const": "text" }, "content": { "type": "string" } }), &["content"]);
    let data = object(json!({ "type": { "const": "data" }, "content": { "type": "object" } }), &["content"]);
    let tool = object(json!({ "type": { "const": "tool" } }), &[]);

    let theirs = json!({ "anyOf": [text, data] });
    let ours = json!({ "oneOf": [tool, data, text] });
    let (request, response) = both_ways(theirs, ours.clone());
    assert_eq!(request, ["extra POST /things body: object"]);
    assert_eq!(response, ["wider POST /things 200: may be object"]);

    let (request, response) = both_ways(ours, json!({ "oneOf": [text, tool] }));
    assert_eq!(request, ["missing POST /things body: object"]);
    assert_eq!(response, ["missing POST /things 200: object"]);
}

#[test]
fn members_of_a_union_that_nothing_tells_apart_are_paired_by_what_differs_least() {
    let short = object(json!({ "a": { "type": "string" } }), &["a"]);
    let long = object(json!({ "a": { "type": "string" }, "b": { "type": "string" } }), &["a", "b"]);

    let (request, response) = both_ways(json!({ "anyOf": [short, long] }), json!({ "anyOf": [long, short] }));

    assert_eq!((request.len(), response.len()), (0, 0), "{request:?} {response:?}");
}

#[test]
fn of_several_answers_that_look_like_one_of_theirs_one_is_it_and_the_others_are_new() {
    let whole = object(json!({ "a": { "type": "string" }, "b": { "type": "string" } }), &["a", "b"]);
    let other = object(json!({ "a": { "type": "string" } }), &["a"]);

    let (_, response) = both_ways(whole.clone(), json!({ "oneOf": [other, whole] }));
    assert_eq!(response, ["wider POST /things 200: may be object"]);

    let more = object(json!({ "a": { "type": "string" }, "b": { "type": "string" }, "c": {} }), &["a", "b"]);
    let (_, response) = both_ways(whole.clone(), json!({ "oneOf": [more, whole] }));
    assert_eq!(response, NOTHING);
}

#[test]
fn a_difference_in_a_component_is_named_by_the_component_and_told_once() {
    let operation = |name: &str| {
        let list = json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{name}") } });
        json!({ "requestBody": content(&list), "responses": { "200": content(&list), "201": content(&list) } })
    };
    let theirs = document(&operation("Thing"), &json!({ "Thing": object(json!({ "a": {}, "b": {} }), &[]) }));
    let ours = document(&operation("Body"), &json!({ "Body": object(json!({ "a": {} }), &[]) }));

    assert_eq!(found(&theirs, &ours), ["missing request Thing.b", "missing response Thing.b"]);
}

#[test]
fn a_component_that_contains_itself_is_compared_to_the_end() {
    let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let filter = |leaf: Value| {
        let and = |other: &str| {
            object(
                json!({ "and": { "type": "array", "items": { "anyOf": [to("A"), to("B")] } }, "x": leaf, other: {} }),
                &[],
            )
        };
        json!({ "A": and("p"), "B": and("q") })
    };
    let operation = json!({ "requestBody": content(&json!({ "anyOf": [to("A"), to("B")] })), "responses": {} });
    let theirs = document(&operation, &filter(json!({ "type": ["string", "null"] })));
    let ours = document(&operation, &filter(json!({ "type": "string" })));

    assert_eq!(
        found(&theirs, &ours),
        ["narrower request A.x: null is refused", "narrower request B.x: null is refused"]
    );
}

#[test]
fn what_stands_beside_a_reference_counts() {
    let operation = |field: Value| {
        let body = object(json!({ "status": field }), &[]);
        json!({ "requestBody": content(&body), "responses": {} })
    };
    let components = json!({ "Status": { "type": "string", "enum": ["on", "off"] } });
    let theirs = document(&operation(json!({ "$ref": "#/components/schemas/Status", "default": "on" })), &components);

    let ours = json!({ "allOf": [{ "$ref": "#/components/schemas/Status" }], "default": "on" });
    assert_eq!(found(&theirs, &document(&operation(ours), &components)), NOTHING);
    let ours = json!({ "$ref": "#/components/schemas/Status", "default": "off" });
    assert_eq!(
        found(&theirs, &document(&operation(ours), &components)),
        ["changed POST /things body.status: the default is \"off\" instead of \"on\""]
    );
}
