//! The table of what is meant to differ.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::finding::{Finding, Kind};

/// The head of every table that is read; other tables of the page are not.
const HEAD: [&str; 2] = ["Difference", "Why"];

/// The differences that are meant, each with its reason.
#[derive(Debug, Default)]
pub(crate) struct Deliberate {
    patterns: Vec<Pattern>,
}

/// A finding's key in which `*` stands for any text.
#[derive(Debug)]
struct Pattern {
    text: String,
    line: usize,
}

/// What a comparison found, sorted by whether it was meant.
#[derive(Debug)]
pub(crate) struct Report {
    open: Vec<Finding>,
    deliberate: Vec<Finding>,
    extra: Vec<Finding>,
    /// Patterns that are about nothing, with the line they are on.
    idle: Vec<(usize, String)>,
}

impl Deliberate {
    /// Reads the tables of a page.
    ///
    /// # Errors
    /// A page that cannot be read or has no such table, and a row without pattern, without reason, or with a pattern that
    /// does not begin with one of the words of [`Kind`] or with `*`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let page = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&page).with_context(|| path.display().to_string())
    }

    pub(crate) fn parse(page: &str) -> anyhow::Result<Self> {
        let mut patterns = Vec::new();
        let mut found = false;
        let mut inside = false;
        for (line, text) in page.lines().enumerate().map(|(index, text)| (index + 1, text.trim())) {
            let Some(cells) = cells(text) else {
                inside = false;
                continue;
            };
            if cells == HEAD {
                (found, inside) = (true, true);
            } else if inside && !cells.iter().all(|cell| cell.chars().all(|c| matches!(c, '-' | ':'))) {
                let [difference, why] = cells[..] else { bail!("line {line}: two columns are wanted") };
                ensure!(!why.is_empty(), "line {line}: a difference needs a reason");
                let before = patterns.len();
                // Every second piece between backticks is inside a pair of them.
                for text in difference.split('`').skip(1).step_by(2) {
                    let word = text.split(' ').next().unwrap_or_default();
                    let known = word == "*" || Kind::ALL.into_iter().any(|kind| kind.as_str() == word);
                    ensure!(
                        known,
                        "line {line}: `{text}` must begin with missing, narrower, wider, changed, extra or *"
                    );
                    patterns.push(Pattern { text: text.to_owned(), line });
                }
                ensure!(patterns.len() > before, "line {line}: a difference is written between backticks");
            }
        }
        ensure!(found, "no table with the columns {HEAD:?}");
        Ok(Self { patterns })
    }

    /// Sorts `findings` by whether they are meant.
    pub(crate) fn sort(&self, findings: Vec<Finding>) -> Report {
        let mut used = vec![false; self.patterns.len()];
        let mut report = Report { open: Vec::new(), deliberate: Vec::new(), extra: Vec::new(), idle: Vec::new() };
        for finding in findings {
            let key = finding.key();
            let mut meant = false;
            for (pattern, used) in self.patterns.iter().zip(&mut used) {
                if matches(&pattern.text, &key) {
                    (meant, *used) = (true, true);
                }
            }
            match finding.kind {
                Kind::Extra => report.extra.push(finding),
                _ if meant => report.deliberate.push(finding),
                _ => report.open.push(finding),
            }
        }
        let idle = self.patterns.iter().zip(used).filter(|(_, used)| !used);
        report.idle = idle.map(|(pattern, _)| (pattern.line, pattern.text.clone())).collect();
        report
    }
}

impl Report {
    /// Whether every difference is meant and every row of the table is about something.
    pub(crate) fn is_clean(&self) -> bool {
        self.open.is_empty() && self.idle.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = [("extra", &self.extra), ("deliberate", &self.deliberate), ("not explained", &self.open)];
        for (title, findings) in sections {
            if !findings.is_empty() {
                writeln!(out, "{title}:")?;
                findings.iter().try_for_each(|finding| writeln!(out, "  {finding}"))?;
            }
        }
        if !self.idle.is_empty() {
            writeln!(out, "rows of the table that are about nothing:")?;
            self.idle.iter().try_for_each(|(line, text)| writeln!(out, "  line {line}: {text}"))?;
        }
        writeln!(
            out,
            "{} extra, {} deliberate, {} not explained, {} idle rows",
            self.extra.len(),
            self.deliberate.len(),
            self.open.len(),
            self.idle.len()
        )
    }
}

/// The cells of a row, or `None` when the line is not one.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// Whether `text` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(tail)
}
