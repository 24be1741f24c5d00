//! SQL conditions over JSON columns.
//!
//! SQLite has no containment operator. A wanted document says that certain members and elements exist, so it becomes
//! `EXISTS (SELECT … FROM json_each(column) AS j0, json_each(j0.value) AS j1 …)` with one `json_each` for each of them.
//! Keys and values are bound parameters throughout, never parts of a path expression, so a key may hold quotes, dots or
//! `$` and still be nothing but a key.

use agentex_domain::{FilterTerm, JsonObject, MessageFilter};
use serde_json::Value;
use sqlx::{QueryBuilder, Sqlite};

/// SQLite joins at most 64 tables in one query.
const LONGEST_JOIN: usize = 60;

/// Adds the condition that the JSON object in `column` contains `wanted`, as PostgreSQL's `jsonb @>` has it: every
/// member wanted is there and contains its value; every element of a wanted array is contained in some element of the stored
/// one; numbers are equal by value, everything else by type and value. A null column contains nothing.
pub(crate) fn push_contains(query: &mut QueryBuilder<Sqlite>, column: &'static str, wanted: &JsonObject) {
    let members: Vec<Child<'_>> = members_of(wanted, Match::Contained).collect();
    query.push("(").push(column).push(" IS NOT NULL AND ");
    push_joined(query, &members, " AND ", &mut |query, member| push_exists(query, Place::Column(column), *member));
    query.push(")");
}

/// Adds `AND …` for messages that match the filter; nothing when all do.
pub(crate) fn push_message_filter(query: &mut QueryBuilder<Sqlite>, filter: &MessageFilter) {
    let MessageFilter { include, exclude } = filter;
    if !include.is_empty() {
        query.push(" AND ");
        push_joined(query, include, " OR ", &mut push_term);
    }
    if !exclude.is_empty() {
        query.push(" AND NOT ");
        push_joined(query, exclude, " OR ", &mut push_term);
    }
}

fn push_term(query: &mut QueryBuilder<Sqlite>, term: &FilterTerm) {
    enum Leaf<'a> {
        Present(&'a [String], Wanted<'a>),
        Null(&'a [String]),
        Streaming(&'static str),
    }

    let FilterTerm { equals, arrays, nulls, streaming_status } = term;
    let leaves: Vec<Leaf<'_>> = equals
        .iter()
        .chain(arrays)
        .map(|(path, value)| Leaf::Present(path, Wanted::Value(value, Match::Equal)))
        .chain(nulls.iter().map(|path| Leaf::Null(path)))
        .chain(streaming_status.map(|status| Leaf::Streaming(status.as_str())))
        .collect();
    push_joined(query, &leaves, " AND ", &mut |query, leaf| match leaf {
        Leaf::Present(path, wanted) => push_at_path(query, path, wanted),
        Leaf::Null(path) => {
            query.push("NOT ");
            push_at_path(query, path, &Wanted::NotNull);
        }
        // IS, because a message without a status does not match, whether the term includes or excludes.
        Leaf::Streaming(status) => {
            query.push("task_messages.streaming_status IS ").push_bind(*status);
        }
    });
}

/// Adds the condition that the content has what is wanted at `path`. The content itself, an object, is at no path.
fn push_at_path(query: &mut QueryBuilder<Sqlite>, path: &[String], wanted: &Wanted<'_>) {
    match path.split_first() {
        Some((name, rest)) => {
            let child = Child { step: Step::Member(name), wanted: Wanted::Inside(rest, wanted).simplified() };
            push_exists(query, Place::Column("task_messages.content"), child);
        }
        None => {
            query.push("0");
        }
    }
}

/// How a stored value is compared with a wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// The stored value may hold more.
    Contained,
    /// The values are the same; the order of members does not count.
    Equal,
}

/// What is wanted of one stored value.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    /// It matches this one.
    Value(&'a Value, Match),
    /// It is anything but null.
    NotNull,
    /// It is an object, and what is wanted is at this path inside.
    Inside(&'a [String], &'a Wanted<'a>),
}

/// A value inside another: how it is found and what is wanted of it.
#[derive(Debug, Clone, Copy)]
struct Child<'a> {
    step: Step<'a>,
    wanted: Wanted<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// The member of this name.
    Member(&'a str),
    /// Any element.
    Element,
    /// The element at this position.
    Position(usize),
}

impl Step<'_> {
    /// The kind of value it leads out of.
    const fn kind(self) -> Kind {
        match self {
            Self::Member(_) => Kind::Object,
            Self::Element | Self::Position(_) => Kind::Array,
        }
    }
}

/// The two kinds of JSON value that hold others.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Object,
    Array,
}

fn members_of(members: &JsonObject, how: Match) -> impl Iterator<Item = Child<'_>> {
    members.iter().map(move |(name, value)| Child { step: Step::Member(name), wanted: Wanted::Value(value, how) })
}

impl<'a> Wanted<'a> {
    /// The end of a path is what is wanted there.
    const fn simplified(self) -> Self {
        match self {
            Self::Inside([], wanted) => *wanted,
            other => other,
        }
    }

    fn children(self) -> Vec<Child<'a>> {
        match self {
            Self::Value(Value::Object(members), how) => members_of(members, how).collect(),
            Self::Value(Value::Array(elements), how) => elements
                .iter()
                .enumerate()
                .map(|(position, element)| {
                    let step = if how == Match::Equal { Step::Position(position) } else { Step::Element };
                    Child { step, wanted: Wanted::Value(element, how) }
                })
                .collect(),
            Self::Inside([name, rest @ ..], wanted) => {
                vec![Child { step: Step::Member(name), wanted: Wanted::Inside(rest, wanted).simplified() }]
            }
            Self::Value(..) | Self::NotNull | Self::Inside([], _) => Vec::new(),
        }
    }

    fn depth(self) -> usize {
        fn depth(value: &Value) -> usize {
            match value {
                Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
                Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        match self {
            Self::Value(value, _) => depth(value),
            Self::NotNull => 0,
            Self::Inside(path, wanted) => path.len() + wanted.depth(),
        }
    }
}

/// Where a stored value is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A column that holds a JSON object or null.
    Column(&'static str),
    /// The row of `json_each` that is called `j` and this number.
    Row(usize),
}

impl Place {
    /// The first name that is free for rows inside this place.
    const fn next_row(self) -> usize {
        match self {
            Self::Column(_) => 0,
            Self::Row(row) => row + 1,
        }
    }

    /// Adds `json_each(…)` over what is inside this place. A value of another kind counts as an empty one: `json_each`
    /// would fail on a bare string.
    fn push_each(self, query: &mut QueryBuilder<Sqlite>, kind: Kind) {
        let (kind, empty) = match kind {
            Kind::Object => ("object", "{}"),
            Kind::Array => ("array", "[]"),
        };
        match self {
            Self::Column(column) => query.push(format_args!("json_each({column})")),
            Self::Row(row) => query
                .push(format_args!("json_each(CASE j{row}.type WHEN '{kind}' THEN j{row}.value ELSE '{empty}' END)")),
        };
    }
}

/// Adds the condition that `child` exists inside `place`.
///
/// One query follows the deepest branch as a join; the other branches are queries inside it. Nesting a query for each
/// level instead would soon meet SQLite's limit on the depth of expressions, which counts nested queries many times.
fn push_exists(query: &mut QueryBuilder<Sqlite>, place: Place, child: Child<'_>) {
    enum Condition<'a> {
        Row(usize, Child<'a>),
        Branch(Place, Child<'a>),
    }

    let mut conditions = Vec::new();
    let (mut place, mut next, mut joined) = (place, Some(child), 0);
    query.push("EXISTS (SELECT 1 FROM ");
    while let Some(child) = next.take() {
        let row = place.next_row();
        query.push(if joined == 0 { "" } else { ", " });
        place.push_each(query, child.step.kind());
        query.push(format_args!(" AS j{row}"));
        conditions.push(Condition::Row(row, child));
        place = Place::Row(row);
        joined += 1;

        let mut branches = child.wanted.children();
        if joined < LONGEST_JOIN {
            let deepest = (0..branches.len()).max_by_key(|branch| branches[*branch].wanted.depth());
            next = deepest.map(|branch| branches.swap_remove(branch));
        }
        conditions.extend(branches.into_iter().map(|branch| Condition::Branch(place, branch)));
    }
    query.push(" WHERE ");
    push_joined(query, &conditions, " AND ", &mut |query, condition| match condition {
        Condition::Row(row, child) => push_row(query, *row, *child),
        // Its rows may take names that are in use here; it only looks at its own and at the one it hangs from.
        Condition::Branch(place, branch) => push_exists(query, *place, *branch),
    });
    query.push(")");
}

/// Adds what must hold for one row of `json_each` by itself; what is wanted inside it are rows of their own.
fn push_row(query: &mut QueryBuilder<Sqlite>, row: usize, child: Child<'_>) {
    let Child { step, wanted } = child;
    query.push("(");
    match step {
        Step::Member(name) => {
            query.push(format_args!("j{row}.key = ")).push_bind(name.to_owned()).push(" AND ");
        }
        Step::Position(position) => {
            query.push(format_args!("j{row}.key = {position} AND "));
        }
        Step::Element => {}
    }
    match wanted {
        Wanted::Inside(..) => {
            query.push(format_args!("j{row}.type = 'object'"));
        }
        Wanted::NotNull => {
            query.push(format_args!("j{row}.type <> 'null'"));
        }
        Wanted::Value(value, how) => push_value(query, row, value, how),
    }
    query.push(")");
}

fn push_value(query: &mut QueryBuilder<Sqlite>, row: usize, wanted: &Value, how: Match) {
    match wanted {
        Value::Null => {
            query.push(format_args!("j{row}.type = 'null'"));
        }
        Value::Bool(flag) => {
            query.push(format_args!("j{row}.type = '{flag}'"));
        }
        // SQLite reads the wanted number from text as it does the stored one, and compares integers with fractions
        // exactly. Integers beyond 64 bits signed are read as floating point.
        Value::Number(number) => {
            query
                .push(format_args!("j{row}.type IN ('integer', 'real') AND j{row}.value = json_extract("))
                .push_bind(number.to_string())
                .push(", '$')");
        }
        Value::String(text) => {
            query.push(format_args!("j{row}.type = 'text' AND j{row}.value = ")).push_bind(text.clone());
        }
        Value::Object(members) => {
            query.push(format_args!("j{row}.type = 'object'"));
            push_count(query, row, Kind::Object, members.len(), how);
        }
        Value::Array(elements) => {
            query.push(format_args!("j{row}.type = 'array'"));
            push_count(query, row, Kind::Array, elements.len(), how);
        }
    }
}

/// Adds the condition that there is nothing inside the row but what is wanted, when that matters.
fn push_count(query: &mut QueryBuilder<Sqlite>, row: usize, kind: Kind, count: usize, how: Match) {
    if how == Match::Equal {
        query.push(" AND (SELECT count(*) FROM ");
        Place::Row(row).push_each(query, kind);
        query.push(format_args!(") = {count}"));
    }
}

/// Adds the conditions of `items`, joined; none is true. They are paired up as a balanced tree, because a plain chain
/// is as deep an expression as it is long.
fn push_joined<T>(
    query: &mut QueryBuilder<Sqlite>,
    items: &[T],
    operator: &'static str,
    push_one: &mut dyn FnMut(&mut QueryBuilder<Sqlite>, &T),
) {
    match items {
        [] => {
            query.push("1");
        }
        [only] => push_one(query, only),
        _ => {
            let (left, right) = items.split_at(items.len() / 2);
            query.push("(");
            push_joined(query, left, operator, push_one);
            query.push(operator);
            push_joined(query, right, operator, push_one);
            query.push(")");
        }
    }
}
