//! What a schema takes, however it is written: `$ref`, `allOf`, `anyOf`, `oneOf`, `nullable` and lists of types are taken
//! apart here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use crate::document::Document;

/// Schemas that hold at the same time: one, or one with what was written beside it.
pub(crate) type Schemas<'a> = Vec<&'a Value>;

/// How deep references and combinations may nest before the rest counts as anything.
const MAX_DEPTH: usize = 48;

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    Array,
    Object,
}

/// What schemas take together.
#[derive(Debug)]
pub(crate) enum Shape<'a> {
    Anything,
    /// One of these; never two of one type from one place.
    OneOf(Vec<Variant<'a>>),
}

/// One type with everything that restricts it.
#[derive(Debug, Clone)]
pub(crate) struct Variant<'a> {
    /// The component it comes from.
    pub(crate) name: Option<&'a str>,
    pub(crate) kind: Type,
    parts: Schemas<'a>,
}

/// What an object takes besides the fields it names.
#[derive(Debug)]
pub(crate) enum Rest<'a> {
    Open,
    Closed,
    Each(Schemas<'a>),
}

/// A variant before its type is known.
#[derive(Clone, Default)]
struct Branch<'a> {
    name: Option<&'a str>,
    null: bool,
    parts: Schemas<'a>,
}

impl<'a> Shape<'a> {
    pub(crate) fn of(document: &'a Document, schemas: &[&'a Value]) -> Self {
        let mut variants = Vec::new();
        for branch in all_of(document, schemas, 0) {
            if branch.null {
                variants.push(Variant { name: branch.name, kind: Type::Null, parts: Vec::new() });
                continue;
            }
            let Some(types) = branch.types() else { return Self::Anything };
            let split = types.into_iter().map(|kind| Variant { name: branch.name, kind, parts: branch.parts.clone() });
            // A type of which no value is allowed is not taken.
            variants.extend(split.filter(|variant| variant.values().is_none_or(|values| !values.is_empty())));
        }
        Self::OneOf(variants)
    }

    /// The same without `null`, which parameters cannot say.
    pub(crate) fn without_null(self) -> Self {
        match self {
            Self::Anything => Self::Anything,
            Self::OneOf(mut variants) => {
                variants.retain(|variant| variant.kind != Type::Null);
                Self::OneOf(variants)
            }
        }
    }
}

impl<'a> Variant<'a> {
    /// The only values it has, if it says which. For `null` there is nothing to say.
    pub(crate) fn values(&self) -> Option<Vec<&'a Value>> {
        if self.kind == Type::Null {
            return None;
        }
        let lists = self.parts.iter().filter_map(|part| values_of(part));
        lists
            .reduce(|mut kept, other| {
                kept.retain(|value| other.contains(value));
                kept
            })
            .map(|values| values.into_iter().filter(|value| self.kind.covers(Type::of(value))).collect())
    }

    /// What a keyword with text says.
    pub(crate) fn text(&self, keyword: &str) -> Option<&'a str> {
        self.parts.iter().find_map(|part| part.get(keyword)?.as_str())
    }

    /// The strictest of the numbers a keyword that begins with `min`, `max` or `exclusive` says.
    pub(crate) fn bound(&self, keyword: &str, lower: bool) -> Option<f64> {
        let stated = self.parts.iter().filter_map(|part| part.get(keyword)?.as_f64());
        stated.reduce(if lower { f64::max } else { f64::min })
    }

    pub(crate) fn fields(&self) -> BTreeMap<&'a str, Schemas<'a>> {
        let mut fields: BTreeMap<&str, Schemas<'_>> = BTreeMap::new();
        for properties in self.parts.iter().filter_map(|part| part.get("properties")?.as_object()) {
            for (name, schema) in properties {
                fields.entry(name).or_default().push(schema);
            }
        }
        fields
    }

    pub(crate) fn required(&self) -> BTreeSet<&'a str> {
        let lists = self.parts.iter().filter_map(|part| part.get("required")?.as_array());
        lists.flatten().filter_map(Value::as_str).collect()
    }

    pub(crate) fn rest(&self) -> Rest<'a> {
        let stated = self.parts.iter().filter_map(|part| part.get("additionalProperties"));
        let mut each = Vec::new();
        for schema in stated {
            match schema {
                Value::Bool(false) => return Rest::Closed,
                Value::Object(keywords) if !keywords.is_empty() => each.push(schema),
                _ => {}
            }
        }
        if each.is_empty() { Rest::Open } else { Rest::Each(each) }
    }

    pub(crate) fn items(&self) -> Schemas<'a> {
        self.parts.iter().filter_map(|part| part.get("items")).collect()
    }

    /// Tells this variant from others with the same name; the same for as long as the document lives.
    pub(crate) fn address(&self) -> Vec<*const Value> {
        self.parts.iter().map(|part| std::ptr::from_ref(*part)).collect()
    }

    /// Whether a field has values here and there, and none in common: then the two never are the same thing.
    pub(crate) fn is_told_apart_from(&self, other: &Variant<'_>, here: &Document, there: &Document) -> bool {
        let theirs = other.fields();
        self.fields().iter().any(|(name, schemas)| {
            let tags = theirs.get(name).and_then(|schemas| tags_of(there, schemas));
            match (tags_of(here, schemas), tags) {
                (Some(ours), Some(theirs)) => !ours.iter().any(|value| theirs.contains(value)),
                _ => false,
            }
        })
    }
}

impl Type {
    /// Whether every value of `other` is one of this type.
    pub(crate) fn covers(self, other: Self) -> bool {
        self == other || (self == Self::Number && other == Self::Integer)
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() || number.is_u64() => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "string",
            Self::Array => "array",
            Self::Object => "object",
        })
    }
}

impl fmt::Display for Variant<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.kind)?;
        match self.name {
            Some(name) => write!(out, " {name}"),
            None => Ok(()),
        }
    }
}

impl Branch<'_> {
    /// The types that all parts agree on, or `None` when none of them says any.
    fn types(&self) -> Option<BTreeSet<Type>> {
        let stated = self.parts.iter().filter_map(|part| types_of(part));
        stated.reduce(|kept, other| {
            let both = kept.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
            both.filter_map(|(a, b)| if a.covers(b) { Some(b) } else { b.covers(a).then_some(a) }).collect()
        })
    }
}

fn all_of<'a>(document: &'a Document, schemas: &[&'a Value], depth: usize) -> Vec<Branch<'a>> {
    schemas
        .iter()
        .fold(vec![Branch::default()], |branches, schema| both(&branches, &alternatives(document, schema, depth)))
}

/// The ways in which a value can satisfy `schema`.
fn alternatives<'a>(document: &'a Document, schema: &'a Value, depth: usize) -> Vec<Branch<'a>> {
    if depth > MAX_DEPTH {
        return vec![Branch::default()];
    }
    let mut branches = vec![Branch { parts: vec![schema], ..Branch::default() }];
    if let (Some(name), target) = document.resolve_named(schema) {
        let mut targets = alternatives(document, target, depth + 1);
        for target in &mut targets {
            // The innermost name says which member of a union it is.
            target.name = target.name.or(Some(name));
        }
        branches = both(&branches, &targets);
    }
    if let Some(schemas) = schema.get("allOf").and_then(Value::as_array) {
        let schemas: Schemas<'_> = schemas.iter().collect();
        branches = both(&branches, &all_of(document, &schemas, depth + 1));
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema.get(keyword).and_then(Value::as_array) {
            let members: Vec<_> = schemas.iter().flat_map(|schema| alternatives(document, schema, depth + 1)).collect();
            branches = both(&branches, &members);
        }
    }
    // The way of OpenAPI 3.0 to say that null is taken, too.
    if schema["nullable"] == json!(true) {
        branches.push(Branch { null: true, ..Branch::default() });
    }
    branches
}

/// Every way of satisfying one of `left` and one of `right`.
fn both<'a>(left: &[Branch<'a>], right: &[Branch<'a>]) -> Vec<Branch<'a>> {
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| Branch {
            name: b.name.or(a.name),
            null: a.null || b.null,
            parts: a.parts.iter().chain(&b.parts).copied().collect(),
        })
        .collect()
}

fn types_of(schema: &Value) -> Option<BTreeSet<Type>> {
    match schema.get("type") {
        Some(Value::String(name)) => Some(Type::named(name).into_iter().collect()),
        Some(Value::Array(names)) => Some(names.iter().filter_map(|name| Type::named(name.as_str()?)).collect()),
        _ => {
            let has = |keyword| schema.get(keyword).is_some();
            if let Some(values) = values_of(schema) {
                Some(values.into_iter().map(Type::of).collect())
            } else if has("properties") || has("additionalProperties") || has("required") {
                Some([Type::Object].into())
            } else {
                has("items").then(|| [Type::Array].into())
            }
        }
    }
}

fn values_of(schema: &Value) -> Option<Vec<&Value>> {
    match schema.get("enum").and_then(Value::as_array) {
        Some(values) => Some(values.iter().collect()),
        None => schema.get("const").map(|value| vec![value]),
    }
}

/// The values of a field that has a closed list of them.
fn tags_of<'a>(document: &'a Document, schemas: &[&'a Value]) -> Option<Vec<&'a Value>> {
    match Shape::of(document, schemas) {
        Shape::Anything => None,
        Shape::OneOf(variants) => {
            let lists: Option<Vec<_>> = variants.iter().map(Variant::values).collect();
            lists.map(|lists| lists.into_iter().flatten().collect())
        }
    }
}
