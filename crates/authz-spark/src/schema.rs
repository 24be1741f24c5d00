use std::collections::BTreeMap;

use agentex_authz::AuthzError;
use agentex_authz::model::SCHEMA;

use crate::authorizer::SparkAuthorizer;
use crate::failure::from_status;

/// What [`SparkAuthorizer::ensure_schema`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaChange {
    /// The schema was there already.
    None,
    /// The schema was missing or an older one, and is written now.
    Written,
}

impl SparkAuthorizer {
    /// Makes SpiceDB use the permission model of agentex. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`AuthzError::Refused`] when the stored schema has definitions that ours lacks, which writing would drop;
    /// [`AuthzError::Protocol`] when SpiceDB does not take the schema, for example because relationships exist that it
    /// has no place for. Nothing was changed in both cases.
    pub async fn ensure_schema(&self) -> Result<SchemaChange, AuthzError> {
        if let Some(stored) = self.client.read_schema().await.map_err(from_status)? {
            match comparison(&stored) {
                Comparison::Same => return Ok(SchemaChange::None),
                Comparison::Foreign => return Err(AuthzError::Refused),
                Comparison::Different => {}
            }
        }
        let write = self.freshness.begin_write();
        let token = self.client.write_schema(SCHEMA).await.map_err(from_status)?;
        write.done(token);
        Ok(SchemaChange::Written)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Same,
    Different,
    /// Somebody else's definitions are in it.
    Foreign,
}

fn comparison(stored: &str) -> Comparison {
    let (ours, theirs) = (blocks(SCHEMA), blocks(stored));
    if ours == theirs {
        Comparison::Same
    } else if theirs.keys().all(|head| ours.keys().any(|known| name(known) == name(head))) {
        Comparison::Different
    } else {
        Comparison::Foreign
    }
}

/// What stands before each pair of braces, and the lines between them. SpiceDB keeps a schema in its own order and
/// layout, so neither is part of it; the same goes for comments.
fn blocks(schema: &str) -> BTreeMap<String, Vec<String>> {
    let text = without_comments(schema);
    let blocks = text.split_inclusive('}').filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let (head, body) = block.split_once('{').unwrap_or((block, ""));
            let mut lines: Vec<String> =
                body.lines().map(plain).filter(|line| !line.is_empty() && line != "}").collect();
            lines.sort();
            (head.split_whitespace().collect::<Vec<_>>().join(" "), lines)
        })
        .collect()
}

/// `definition task` of `definition task`, `caveat acting_in` of `caveat acting_in(account string, …)`.
fn name(head: &str) -> &str {
    head.split('(').next().unwrap_or(head)
}

fn without_comments(schema: &str) -> String {
    let mut rest = schema;
    let mut kept = String::new();
    while let Some((before, comment)) = rest.split_once("/*") {
        kept.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// A line without blanks at its ends, double blanks and the parentheses SpiceDB leaves out: `+` binds tighter than the
/// other operators, so around a union they mean nothing.
fn plain(line: &str) -> String {
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut from = 0;
    while let Some(close) = line[from..].find(')').map(|at| from + at) {
        let open = line[..close].rfind('(').filter(|open| {
            let inside = &line[open + 1..close];
            *open >= from && !inside.contains('&') && !inside.contains(" - ")
        });
        from = match open {
            Some(open) => {
                line = format!("{}{}{}", &line[..open], &line[open + 1..close], &line[close + 1..]);
                open
            }
            None => close + 1,
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_makes_no_difference_and_content_does() {
        let changed = |from: &str, to: &str| {
            assert!(SCHEMA.contains(from), "{from}");
            comparison(&SCHEMA.replace(from, to))
        };

        assert_eq!(changed("  ", "\t"), Comparison::Same);
        assert_eq!(changed("(viewer + editor + owner) &", "viewer + editor + owner &"), Comparison::Same);
        assert_eq!(changed("(editor + owner) & internal", "editor + (owner & internal"), Comparison::Different);
        assert_eq!(changed("account == acting_account", "true || account == acting_account"), Comparison::Different);
        assert_eq!(changed("permission cancel = owner &", "permission cancel = editor &"), Comparison::Different);
        assert_eq!(changed("acting_in(account string", "acting_in(account int"), Comparison::Different);
        assert_eq!(comparison("definition user {}"), Comparison::Different);
        assert_eq!(comparison(&format!("{SCHEMA}\ndefinition invoice {{}}")), Comparison::Foreign);
        assert_eq!(comparison(&format!("{SCHEMA}\nuse expiration")), Comparison::Foreign);
        assert_eq!(comparison("not a schema"), Comparison::Foreign);
    }
}
