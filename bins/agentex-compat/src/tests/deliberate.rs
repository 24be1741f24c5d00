use crate::deliberate::Deliberate;
use crate::finding::{Finding, Kind};

fn finding(kind: Kind, place: &str) -> Finding {
    Finding { kind, place: place.into(), detail: String::new() }
}

fn page(rows: &str) -> String {
    format!(
        "# Title\n\n| Word | Meaning |\n| --- | --- |\n| other | table |\n\n| Difference | Why |\n| --- | --- |\n{rows}\n\nText.\n"
    )
}

#[test]
fn the_page_of_the_documentation_can_be_read() {
    Deliberate::parse(include_str!("../../../../docs/compatibility.md")).unwrap();
}

#[test]
fn a_difference_with_a_row_is_meant_and_one_without_is_not() {
    let table = Deliberate::parse(&page("| `missing GET /a`, `narrower * query limit` | small |")).unwrap();
    let meant = || vec![finding(Kind::Missing, "GET /a"), finding(Kind::Narrower, "GET /b query limit")];

    assert!(table.sort(meant()).is_clean());
    let open = finding(Kind::Missing, "GET /a query q");
    let report = table.sort([meant(), vec![open]].concat());
    assert!(!report.is_clean());
    let printed = report.to_string();
    assert!(printed.contains("not explained:\n  missing  GET /a query q\n"), "{printed}");
    assert!(printed.ends_with("0 extra, 2 deliberate, 1 not explained, 0 idle rows\n"), "{printed}");
}

#[test]
fn a_row_about_nothing_is_not_left_standing() {
    let table = Deliberate::parse(&page("| `missing GET /a` | was small |")).unwrap();

    let report = table.sort(Vec::new());

    assert!(!report.is_clean());
    assert!(report.to_string().contains("line 9: missing GET /a"), "{report}");
}

#[test]
fn what_is_extra_needs_no_row() {
    let table = Deliberate::parse(&page("")).unwrap();

    assert!(table.sort(vec![finding(Kind::Extra, "GET /a")]).is_clean());
}

#[test]
fn stars_stand_for_any_text() {
    let meant = |pattern: &str, key: &str| {
        let table = Deliberate::parse(&page(&format!("| `missing {pattern}` | x |"))).unwrap();
        table.sort(vec![finding(Kind::Missing, key)]).is_clean()
    };

    assert!(meant("* 422", "GET /a 422"));
    assert!(meant("GET /a*", "GET /a"));
    assert!(meant("GET */b * x*", "GET /a/b query xy"));
    assert!(meant("*a*a", "aa"));
    assert!(!meant("* 422", "GET /a 4223"));
    assert!(!meant("GET /a", "GET /ab"));
    assert!(!meant("*a*a", "a"));
    assert!(!meant("ab*bc", "abc"));
}

#[test]
fn rows_that_say_nothing_are_refused() {
    let refusal = |rows: &str| Deliberate::parse(&page(rows)).unwrap_err().to_string();

    assert_eq!(refusal("| `missing GET /a` | |"), "line 9: a difference needs a reason");
    assert_eq!(refusal("| missing GET /a | small |"), "line 9: a difference is written between backticks");
    assert_eq!(
        refusal("| `GET /a` | small |"),
        "line 9: `GET /a` must begin with missing, narrower, wider, changed, extra or *"
    );
    assert_eq!(refusal("| `missing GET /a` |"), "line 9: two columns are wanted");
    let none = Deliberate::parse("# Title\n").unwrap_err().to_string();
    assert_eq!(none, "no table with the columns [\"Difference\", \"Why\"]");
}
