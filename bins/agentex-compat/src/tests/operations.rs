use super::*;

fn with_parameters(path: &str, parameters: &Value) -> Document {
    let root = json!({ "paths": { path: { "get": { "parameters": parameters, "responses": {} } } } });
    Document::parse(&root.to_string()).unwrap()
}

#[test]
fn operations_are_missing_or_extra() {
    let root = |paths: Value| Document::parse(&json!({ "paths": paths }).to_string()).unwrap();
    let theirs = root(json!({ "/a": { "get": {}, "post": {} }, "/b": { "get": {} } }));
    let ours = root(json!({ "/a": { "get": {} }, "/c": { "delete": {} } }));

    assert_eq!(found(&theirs, &ours), ["missing GET /b", "missing POST /a", "extra DELETE /c"]);
}

#[test]
fn another_operation_id_is_a_change() {
    let theirs = document(&json!({ "operationId": "make" }), &json!({}));
    let ours = document(&json!({ "operationId": "create" }), &json!({}));

    assert_eq!(found(&theirs, &ours), ["changed POST /things operation id: create instead of make"]);
}

#[test]
fn path_parameters_are_paired_by_position() {
    let path = |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let theirs = with_parameters("/a/{x}/b/{y}", &json!([path("y"), path("x")]));
    let ours = with_parameters("/a/{x}/b/{z}", &json!([path("x"), path("z")]));

    assert_eq!(found(&theirs, &ours), ["changed GET /a/{x}/b/{y} path y: is called z"]);
}

#[test]
fn parameters_are_missing_extra_or_newly_required() {
    let theirs = with_parameters("/a", &json!([{ "name": "gone", "in": "query" }, { "name": "kept", "in": "query" }]));
    let ours = with_parameters(
        "/a",
        &json!([
            { "name": "kept", "in": "query", "required": true },
            { "name": "new", "in": "query" },
            { "name": "needed", "in": "query", "required": true },
            { "name": "gone", "in": "header" },
        ]),
    );

    let expected = [
        "missing GET /a query gone",
        "narrower GET /a query kept: is required",
        "narrower GET /a query needed: is required",
        "extra GET /a header gone",
        "extra GET /a query new",
    ];
    assert_eq!(found(&theirs, &ours), expected);
}

#[test]
fn parameters_of_the_path_and_from_components_count_and_headers_have_no_case() {
    let root = json!({
        "paths": { "/a": {
            "parameters": [{ "$ref": "#/components/parameters/Key" }, { "name": "q", "in": "query", "required": true }],
            "get": { "parameters": [{ "name": "q", "in": "query" }], "responses": {} },
        } },
        "components": { "parameters": { "Key": { "name": "X-Key", "in": "header" } } },
    });
    let theirs = Document::parse(&root.to_string()).unwrap();

    let ours = with_parameters("/a", &json!([{ "name": "x-key", "in": "header" }, { "name": "q", "in": "query" }]));
    assert_eq!(found(&theirs, &ours), Vec::<String>::new());

    let ours = with_parameters("/a", &json!([]));
    assert_eq!(found(&theirs, &ours), ["missing GET /a header X-Key", "missing GET /a query q"]);
}

#[test]
fn null_means_nothing_in_a_parameter() {
    let theirs =
        json!([{ "name": "q", "in": "query", "schema": { "anyOf": [{ "type": "string" }, { "type": "null" }] } }]);
    let ours = json!([{ "name": "q", "in": "query", "schema": { "type": "string" } }]);

    assert_eq!(found(&with_parameters("/a", &theirs), &with_parameters("/a", &ours)), Vec::<String>::new());
}

#[test]
fn another_default_is_a_change() {
    let limit = |schema: Value| with_parameters("/a", &json!([{ "name": "limit", "in": "query", "schema": schema }]));
    let theirs = limit(json!({ "type": "integer", "default": 50 }));

    let silent = limit(json!({ "type": "integer" }));
    assert_eq!(found(&theirs, &silent), ["changed GET /a query limit: the default 50 is not stated"]);
    let other = limit(json!({ "type": "integer", "default": 10 }));
    assert_eq!(found(&theirs, &other), ["changed GET /a query limit: the default is 10 instead of 50"]);
    assert_eq!(found(&silent, &theirs), Vec::<String>::new());
}

#[test]
fn a_body_is_missing_extra_or_newly_required() {
    let with = |required: bool| {
        let body = json!({ "required": required, "content": { "application/json": { "schema": {} } } });
        document(&json!({ "requestBody": body, "responses": {} }), &json!({}))
    };
    let without = document(&json!({ "responses": {} }), &json!({}));

    assert_eq!(found(&with(true), &without), ["missing POST /things body"]);
    assert_eq!(found(&without, &with(false)), ["extra POST /things body"]);
    assert_eq!(found(&without, &with(true)), ["narrower POST /things body: is required"]);
    assert_eq!(found(&with(false), &with(true)), ["narrower POST /things body: is required"]);
    assert_eq!(found(&with(true), &with(false)), Vec::<String>::new());
}

#[test]
fn media_types_are_missing_or_extra() {
    let with = |media: &str| {
        document(&json!({ "responses": { "200": { "content": { media: { "schema": {} } } } } }), &json!({}))
    };

    assert_eq!(
        found(&with("application/json"), &with("text/event-stream")),
        ["missing POST /things 200 application/json", "extra POST /things 200 text/event-stream"]
    );
}

#[test]
fn a_status_is_missing_and_a_new_success_is_wider_but_new_failures_are_nobodys_loss() {
    let with = |statuses: &[&str]| {
        let responses: serde_json::Map<_, _> =
            statuses.iter().map(|status| ((*status).to_owned(), json!({}))).collect();
        document(&json!({ "responses": responses }), &json!({}))
    };

    assert_eq!(
        found(&with(&["200", "422"]), &with(&["200", "202", "404"])),
        ["missing POST /things 422", "wider POST /things 202: theirs never answers so"]
    );
    assert_eq!(found(&with(&["200", "422"]), &with(&["200", "default"])), Vec::<String>::new());
}
