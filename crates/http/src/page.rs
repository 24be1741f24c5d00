//! The API document as a page for people: plain HTML without scripts, fonts or styles from elsewhere, so that it works
//! where there is no internet and shows nothing to third parties.

use std::fmt::Write as _;

use serde_json::Value;
use utoipa::openapi::OpenApi;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    summary{cursor:pointer;padding:.25rem 0}code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
    pre{background:#8882;padding:.75rem;overflow:auto}table{border-collapse:collapse}\
    td,th{text-align:left;padding:.15rem .75rem .15rem 0;vertical-align:top}.m{display:inline-block;width:4.5rem}\
    details details{margin-left:1rem}:root{color-scheme:light dark}";

/// Renders `document`.
pub(crate) fn render(document: &OpenApi) -> String {
    let document = serde_json::to_value(document).expect("the document is built of maps with text keys");
    let title = escaped(document["info"]["title"].as_str().unwrap_or_default());
    let version = escaped(document["info"]["version"].as_str().unwrap_or_default());
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><h1>{title} {version}</h1><p>The same for programs: <a href=\"openapi.json\">openapi.json</a></p>"
    );
    let mut tag = "";
    for (shown_tag, method, path, operation) in operations(&document) {
        if shown_tag != tag {
            tag = shown_tag;
            let _ = write!(page, "<h2>{}</h2>", escaped(tag));
        }
        render_operation(&mut page, method, path, operation);
    }
    page.push_str("<h2>Types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = escaped(name);
        let _ = write!(page, "<details id=\"{name}\"><summary><code>{name}</code></summary>");
        let _ = write!(page, "<pre>{}</pre></details>", escaped(&format!("{schema:#}")));
    }
    page.push_str("</body></html>");
    page
}

/// Every operation with its tag, method and path, grouped by tag.
fn operations(document: &Value) -> Vec<(&str, &str, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let tag = operation["tags"][0].as_str().unwrap_or_default();
                operations.push((tag, method, path.as_str(), operation));
            }
        }
    }
    operations.sort_by_key(|(tag, ..)| *tag);
    operations
}

fn render_operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |name: &str| escaped(operation[name].as_str().unwrap_or_default());
    let (method, path) = (method.to_uppercase(), escaped(path));
    let _ = write!(
        page,
        "<details><summary><code class=\"m\">{method}</code><code>{path}</code> {}</summary><p>{}</p>",
        text("summary"),
        text("description")
    );
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
        page.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            let text = |name: &str| escaped(parameter[name].as_str().unwrap_or_default());
            let (name, place, description) = (text("name"), text("in"), text("description"));
            let _ = write!(page, "<tr><td><code>{name}</code></td><td>{place}</td><td>{description}</td></tr>");
        }
        page.push_str("</table>");
    }
    let sent = &operation["requestBody"]["content"];
    if !sent.is_null() {
        let _ = write!(page, "<p>Body: {}</p>", types(sent));
    }
    page.push_str("<table><tr><th>Status</th><th></th><th></th></tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let description = escaped(response["description"].as_str().unwrap_or_default());
        let body = types(&response["content"]);
        let _ = write!(page, "<tr><td>{}</td><td>{description}</td><td>{body}</td></tr>", escaped(status));
    }
    page.push_str("</table></details>");
}

/// Links to the types of a content object.
fn types(content: &Value) -> String {
    let mut names: Vec<&str> = Vec::new();
    for media in content.as_object().into_iter().flat_map(|content| content.values()) {
        references(media, &mut names);
    }
    names.dedup();
    let links = names.into_iter().map(|name| {
        let name = escaped(name);
        format!("<a href=\"#{name}\"><code>{name}</code></a>")
    });
    links.collect::<Vec<_>>().join(" ")
}

fn references<'a>(value: &'a Value, names: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(target) if key == "$ref" => names.extend(target.rsplit('/').next()),
                    _ => references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
