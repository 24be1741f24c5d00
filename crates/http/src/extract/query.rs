use std::convert::Infallible;

use agentex_domain::input::{self, Problem, Problems};
use agentex_domain::{Direction, PageRequest};
use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::can_name;
use crate::Shared;

/// The decoded query of a request, unread.
pub(crate) struct ApiQuery {
    pairs: Vec<(String, String)>,
    strict_ordering: bool,
}

/// Parameters a route takes from the query.
pub(crate) trait QueryParams: Sized {
    /// Reads every parameter, so that all problems are found at once.
    fn read(query: &mut QueryReader<'_>) -> Option<Self>;
}

impl<S: Send + Sync> FromRequestParts<S> for ApiQuery
where
    Shared: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // Decoding is lenient by definition of the format, so there is nothing to refuse here.
        let pairs = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        Ok(Self { pairs, strict_ordering: Shared::from_ref(state).options.strict_ordering })
    }
}

impl ApiQuery {
    /// Reads the parameters of a route.
    pub(crate) fn read<T: QueryParams>(&self) -> Result<T, Problems> {
        let mut reader = QueryReader { query: self, problems: Problems::new() };
        match T::read(&mut reader) {
            Some(params) if reader.problems.is_empty() => Ok(params),
            _ => Err(reader.problems),
        }
    }
}

/// Reads parameters by name and type, collecting every problem.
pub(crate) struct QueryReader<'a> {
    query: &'a ApiQuery,
    problems: Problems,
}

impl<'a> QueryReader<'a> {
    /// The text of a parameter; of a repeated one the last.
    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        let (_, value) = self.query.pairs.iter().rfind(|(key, _)| key == name)?;
        if value.contains('\0') {
            self.problem(name, input::HAS_NUL);
            return None;
        }
        Some(value)
    }

    /// A parameter that names a resource, when given. One that cannot name any is a problem.
    pub(crate) fn identifier(&mut self, name: &str) -> Option<&'a str> {
        let value = self.text(name)?;
        if value.is_empty() {
            self.problem(name, super::body::EMPTY);
            return None;
        }
        if !can_name(value) {
            self.problem(name, super::body::NOT_A_NAME);
            return None;
        }
        Some(value)
    }

    /// A parameter that names a resource, when given; an empty one counts as not given.
    pub(crate) fn optional_name(&mut self, name: &str) -> Option<&'a str> {
        self.text(name).filter(|value| !value.is_empty())?;
        self.identifier(name)
    }

    /// A parameter that names a resource and must be given.
    pub(crate) fn required_identifier(&mut self, name: &str) -> Option<&'a str> {
        if !self.query.pairs.iter().any(|(key, _)| key == name) {
            self.problem(name, input::FIELD_REQUIRED);
            return None;
        }
        self.identifier(name)
    }

    /// Every value of a repeatable parameter, whether repeated or joined by commas.
    pub(crate) fn all(&mut self, name: &str) -> Vec<&'a str> {
        let query = self.query;
        let values = query.pairs.iter().filter(|(key, _)| key == name);
        values.flat_map(|(_, value)| value.split(',')).collect()
    }

    /// An integer, `default` when absent. Bounds are the caller's to check.
    pub(crate) fn integer(&mut self, name: &str, default: i64) -> Option<i64> {
        let Some(text) = self.text(name) else { return Some(default) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            self.problem(name, "Input should be a valid integer, unable to parse string as an integer");
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            self.problem(name, "Unable to parse input string as an integer, exceeded maximum size");
        }
        number
    }

    /// The page size.
    pub(crate) fn limit(&mut self) -> Option<u32> {
        let limit = self.integer("limit", i64::from(PageRequest::DEFAULT_LIMIT))?;
        if limit < 1 {
            self.problem("limit", "Input should be greater than or equal to 1");
            return None;
        }
        let bounded = u32::try_from(limit).ok().filter(|limit| *limit <= PageRequest::MAX_LIMIT);
        if bounded.is_none() {
            let text = format!("Input should be less than or equal to {}", PageRequest::MAX_LIMIT);
            self.problem("limit", text);
        }
        bounded
    }

    /// The page. One that would be too large is cut to the largest; where ordering is strict, it is a problem.
    pub(crate) fn bounded_page(&mut self) -> Option<PageRequest> {
        if self.query.strict_ordering {
            return self.page();
        }
        let limit = self.integer("limit", i64::from(PageRequest::DEFAULT_LIMIT)).and_then(|limit| {
            self.at_least_one("limit", limit)?;
            u32::try_from(limit.min(i64::from(PageRequest::MAX_LIMIT))).ok()
        });
        self.page_of(limit)
    }

    /// The page. One that would be too large is a problem.
    pub(crate) fn page(&mut self) -> Option<PageRequest> {
        let limit = self.limit();
        self.page_of(limit)
    }

    fn page_of(&mut self, limit: Option<u32>) -> Option<PageRequest> {
        let page_number = self.page_number().and_then(|number| self.at_least_one("page_number", number));
        Some(PageRequest { limit: limit?, page_number: page_number? })
    }

    fn at_least_one(&mut self, name: &str, number: i64) -> Option<u64> {
        if number < 1 {
            self.problem(name, "Input should be greater than or equal to 1");
        }
        u64::try_from(number).ok().filter(|number| *number >= 1)
    }

    /// The page number, which may be less than 1 on routes that refuse that later and in other words.
    pub(crate) fn page_number(&mut self) -> Option<i64> {
        self.integer("page_number", 1)
    }

    /// A word out of a fixed set, when given.
    pub(crate) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let word = self.text(name)?;
        let found = choices.iter().find(|(known, _)| *known == word).map(|(_, choice)| *choice);
        if found.is_none() {
            self.not_one_of(name, choices);
        }
        found
    }

    /// What to sort by; unknown names count as not given unless ordering is strict.
    pub(crate) fn order_by<T: Copy + Default>(&mut self, columns: &[(&str, T)]) -> T {
        if self.query.strict_ordering {
            return self.choice("order_by", columns).unwrap_or_default();
        }
        let column = self.text("order_by").and_then(|name| columns.iter().find(|(known, _)| *known == name));
        column.map(|(_, order)| *order).unwrap_or_default()
    }

    /// Which way to sort. Without strict ordering, a word that is neither direction means `otherwise`.
    pub(crate) fn order_direction(&mut self, otherwise: Direction) -> Direction {
        let Some(word) = self.text("order_direction") else { return Direction::Descending };
        if word.eq_ignore_ascii_case("desc") {
            Direction::Descending
        } else if word.eq_ignore_ascii_case("asc") {
            Direction::Ascending
        } else {
            if self.query.strict_ordering {
                self.not_one_of("order_direction", &[("asc", ()), ("desc", ())]);
            }
            otherwise
        }
    }

    /// Records a problem with a parameter.
    pub(crate) fn problem(&mut self, name: &str, text: impl Into<String>) {
        self.problems.push(Problem { path: format!("query.{name}"), text: text.into() });
    }

    fn not_one_of<T>(&mut self, name: &str, choices: &[(&str, T)]) {
        let names: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
        self.problem(name, input::expected_one_of(&names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str, strict_ordering: bool) -> ApiQuery {
        ApiQuery { pairs: serde_urlencoded::from_str(text).unwrap(), strict_ordering }
    }

    fn problems(text: &str, read: impl FnOnce(&mut QueryReader<'_>)) -> Vec<(String, String)> {
        let query = query(text, true);
        let mut reader = QueryReader { query: &query, problems: Problems::new() };
        read(&mut reader);
        reader.problems.into_iter().map(|problem| (problem.path, problem.text)).collect()
    }

    #[test]
    fn integers_are_digits_within_bounds() {
        let of = |text: &str| problems(&format!("limit={text}"), |reader| _ = reader.limit());
        let only = |text: &str| of(text).pop().unwrap().1;

        assert!(of("1").is_empty() && of("1000").is_empty());
        assert_eq!(only("0"), "Input should be greater than or equal to 1");
        assert_eq!(only("-1"), "Input should be greater than or equal to 1");
        assert_eq!(only("1001"), "Input should be less than or equal to 1000");
        for bad in ["", "x", "1.5", "1_000", "%2B5", " 5", "-"] {
            assert_eq!(only(bad), "Input should be a valid integer, unable to parse string as an integer", "{bad}");
        }
        assert!(only("99999999999999999999").contains("exceeded maximum size"));
    }

    #[test]
    fn pages_too_large_are_cut_unless_ordering_is_strict() {
        let tolerant = query("limit=5000&page_number=2", false);
        let mut reader = QueryReader { query: &tolerant, problems: Problems::new() };

        assert_eq!(reader.bounded_page(), Some(PageRequest { limit: 1000, page_number: 2 }));
        assert!(reader.problems.is_empty());
        assert_eq!(problems("limit=5000&page_number=0", |reader| _ = reader.bounded_page()).len(), 2);
        let tolerant = query("limit=0&page_number=-1", false);
        let mut reader = QueryReader { query: &tolerant, problems: Problems::new() };
        assert_eq!(reader.bounded_page(), None);
        assert_eq!(reader.problems.len(), 2);
    }

    #[test]
    fn repeated_and_joined_values_are_the_same() {
        let query = query("r=a&r=b,c", false);
        let mut reader = QueryReader { query: &query, problems: Problems::new() };

        assert_eq!(reader.all("r"), ["a", "b", "c"]);
    }

    #[test]
    fn ordering_is_tolerant_unless_it_is_strict() {
        let columns = [("name", 1), ("id", 2)];
        let tolerant = query("order_by=evil&order_direction=sideways", false);
        let mut reader = QueryReader { query: &tolerant, problems: Problems::new() };

        assert_eq!(reader.order_by::<i32>(&columns), 0);
        assert_eq!(reader.order_direction(Direction::Ascending), Direction::Ascending);
        assert!(reader.problems.is_empty());
        let strict = problems("order_by=evil&order_direction=sideways", |reader| {
            reader.order_by::<i32>(&columns);
            reader.order_direction(Direction::Ascending);
        });
        assert_eq!(strict[0].1, "Input should be 'name' or 'id'");
        assert_eq!(strict[1].1, "Input should be 'asc' or 'desc'");
    }

    #[test]
    fn names_that_name_nothing_are_problems() {
        for bad in ["task_id=", "task_id=*", "task_id=a%0Ab", "task_id=a%00b", ""] {
            assert_eq!(problems(bad, |reader| _ = reader.required_identifier("task_id")).len(), 1, "{bad}");
        }
    }
}
