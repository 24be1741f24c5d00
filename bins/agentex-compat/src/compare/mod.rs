//! What a client of theirs would notice when it talked to ours.

mod schemas;

use std::collections::BTreeSet;

use crate::document::{Content, Document, Operation, Parameter};
use crate::finding::{Finding, Kind};
use crate::shape::Shape;

use schemas::Seen;

/// Every difference between the two, in the order of [`Finding`].
pub(crate) fn documents(theirs: &Document, ours: &Document) -> Vec<Finding> {
    let mut comparison = Comparison { theirs, ours, findings: BTreeSet::new(), seen: BTreeSet::new(), trial: false };
    comparison.operations();
    comparison.findings.into_iter().collect()
}

struct Comparison<'a> {
    theirs: &'a Document,
    ours: &'a Document,
    findings: BTreeSet<Finding>,
    seen: BTreeSet<Seen<'a>>,
    /// Whether this only counts what a pairing would bring.
    trial: bool,
}

/// Who sends what is described: it decides which of two descriptions may be the wider one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Request,
    Response,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl<'a> Comparison<'a> {
    fn add(&mut self, kind: Kind, place: impl Into<String>, detail: impl Into<String>) {
        self.findings.insert(Finding { kind, place: place.into(), detail: detail.into() });
    }

    fn operations(&mut self) {
        let ours = self.ours.operations();
        let theirs = self.theirs.operations();
        for (key, theirs) in &theirs {
            match ours.get(key) {
                None => self.add(Kind::Missing, &theirs.title, ""),
                Some(ours) => self.operation(theirs, ours),
            }
        }
        for (_, ours) in ours.iter().filter(|(key, _)| !theirs.contains_key(*key)) {
            self.add(Kind::Extra, &ours.title, "");
        }
    }

    fn operation(&mut self, theirs: &Operation<'a>, ours: &Operation<'a>) {
        if let (Some(wanted), id) = (theirs.id(), ours.id())
            && id != Some(wanted)
        {
            let title = format!("{} operation id", theirs.title);
            self.add(Kind::Changed, title, format!("{} instead of {wanted}", id.unwrap_or("none")));
        }
        self.path_parameters(theirs, ours);
        for place in ["query", "header", "cookie"] {
            self.parameters(theirs, ours, place);
        }
        self.request(theirs, ours);
        self.responses(theirs, ours);
    }

    /// Path parameters are paired by position: their names are not on the wire, but in generated clients.
    fn path_parameters(&mut self, theirs: &Operation<'a>, ours: &Operation<'a>) {
        let here = self.ours.path_parameters(ours);
        for (theirs_one, ours_one) in self.theirs.path_parameters(theirs).iter().zip(&here) {
            let place = format!("{} path {}", theirs.title, theirs_one.name);
            if theirs_one.name != ours_one.name {
                self.add(Kind::Changed, &place, format!("is called {}", ours_one.name));
            }
            self.parameter(&place, theirs_one, ours_one);
        }
    }

    fn parameters(&mut self, theirs: &Operation<'a>, ours: &Operation<'a>, place: &str) {
        let title = |name: &str| format!("{} {place} {name}", theirs.title);
        // Names of headers have no case.
        let same = |a: &str, b: &str| if place == "header" { a.eq_ignore_ascii_case(b) } else { a == b };
        let wanted = self.theirs.parameters(theirs, place);
        let here = self.ours.parameters(ours, place);
        for one in &wanted {
            match here.iter().find(|ours| same(one.name, ours.name)) {
                None => self.add(Kind::Missing, title(one.name), ""),
                Some(ours) => self.parameter(&title(one.name), one, ours),
            }
        }
        for ours in here.iter().filter(|ours| !wanted.iter().any(|one| same(one.name, ours.name))) {
            match ours.required {
                true => self.add(Kind::Narrower, title(ours.name), "is required"),
                false => self.add(Kind::Extra, title(ours.name), ""),
            }
        }
    }

    fn parameter(&mut self, place: &str, theirs: &Parameter<'a>, ours: &Parameter<'a>) {
        if ours.required && !theirs.required {
            self.add(Kind::Narrower, place, "is required");
        }
        self.default(place, &[theirs.schema], &[ours.schema]);
        let wanted = Shape::of(self.theirs, &[theirs.schema]).without_null();
        let here = Shape::of(self.ours, &[ours.schema]).without_null();
        self.shapes(Direction::Request, place, wanted, here);
    }

    fn request(&mut self, theirs: &Operation<'a>, ours: &Operation<'a>) {
        let place = format!("{} body", theirs.title);
        match (self.theirs.request(theirs), self.ours.request(ours)) {
            (None, None) => {}
            (Some(_), None) => self.add(Kind::Missing, place, ""),
            (None, Some(ours)) if ours.required => self.add(Kind::Narrower, place, "is required"),
            (None, Some(_)) => self.add(Kind::Extra, place, ""),
            (Some(theirs), Some(ours)) => {
                if ours.required && !theirs.required {
                    self.add(Kind::Narrower, &place, "is required");
                }
                self.content(Direction::Request, &place, &theirs, &ours);
            }
        }
    }

    /// Answers with a status of failure that ours alone documents are not reported: theirs has them, too, and does not say.
    fn responses(&mut self, theirs: &Operation<'a>, ours: &Operation<'a>) {
        let here = self.ours.responses(ours);
        let wanted = self.theirs.responses(theirs);
        for (status, content) in &wanted {
            let place = format!("{} {status}", theirs.title);
            match here.get(status).or_else(|| here.get("default")) {
                None => self.add(Kind::Missing, place, ""),
                Some(ours) => self.content(Direction::Response, &place, content, ours),
            }
        }
        for status in here.keys().filter(|status| status.starts_with('2') && !wanted.contains_key(*status)) {
            self.add(Kind::Wider, format!("{} {status}", theirs.title), "theirs never answers so");
        }
    }

    fn content(&mut self, direction: Direction, place: &str, theirs: &Content<'a>, ours: &Content<'a>) {
        let title =
            |media: &str| if media == "application/json" { place.to_owned() } else { format!("{place} {media}") };
        for (media, schema) in &theirs.schemas {
            match ours.schemas.get(media) {
                None => self.add(Kind::Missing, format!("{place} {media}"), ""),
                Some(ours) => self.schemas(direction, &title(media), &[schema], &[ours]),
            }
        }
        for media in ours.schemas.keys().filter(|media| !theirs.schemas.contains_key(*media)) {
            self.add(Kind::Extra, format!("{place} {media}"), "");
        }
    }
}
