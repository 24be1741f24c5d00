//! The parts that every list has in common.

use agentex_authz::Scope;
use agentex_domain::{Direction, PageRequest};
use sqlx::{Postgres, QueryBuilder};

/// Keeps only the rows whose `column` is in `scope`.
pub(crate) fn push_scope(query: &mut QueryBuilder<Postgres>, column: &str, scope: &Scope) {
    if let Scope::Only(ids) = scope {
        let ids: Vec<&str> = ids.iter().collect();
        query.push(format_args!(" AND {column} = ANY(")).push_bind(ids).push(")");
    }
}

/// Sorts by `columns` in order, all in the same direction.
pub(crate) fn push_order(query: &mut QueryBuilder<Postgres>, columns: &[&str], direction: Direction) {
    for (place, column) in columns.iter().enumerate() {
        let (column, nullable) = match column.strip_suffix('?') {
            Some(column) => (column, true),
            None => (*column, false),
        };
        let before = if place == 0 { " ORDER BY " } else { ", " };
        query.push(before).push(column).push(suffix(direction, nullable));
    }
}

/// Takes the rows of `page`.
pub(crate) fn push_page(query: &mut QueryBuilder<Postgres>, page: PageRequest) {
    query.push(" LIMIT ").push_bind(i64::from(page.limit)).push(" OFFSET ").push_bind(page.offset());
}

/// Missing values count as the smallest. Where there are none this is not said, so that the sort matches an index.
const fn suffix(direction: Direction, nullable: bool) -> &'static str {
    match (direction, nullable) {
        (Direction::Ascending, false) => " ASC",
        (Direction::Ascending, true) => " ASC NULLS FIRST",
        (Direction::Descending, false) => " DESC",
        (Direction::Descending, true) => " DESC NULLS LAST",
    }
}
