//! Prints the settings for the documentation.

use super::settings::{GROUPS, Setting, Status};

const BEGIN: &str = "<!-- settings: begin -->\n";
const END: &str = "<!-- settings: end -->\n";

fn reference() -> String {
    let mut page = String::new();
    for (group, settings) in GROUPS {
        page += &format!("\n## {group}\n\n");
        page += "| Variable | File key | Flag | Default | Allowed | Meaning |\n|---|---|---|---|---|---|\n";
        settings.iter().for_each(|setting| page += &row(setting));
    }
    page + "\n"
}

fn row(setting: &Setting) -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let flag = if setting.flag.is_empty() { String::new() } else { format!("`--{}`", setting.flag) };
    let status = match setting.status {
        Status::Active => "",
        Status::Accepted => "*No effect.* ",
    };
    format!(
        "| `{}` | {} | {flag} | {} | {} | {status}{} |\n",
        setting.name,
        code(setting.key),
        code(setting.default),
        setting.kind.allowed(),
        setting.meaning
    )
}

/// `UPDATE_DOCS=1` writes the page instead of comparing it.
#[test]
fn the_documentation_lists_the_settings_as_they_are() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(file).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}{}{END}{after}", reference());

    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, expected).unwrap();
    } else {
        assert!(page == expected, "docs/configuration.md is out of date; run this test with UPDATE_DOCS=1");
    }
}
