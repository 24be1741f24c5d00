//! The page of the documentation that holds the table.

/// The page. `machine` is a list, `table` a table, both in Markdown.
pub(crate) fn page(machine: &str, table: &str) -> String {
    include_str!("page.md").replace("{{machine}}", machine.trim_end()).replace("{{table}}", table.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_the_machine_and_the_table() {
        let page = page("- Date: today\n", "| a |\n");

        assert!(page.contains("\n- Date: today\n") && page.contains("\n| a |\n"), "{page}");
        assert!(!page.contains("{{"), "{page}");
    }
}
