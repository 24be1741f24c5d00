//! Schemas, in the direction in which the value travels.
//!
//! What a client sends must be taken: each variant of theirs looks for one of ours. What a client gets must be expected:
//! each variant of ours looks for one of theirs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::finding::Kind;
use crate::shape::{Rest, Shape, Type, Variant};

use super::{Comparison, Direction};

/// A component of theirs that was compared with a schema of ours: compared once, and never in a ring.
pub(super) type Seen<'a> = (Direction, &'a str, Type, Vec<*const Value>);

/// What one difference that a client notices counts when pairs are weighed.
const BREAKING: usize = 100;

/// Keywords that bound from below or from above.
const BOUNDS: [(&str, bool); 9] = [
    ("minimum", true),
    ("exclusiveMinimum", true),
    ("minLength", true),
    ("minItems", true),
    ("maximum", false),
    ("exclusiveMaximum", false),
    ("maxLength", false),
    ("maxItems", false),
    ("maxProperties", false),
];

impl<'a> Comparison<'a> {
    pub(super) fn schemas(&mut self, direction: Direction, place: &str, theirs: &[&'a Value], ours: &[&'a Value]) {
        let (theirs, ours) = (Shape::of(self.theirs, theirs), Shape::of(self.ours, ours));
        self.shapes(direction, place, theirs, ours);
    }

    pub(super) fn shapes(&mut self, direction: Direction, place: &str, theirs: Shape<'a>, ours: Shape<'a>) {
        match (theirs, ours) {
            (Shape::Anything, Shape::OneOf(ours)) if direction == Direction::Request => {
                self.add(Kind::Narrower, place, format!("takes only {}", list(&ours)));
            }
            (Shape::Anything, _) => {}
            (Shape::OneOf(theirs), Shape::Anything) => {
                self.add(Kind::Missing, place, format!("nothing is said about it; theirs: {}", list(&theirs)));
            }
            (Shape::OneOf(theirs), Shape::OneOf(ours)) => match direction {
                Direction::Request => self.requests(place, &theirs, &ours),
                Direction::Response => self.responses_of(place, &theirs, &ours),
            },
        }
    }

    /// A default that is stated differently, or no more.
    pub(super) fn default(&mut self, place: &str, theirs: &[&'a Value], ours: &[&'a Value]) {
        let Some(wanted) = default_of(theirs) else { return };
        match default_of(ours) {
            None => self.add(Kind::Changed, place, format!("the default {wanted} is not stated")),
            Some(here) if here != wanted && here.as_f64().is_none_or(|here| wanted.as_f64() != Some(here)) => {
                self.add(Kind::Changed, place, format!("the default is {here} instead of {wanted}"));
            }
            Some(_) => {}
        }
    }

    fn requests(&mut self, place: &str, theirs: &[Variant<'a>], ours: &[Variant<'a>]) {
        let mut used = vec![false; ours.len()];
        for variant in theirs {
            let fits = |ours: &Variant<'a>| ours.kind.covers(variant.kind);
            match self.best(Direction::Request, ours, fits, |one| (variant.clone(), one.clone())) {
                Some(index) => {
                    used[index] = true;
                    self.variant(Direction::Request, place, variant, &ours[index]);
                }
                None if variant.kind == Type::Object => self.add(Kind::Missing, place, variant.to_string()),
                None => self.add(Kind::Narrower, place, format!("{variant} is refused")),
            }
        }
        for (variant, _) in ours.iter().zip(used).filter(|(_, used)| !used) {
            self.add(Kind::Extra, place, variant.to_string());
        }
    }

    fn responses_of(&mut self, place: &str, theirs: &[Variant<'a>], ours: &[Variant<'a>]) {
        let mut found: Vec<Vec<&Variant<'a>>> = vec![Vec::new(); theirs.len()];
        for variant in ours {
            let fits = |theirs: &Variant<'a>| theirs.kind.covers(variant.kind);
            match self.best(Direction::Response, theirs, fits, |one| (one.clone(), variant.clone())) {
                Some(index) => found[index].push(variant),
                None => self.add(Kind::Wider, place, format!("may be {}", variant.kind)),
            }
        }
        for (variant, mut ours) in theirs.iter().zip(found) {
            // Of several that a client would take for the same, one is it and the others are new.
            if ours.len() > 1 {
                ours.sort_by_cached_key(|ours| self.distance(Direction::Response, variant, ours));
            }
            let mut ours = ours.into_iter();
            match ours.next() {
                Some(ours) => self.variant(Direction::Response, place, variant, ours),
                // That ours never answers null is a promise, not a loss.
                None if variant.kind == Type::Null => {}
                None => self.add(Kind::Missing, place, variant.to_string()),
            }
            for other in ours {
                if self.distance(Direction::Response, variant, other) >= BREAKING {
                    self.add(Kind::Wider, place, format!("may be {other}"));
                }
            }
        }
    }

    /// Which of `candidates` differs least, of those that `fit` and are not told apart by a field.
    fn best(
        &self,
        direction: Direction,
        candidates: &[Variant<'a>],
        fits: impl Fn(&Variant<'a>) -> bool,
        pair: impl Fn(&Variant<'a>) -> (Variant<'a>, Variant<'a>),
    ) -> Option<usize> {
        let possible = candidates.iter().enumerate().filter(|(_, candidate)| fits(candidate));
        let mut possible: Vec<(usize, (Variant<'a>, Variant<'a>))> = possible
            .map(|(index, candidate)| (index, pair(candidate)))
            .filter(|(_, (theirs, ours))| !theirs.is_told_apart_from(ours, self.theirs, self.ours))
            .collect();
        if possible.len() > 1
            && let Some(namesake) = possible.iter().position(|(_, (a, b))| a.name.is_some() && a.name == b.name)
        {
            return Some(possible.swap_remove(namesake).0);
        }
        match possible.len() {
            0 | 1 => possible.first().map(|(index, _)| *index),
            _ => possible.iter().min_by_key(|(_, (a, b))| self.distance(direction, a, b)).map(|(index, _)| *index),
        }
    }

    /// How many differences a pair would bring: [`BREAKING`] for each that a client notices, 1 for each that it does not.
    fn distance(&self, direction: Direction, theirs: &Variant<'a>, ours: &Variant<'a>) -> usize {
        // A trial counts everything anew; trials within it do not, or a ring would never end.
        let seen = if self.trial { self.seen.clone() } else { BTreeSet::new() };
        let mut trial =
            Comparison { theirs: self.theirs, ours: self.ours, findings: BTreeSet::new(), seen, trial: true };
        trial.variant(direction, "", theirs, ours);
        trial.findings.iter().map(|finding| if finding.kind == Kind::Extra { 1 } else { BREAKING }).sum()
    }

    fn variant(&mut self, direction: Direction, place: &str, theirs: &Variant<'a>, ours: &Variant<'a>) {
        let named = theirs.name.map(|name| format!("{} {name}", direction.as_str()));
        let place = named.as_deref().unwrap_or(place);
        if let Some(name) = theirs.name
            && !self.seen.insert((direction, name, theirs.kind, ours.address()))
        {
            return;
        }
        self.values(direction, place, theirs, ours);
        self.limits(direction, place, theirs, ours);
        match theirs.kind {
            Type::Array => self.schemas(direction, &format!("{place}[]"), &theirs.items(), &ours.items()),
            Type::Object => self.objects(direction, place, theirs, ours),
            _ => {}
        }
    }

    fn values(&mut self, direction: Direction, place: &str, theirs: &Variant<'a>, ours: &Variant<'a>) {
        match (theirs.values(), ours.values()) {
            (None, None) => {}
            (None, Some(values)) => {
                if direction == Direction::Request {
                    self.add(Kind::Narrower, place, format!("takes only {}", text(&values)));
                }
            }
            (Some(_), None) => match direction {
                Direction::Request => self.add(Kind::Extra, place, format!("any {}", ours.kind)),
                Direction::Response => self.add(Kind::Wider, place, format!("any {}", ours.kind)),
            },
            (Some(wanted), Some(here)) => {
                for value in wanted.iter().filter(|value| !here.contains(value)) {
                    self.add(Kind::Missing, format!("{place} value {}", plain(value)), "");
                }
                let kind = if direction == Direction::Request { Kind::Extra } else { Kind::Wider };
                for value in here.iter().filter(|value| !wanted.contains(value)) {
                    self.add(kind, format!("{place} value {}", plain(value)), "");
                }
            }
        }
    }

    fn limits(&mut self, direction: Direction, place: &str, theirs: &Variant<'a>, ours: &Variant<'a>) {
        // Formats of numbers are widths that generators ignore; the bounds say what is taken.
        if theirs.kind == Type::Text {
            let (wanted, here) = (theirs.text("format"), ours.text("format"));
            match (direction, wanted, here) {
                (Direction::Request, _, Some(here)) if wanted != Some(here) => {
                    self.add(Kind::Narrower, place, format!("must be a {here}"));
                }
                (Direction::Response, Some(wanted), _) if here != Some(wanted) => {
                    self.add(Kind::Wider, place, format!("is not always a {wanted}"));
                }
                _ => {}
            }
        }
        if direction == Direction::Response {
            return;
        }
        if let Some(here) = ours.text("pattern")
            && theirs.text("pattern") != Some(here)
        {
            self.add(Kind::Narrower, place, format!("must match {here}"));
        }
        for (keyword, lower) in BOUNDS {
            let Some(here) = ours.bound(keyword, lower) else { continue };
            let stricter = match theirs.bound(keyword, lower) {
                // No text and no list is shorter than nothing.
                None => !(here == 0.0 && matches!(keyword, "minLength" | "minItems")),
                Some(wanted) => {
                    if lower {
                        here > wanted
                    } else {
                        here < wanted
                    }
                }
            };
            if stricter {
                self.add(Kind::Narrower, place, format!("{keyword} {here}"));
            }
        }
    }

    fn objects(&mut self, direction: Direction, place: &str, theirs: &Variant<'a>, ours: &Variant<'a>) {
        let (wanted, here) = (theirs.fields(), ours.fields());
        let (needed, given) = (theirs.required(), ours.required());
        for (name, schemas) in &wanted {
            let place = format!("{place}.{name}");
            let Some(ours) = here.get(name) else {
                self.add(Kind::Missing, place, "");
                continue;
            };
            match direction {
                Direction::Request => {
                    if given.contains(name) && !needed.contains(name) {
                        self.add(Kind::Narrower, &place, "is required");
                    }
                    self.default(&place, schemas, ours);
                }
                Direction::Response => {
                    if needed.contains(name) && !given.contains(name) {
                        self.add(Kind::Wider, &place, "may be left out");
                    }
                }
            }
            self.schemas(direction, &place, schemas, ours);
        }
        for name in here.keys().filter(|name| !wanted.contains_key(*name)) {
            let place = format!("{place}.{name}");
            match direction {
                Direction::Request if given.contains(name) => self.add(Kind::Narrower, place, "is required"),
                Direction::Response if matches!(theirs.rest(), Rest::Closed) => self.add(Kind::Wider, place, "is new"),
                _ => self.add(Kind::Extra, place, ""),
            }
        }
        self.rest(direction, place, theirs, ours);
    }

    /// What is taken or answered besides the fields that have a name.
    fn rest(&mut self, direction: Direction, place: &str, theirs: &Variant<'a>, ours: &Variant<'a>) {
        let place = format!("{place}{{}}");
        match (direction, theirs.rest(), ours.rest()) {
            (_, Rest::Each(theirs), Rest::Each(ours)) => self.schemas(direction, &place, &theirs, &ours),
            (Direction::Request, Rest::Open, Rest::Each(ours)) => self.schemas(direction, &place, &[], &ours),
            (Direction::Request, Rest::Open | Rest::Each(_), Rest::Closed) => {
                self.add(Kind::Narrower, place, "other fields are refused");
            }
            (Direction::Response, Rest::Each(theirs), Rest::Open) => self.schemas(direction, &place, &theirs, &[]),
            _ => {}
        }
    }
}

fn default_of<'a>(schemas: &[&'a Value]) -> Option<&'a Value> {
    schemas.iter().find_map(|schema| schema.get("default")).filter(|value| !value.is_null())
}

fn list(variants: &[Variant<'_>]) -> String {
    variants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn text(values: &[&Value]) -> String {
    values.iter().map(|value| plain(value)).collect::<Vec<_>>().join(", ")
}

/// A value as people write it: text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
