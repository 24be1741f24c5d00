use std::borrow::Cow;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::redact::{is_secret, redact};

/// Longest text of one field, in characters.
const FIELD_LIMIT: usize = 4096;

const MESSAGE: &str = "message";

/// Names a line has anyway; fields called so are written with a `field_` before.
const RESERVED: [&str; 5] = ["time", "level", "name", "pathname", "lineno"];

/// Writes each event as one line, with the fields of the spans it happened in. Fields with secret names are left out,
/// secrets in texts blotted out, long texts cut.
pub(super) struct Lines<W> {
    json: bool,
    labels: Vec<(&'static str, String)>,
    write: W,
}

impl<W: Fn(&str)> Lines<W> {
    /// `write` gets whole lines. `labels` are on each of them.
    pub(super) fn new(json: bool, labels: Vec<(&'static str, String)>, write: W) -> Self {
        Self { json, labels, write }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_missing(outer);
            }
        }
        let line = if self.json { self.as_json(event.metadata(), &fields) } else { as_text(event.metadata(), &fields) };
        (self.write)(&line);
    }
}

impl<W> Lines<W> {
    fn as_json(&self, metadata: &Metadata<'_>, fields: &Fields) -> String {
        let mut line = JsonLine::new();
        line.text("time", &now());
        line.text("level", metadata.level().as_str());
        line.text("name", metadata.target());
        for (name, value) in &fields.0 {
            let name: Cow<'_, str> =
                if RESERVED.contains(name) { format!("field_{name}").into() } else { (*name).into() };
            match value {
                Value::Bare(text) => line.bare(&name, text),
                Value::Text(text) => line.text(&name, text),
            }
        }
        for (name, value) in &self.labels {
            line.text(name, value);
        }
        // Absolute paths are those of libraries on the machine that built the program.
        if let Some(file) = metadata.file().filter(|file| !file.starts_with('/')) {
            line.text("pathname", file);
            if let Some(number) = metadata.line() {
                line.bare("lineno", &number.to_string());
            }
        }
        line.end()
    }
}

fn as_text(metadata: &Metadata<'_>, fields: &Fields) -> String {
    let message = fields.0.iter().find(|(name, _)| *name == MESSAGE).map_or("", |(_, value)| value.as_str());
    let mut line = format!("{} {:>5} {}: ", now(), metadata.level().as_str(), metadata.target());
    push_on_one_line(&mut line, message);
    for (name, value) in fields.0.iter().filter(|(name, _)| *name != MESSAGE) {
        let text = value.as_str();
        let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        let _ = if plain { write!(line, " {name}={text}") } else { write!(line, " {name}={text:?}") };
    }
    line.push('\n');
    line
}

/// Whoever puts line breaks or terminal codes into a text does not write log lines with it.
fn push_on_one_line(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

fn now() -> String {
    let mut text = String::with_capacity(32);
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

struct JsonLine(String);

impl JsonLine {
    fn new() -> Self {
        let mut line = String::with_capacity(512);
        line.push('{');
        Self(line)
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.0.push_str(&quoted(text));
    }

    /// A number or boolean.
    fn bare(&mut self, name: &str, text: &str) {
        self.name(name);
        self.0.push_str(text);
    }

    fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// What may be shown of an event or span, in order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

enum Value {
    /// Written as it is: numbers and booleans.
    Bare(String),
    /// Already clean.
    Text(String),
}

impl Value {
    fn as_str(&self) -> &str {
        match self {
            Self::Bare(text) | Self::Text(text) => text,
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        match self {
            Self::Bare(text) => Self::Bare(text.clone()),
            Self::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl Fields {
    fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if !self.0.iter().any(|(known, _)| known == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn set(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        let name = field.name();
        if is_secret(name) {
            return;
        }
        let value = value();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        self.set(field, || {
            if value.is_finite() { Value::Bare(value.to_string()) } else { Value::Text(value.to_string()) }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, || Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, || Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, || Value::Bare(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, || Value::Text(clean(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, || {
            let mut text = value.to_string();
            let mut source = value.source();
            while let Some(cause) = source {
                let _ = write!(text, ": {cause}");
                source = cause.source();
            }
            Value::Text(clean(&text))
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, || Value::Text(clean(&format!("{value:?}"))));
    }
}

fn clean(text: &str) -> String {
    let text = redact(text);
    match text.char_indices().nth(FIELD_LIMIT) {
        None => text.into_owned(),
        Some((end, _)) => {
            format!("{}...[truncated {} chars]", &text[..end], text[end..].chars().count())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value as Json, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The lines that `log` writes.
    fn lines(json: bool, log: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let labels = vec![("dd.service", "agentex".to_owned())];
        let layer = Lines::new(json, labels, move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let written = written.lock().unwrap().clone();
        assert!(written.iter().all(|line| line.matches('\n').count() == 1 && line.ends_with('\n')), "{written:?}");
        written
    }

    fn json_line(log: impl FnOnce()) -> Json {
        serde_json::from_str(&lines(true, log)[0]).unwrap()
    }

    #[test]
    fn a_json_line_has_the_event_its_spans_and_the_labels() {
        let line = json_line(|| {
            let _outer = tracing::error_span!("request", request_id = "abc", route = "outer").entered();
            let _inner = tracing::error_span!("call", route = "inner").entered();
            tracing::info!(ms = 5, ok = true, name = "n", "done");
        });

        assert_eq!(line["message"], "done");
        assert_eq!(
            (&line["level"], &line["request_id"], &line["route"]),
            (&json!("INFO"), &json!("abc"), &json!("inner"))
        );
        assert_eq!((&line["ms"], &line["ok"], &line["dd.service"]), (&json!(5), &json!(true), &json!("agentex")));
        assert_eq!((&line["field_name"], line["name"].as_str().unwrap().starts_with("agentex")), (&json!("n"), true));
        assert!(line["time"].as_str().unwrap().ends_with('Z') && line["lineno"].is_u64());
    }

    #[test]
    fn secrets_are_left_out_by_name_and_blotted_out_in_texts() {
        let line = json_line(|| {
            let _span = tracing::error_span!("request", api_key = "s3cret").entered();
            tracing::info!(token = "s3cret", headers = ?["cookie: s3cret"], "password=s3cret at redis://:s3cret@h");
        });

        assert!(!line.to_string().contains("s3cret"), "{line}");
        assert!(line.get("token").is_none() && line.get("api_key").is_none());
        assert_eq!(line["message"], "password=[REDACTED] at redis://[REDACTED]@h");
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let line = json_line(|| tracing::info!(text = "é".repeat(4100), "x"));

        let text = line["text"].as_str().unwrap();
        assert!(text.ends_with("é...[truncated 4 chars]"), "{}", &text[text.len() - 40..]);
    }

    #[test]
    fn errors_are_shown_with_their_causes() {
        let cause = std::io::Error::other("no disk");
        let error = agentex::BuildError::DataFolder { folder: "d".into(), source: cause };

        let line = json_line(|| tracing::info!(error = &error as &dyn std::error::Error, "failed"));

        assert_eq!(line["error"], "data folder d cannot be used: no disk");
    }

    #[test]
    fn text_lines_cannot_be_forged() {
        let written = lines(false, || tracing::warn!(agent = "a\nb", "one\n\u{1b}[31mtwo"));

        assert!(written[0].ends_with(": one\\n\\u{1b}[31mtwo agent=\"a\\nb\"\n"), "{written:?}");
        assert!(written[0].contains("  WARN agentex"), "{written:?}");
    }
}
