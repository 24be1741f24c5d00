//! An OpenAPI document: its operations, and what its references mean.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

/// How many references may follow each other before they count as a ring.
const MAX_HOPS: usize = 32;

/// A document in which every reference leads somewhere.
#[derive(Debug)]
pub(crate) struct Document {
    root: Value,
}

/// One operation of a document.
#[derive(Debug, Clone)]
pub(crate) struct Operation<'a> {
    /// Method and path as written, for people.
    pub(crate) title: String,
    path: &'a str,
    item: &'a Map<String, Value>,
    body: &'a Value,
}

/// One parameter of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) required: bool,
    pub(crate) schema: &'a Value,
}

/// A request body, or the answer with one status: schemas by media type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content<'a> {
    pub(crate) required: bool,
    pub(crate) schemas: BTreeMap<&'a str, &'a Value>,
}

/// A schema that says nothing.
static ANYTHING: Value = Value::Bool(true);

impl Document {
    /// Reads a file of JSON or YAML.
    ///
    /// # Errors
    /// A file that cannot be read, is neither, has no `paths`, or has a reference that leads nowhere or in a ring.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let root: Value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).context("not JSON")?
        } else {
            serde_saphyr::from_str(text).context("not YAML")?
        };
        ensure!(root["paths"].is_object(), "not an OpenAPI document: it has no paths");
        let document = Self { root };
        document.check_references(&document.root)?;
        Ok(document)
    }

    /// Operations by method and path, the names of path parameters taken out: they are not on the wire.
    pub(crate) fn operations(&self) -> BTreeMap<String, Operation<'_>> {
        let paths = self.root["paths"].as_object().into_iter().flatten();
        paths
            .filter_map(|(path, item)| Some((path, item.as_object()?)))
            .flat_map(|(path, item)| {
                METHODS.into_iter().filter_map(move |method| Some((path, item, method, item.get(method)?)))
            })
            .map(|(path, item, method, body)| {
                let method = method.to_uppercase();
                let key = format!("{method} {}", nameless(path));
                (key, Operation { title: format!("{method} {path}"), path, item, body })
            })
            .collect()
    }

    /// Path parameters in the order of the path.
    pub(crate) fn path_parameters<'a>(&'a self, operation: &Operation<'a>) -> Vec<Parameter<'a>> {
        let mut found = self.parameters(operation, "path");
        // Names without a declaration are sorted to the front and leave out nothing that is declared.
        found.sort_by_key(|parameter| operation.path.find(&format!("{{{}}}", parameter.name)));
        found
    }

    /// Parameters of an operation that are in `place` (`path`, `query`, `header`, `cookie`).
    pub(crate) fn parameters<'a>(&'a self, operation: &Operation<'a>, place: &str) -> Vec<Parameter<'a>> {
        let of = |holder: Option<&'a Value>| holder.and_then(Value::as_array).into_iter().flatten();
        let mut found: Vec<Parameter<'a>> = Vec::new();
        // The operation's own come last: they override those of the path.
        for parameter in of(operation.item.get("parameters")).chain(of(operation.body.get("parameters"))) {
            let parameter = self.resolve(parameter);
            let Some(name) = parameter["name"].as_str() else { continue };
            if parameter["in"] == *place {
                found.retain(|earlier| earlier.name != name);
                let required = parameter["required"] == Value::Bool(true);
                found.push(Parameter { name, required, schema: parameter.get("schema").unwrap_or(&ANYTHING) });
            }
        }
        found
    }

    pub(crate) fn request<'a>(&'a self, operation: &Operation<'a>) -> Option<Content<'a>> {
        Some(self.content(operation.body.get("requestBody")?))
    }

    /// Answers by status.
    pub(crate) fn responses<'a>(&'a self, operation: &Operation<'a>) -> BTreeMap<&'a str, Content<'a>> {
        let responses = operation.body["responses"].as_object().into_iter().flatten();
        responses.map(|(status, response)| (status.as_str(), self.content(response))).collect()
    }

    /// What a schema stands for, and the name of the component it refers to, if it is a reference.
    pub(crate) fn resolve_named<'a>(&'a self, schema: &'a Value) -> (Option<&'a str>, &'a Value) {
        match schema.get("$ref").and_then(Value::as_str) {
            None => (None, schema),
            Some(reference) => {
                let name = reference.rsplit('/').next();
                (name, self.target(reference).expect("references were followed when the document was read"))
            }
        }
    }

    fn resolve<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        while let (Some(_), target) = self.resolve_named(value) {
            value = target;
        }
        value
    }

    fn content<'a>(&'a self, holder: &'a Value) -> Content<'a> {
        let holder = self.resolve(holder);
        let media = holder["content"].as_object().into_iter().flatten();
        let schemas = media.map(|(media, content)| (media.as_str(), content.get("schema").unwrap_or(&ANYTHING)));
        Content { required: holder["required"] == Value::Bool(true), schemas: schemas.collect() }
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    fn check_references(&self, value: &Value) -> anyhow::Result<()> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.check_references(item)),
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    self.follow(reference)?;
                }
                fields.values().try_for_each(|part| self.check_references(part))
            }
            _ => Ok(()),
        }
    }

    fn follow(&self, first: &str) -> anyhow::Result<()> {
        let mut reference = first;
        for _ in 0..MAX_HOPS {
            let target = self.target(reference).with_context(|| format!("{reference} leads nowhere"))?;
            match target.get("$ref").and_then(Value::as_str) {
                None => return Ok(()),
                Some(next) => reference = next,
            }
        }
        bail!("{first} leads in a ring")
    }
}

impl<'a> Operation<'a> {
    pub(crate) fn id(&self) -> Option<&'a str> {
        self.body["operationId"].as_str()
    }
}

/// A path with the names of its parameters taken out.
fn nameless(path: &str) -> String {
    let segments =
        path.split('/').map(|segment| if segment.starts_with('{') && segment.ends_with('}') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}
