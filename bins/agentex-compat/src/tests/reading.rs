use super::*;

#[test]
fn yaml_and_json_of_one_document_are_the_same_document() {
    let yaml = "
openapi: 3.1.0
info: {title: Things, version: 0.1.0}
paths:
  /things:
    get:
      operationId: list
      parameters:
      - {name: limit, in: query, required: false, schema: {anyOf: [{type: integer, minimum: 1}, {type: 'null'}], default: 50}}
      responses:
        '200':
          content:
            application/json:
              schema: {type: object, properties: {on: {type: string}, 'yes': {type: 'null'}}}
";
    let json = json!({ "paths": { "/things": { "get": {
        "operationId": "list",
        "parameters": [{ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "default": 50 } }],
        "responses": { "200": content(&json!({ "type": "object", "properties": { "on": { "type": "string" }, "yes": { "type": "null" } } })) },
    } } } });

    let (yaml, json) = (Document::parse(yaml).unwrap(), Document::parse(&json.to_string()).unwrap());

    assert_eq!(found(&yaml, &json), Vec::<String>::new());
    assert_eq!(found(&json, &yaml), Vec::<String>::new());
}

#[test]
fn what_is_no_openapi_document_is_refused() {
    let refusal = |text: &str| format!("{:#}", Document::parse(text).unwrap_err());

    assert!(refusal("{").starts_with("not JSON"));
    assert!(refusal("a: [").starts_with("not YAML"));
    assert_eq!(refusal("{}"), "not an OpenAPI document: it has no paths");
    assert_eq!(refusal("just text"), "not an OpenAPI document: it has no paths");
}

#[test]
fn a_reference_that_leads_nowhere_or_in_a_ring_is_refused() {
    let refusal = |components: Value| {
        let root = json!({ "paths": {}, "components": { "schemas": components } });
        format!("{:#}", Document::parse(&root.to_string()).unwrap_err())
    };
    let to = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });

    assert_eq!(refusal(json!({ "A": to("B") })), "#/components/schemas/B leads nowhere");
    assert_eq!(refusal(json!({ "A": { "$ref": "other.json#/A" } })), "other.json#/A leads nowhere");
    assert_eq!(refusal(json!({ "A": to("B"), "B": to("A") })), "#/components/schemas/B leads in a ring");
}
