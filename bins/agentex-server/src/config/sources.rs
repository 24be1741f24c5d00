use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::settings::{self, Setting};

/// Where a value came from; decides what a problem with it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    DotEnv,
    File(PathBuf),
}

/// What was given for a setting.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Values may be secret.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Given {
    /// What the user knows the setting by.
    pub(crate) fn name_of(&self, setting: &Setting) -> String {
        match &self.origin {
            Origin::Flag => format!("--{}", setting.flag),
            Origin::Environment => setting.name.to_owned(),
            Origin::DotEnv => format!("{} (in .env)", setting.name),
            Origin::File(file) => format!("{} (in {})", setting.key, file.display()),
        }
    }
}

/// One line about one thing that is wrong: what it is called and what is allowed, never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(what: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self(format!("{what}: {allowed}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What everything is read from. Owned by the caller, so that nothing below `main` reads the environment.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Flags by their name without dashes.
    pub(crate) flags: BTreeMap<&'static str, String>,
    /// The configuration file asked for on the command line.
    pub(crate) file: Option<PathBuf>,
    /// The environment of the process.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The folder whose `.env` counts in development.
    pub(crate) folder: PathBuf,
}

/// The variable that names the configuration file when `--config` does not.
pub(crate) const FILE_VARIABLE: &str = "AGENTEX_CONFIG";

/// The winning value of every setting that was given: flags over environment (`.env` over the process's own) over file.
pub(crate) fn collect(sources: &Sources, problems: &mut Vec<Problem>) -> BTreeMap<&'static str, Given> {
    let mut environment = BTreeMap::new();
    for (name, value) in &sources.environment {
        let Some(name) = name.to_str() else { continue };
        if name != FILE_VARIABLE && !settings::all().any(|setting| setting.name == name) {
            continue;
        }
        match value.to_str() {
            Some(value) => drop(environment.insert(name.to_owned(), value.to_owned())),
            None => problems.push(Problem::new(name, "must be UTF-8")),
        }
    }
    let development = environment.get("ENVIRONMENT").is_some_and(|value| value == "development");
    let dot_env = if development { dot_env(&sources.folder.join(".env"), problems) } else { BTreeMap::new() };

    let file = sources.file.clone().or_else(|| {
        let named = dot_env.get(FILE_VARIABLE).or_else(|| environment.get(FILE_VARIABLE));
        named.filter(|path| !path.is_empty()).map(PathBuf::from)
    });
    let in_file = file.as_deref().map(|file| config_file(file, problems)).unwrap_or_default();

    let mut given = BTreeMap::new();
    for setting in settings::all() {
        let from = |text: Option<&String>, origin: Origin| text.map(|text| Given { text: text.clone(), origin });
        let value = from(sources.flags.get(setting.flag), Origin::Flag)
            .or_else(|| from(dot_env.get(setting.name), Origin::DotEnv))
            .or_else(|| from(environment.get(setting.name), Origin::Environment))
            .or_else(|| from(in_file.get(setting.key), Origin::File(file.clone().unwrap_or_default())));
        if let Some(value) = value {
            given.insert(setting.name, value);
        }
    }
    given
}

/// Reads `NAME=value` lines. Blank lines and lines that begin with `#` are skipped; `export ` before the name and one pair
/// of quotes around the value are dropped; nothing is expanded. No file is no lines.
fn dot_env(file: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return values,
        Err(error) => {
            problems.push(Problem::new(".env", format!("cannot be read ({})", error.kind())));
            return values;
        }
    };
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.strip_prefix("export ").unwrap_or(line).split_once('=');
        match pair.map(|(name, value)| (name.trim(), value.trim())) {
            Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                values.insert(name.to_owned(), unquoted(value).to_owned());
            }
            _ => problems.push(Problem::new(format!(".env line {}", number + 1), "expected NAME=value")),
        }
    }
    values
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

/// Reads the settings of a TOML file as text, by key. Keys that no setting has are problems.
fn config_file(file: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::new(
                format!("--config {}", file.display()),
                format!("cannot be read ({})", error.kind()),
            ));
            return values;
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // The parser's own text quotes the line, and with it whatever secret stands there.
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            problems.push(Problem::new(format!("{} line {line}", file.display()), "not valid TOML"));
            return values;
        }
    };
    let name = |key: &str| format!("{key} (in {})", file.display());
    for (section, content) in table {
        let Some(content) = content.as_table() else {
            problems.push(Problem::new(name(&section), "not a section of the configuration"));
            continue;
        };
        for (key, value) in content {
            let key = format!("{section}.{key}");
            if !settings::all().any(|setting| setting.key == key) {
                problems.push(Problem::new(name(&key), "not a setting; docs/configuration.md lists them"));
                continue;
            }
            match as_text(value) {
                Some(text) => drop(values.insert(key, text)),
                None => problems.push(Problem::new(name(&key), "expected a text, number, boolean or list of texts")),
            }
        }
    }
    values
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str()).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
