//! Documents by hand: what differs, what separates, what is red, and how all of it is written.

use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = include_str!("../../../../docs/matrix.schema.json");

fn claim(id: &str, result: &str, number: (&str, Value), source: &str) -> Value {
    json!({
        "id": id,
        "trace": id.split_once('/').unwrap().0,
        "result": result,
        "known": "as-expected",
        "because": format!("it {result}, as {} says", number.0),
        "number": { "key": number.0, "value": number.1 },
        "numbers": {},
        "expected": { "result": result, "source": source },
        "took_ns": 1,
    })
}

/// A kernel with or without linear timeouts, and with or without function probes.
fn check(kernel: &str, linear: Option<&str>, probe: Option<&str>) -> Value {
    let (waits, source) = match linear {
        None => ("1.0 2.0 4.1", "doubled at each expiry"),
        Some(_) => ("1.0 1.0 1.1 2.0", "linear at first"),
    };
    json!({
        "schema": "probes.check/1",
        "kernel": kernel,
        "rounds": 1,
        "size_mib": 16,
        "claims": [
            claim("syn-retry/schedule", "refuted", ("waits_measured", json!(waits)), source),
            claim("syn-retry/gives-up", "holds", ("took_ns", json!(1_500_000)), "the book"),
            claim("accept-herd/one-wakeup", "holds", ("woken_mean", json!(1.0)), "the book"),
        ],
        "traces": [
            {
                "trace": "syn-retry",
                "settings": { "tcp_syn_retries": "6", "tcp_syn_linear_timeouts": linear },
                "functions": {},
                "hooks": [{ "hook": "surgeon", "attached_as": "tc" }],
            },
            {
                "trace": "accept-herd",
                "settings": {},
                "functions": { "sock_def_readable": true },
                "hooks": [
                    { "hook": "sched_waking", "attached_as": "tp_btf" },
                    { "hook": "ep_poll_callback", "attached_as": probe },
                    { "hook": "pollwake", "attached_as": probe },
                ],
            },
        ],
        "summary": {},
        "duration_ns": 5,
        "interrupted": false,
    })
}

fn documents() -> Vec<(String, Value)> {
    vec![
        ("host".to_owned(), check("6.18.44", Some("4"), None)),
        ("6.1".to_owned(), check("6.1.90", None, Some("fentry"))),
        ("7.2".to_owned(), check("7.2.1", Some("4"), Some("fentry"))),
    ]
}

fn of(documents: Vec<(String, Value)>) -> Matrix {
    let parsed = documents
        .into_iter()
        .map(|(name, document)| (name, serde_json::from_value(document).unwrap()));
    Matrix::of(parsed.collect())
}

/// The documents with one cell of 7.2 changed.
fn with(claim: usize, changes: &[(&str, Value)]) -> Matrix {
    let mut documents = documents();
    for (key, value) in changes {
        documents[2].1["claims"][claim][*key] = value.clone();
    }
    of(documents)
}

fn difference<'a>(matrix: &'a Matrix, id: &str) -> Option<&'a Difference> {
    matrix
        .rows
        .iter()
        .find(|row| row.id == id)?
        .difference
        .as_ref()
}

#[test]
fn older_kernels_come_first_and_the_host_bears_its_version() {
    let labels = |matrix: &Matrix| -> Vec<String> {
        matrix
            .columns
            .iter()
            .map(|column| column.label.clone())
            .collect()
    };
    assert_eq!(labels(&of(documents())), ["6.1", "6.18", "7.2"]);
    let mut twice = documents();
    twice.push(("bzImage".to_owned(), check("6.1.0-mine", None, None)));
    assert_eq!(labels(&of(twice)), ["6.1", "6.1 (bzImage)", "6.18", "7.2"]);
}

#[test]
fn a_reason_that_differs_is_explained_by_the_setting_that_separates() {
    let matrix = of(documents());
    let found = difference(&matrix, "syn-retry/schedule").unwrap();
    assert_eq!(
        (found.by, found.groups.clone()),
        (Differ::Known, vec![vec![0], vec![1, 2]])
    );
    let names: Vec<String> = found.facts.iter().map(Fact::name).collect();
    assert_eq!(names, ["setting tcp_syn_linear_timeouts"]);
    assert_eq!(
        difference(&matrix, "syn-retry/gives-up"),
        None,
        "times vary"
    );
    assert_eq!(matrix.exit(), Exit::Settled);
}

#[test]
fn a_cell_that_differs_from_what_is_known_is_red_and_no_other() {
    for (known, result, exit) in [
        ("differs", "refuted", Exit::Differs),
        ("differs", "unsupported", Exit::Differs),
        ("not-settled", "not-run", Exit::CannotRun),
        ("not-settled", "inconclusive", Exit::Inconclusive),
    ] {
        let matrix = with(2, &[("known", json!(known)), ("result", json!(result))]);
        let red: Vec<_> = matrix
            .red()
            .map(|(column, cell)| (&*column.label, &*cell.id))
            .collect();
        assert_eq!(red, [("7.2", "accept-herd/one-wakeup")]);
        assert_eq!(matrix.exit(), exit);
        let found = difference(&matrix, "accept-herd/one-wakeup").unwrap();
        assert_eq!(
            (found.by, found.groups.clone()),
            (Differ::Results, vec![vec![0, 1], vec![2]])
        );
        assert!(
            found.facts.is_empty(),
            "nothing is 7.2's alone: {:?}",
            found.facts
        );
    }
}

#[test]
fn counts_are_compared_where_labs_moved_the_same() {
    let count = [("number", json!({ "key": "hits_count", "value": 7 }))];
    let found = with(2, &count);
    assert_eq!(
        difference(&found, "accept-herd/one-wakeup").map(|its| its.by),
        Some(Differ::Number)
    );
    let mut documents = documents();
    documents[2].1["claims"][2]["number"] = count[0].1.clone();
    documents[2].1["size_mib"] = Value::Null;
    assert_eq!(difference(&of(documents), "accept-herd/one-wakeup"), None);
}

#[test]
fn a_page_agrees_with_the_matrix_it_was_made_of_and_with_no_other() {
    let claims = [
        "syn-retry/schedule",
        "syn-retry/gives-up",
        "accept-herd/one-wakeup",
    ];
    let page = markdown::markdown(&of(documents()));
    let held = |matrix: &Matrix, page: &str| against::differences(matrix, page, &claims, "host");
    assert_eq!(held(&of(documents()), &page), Vec::<String>::new());
    let changed = with(1, &[("result", json!("refuted"))]);
    assert_eq!(
        held(&changed, &page),
        ["syn-retry/gives-up on 7.2: it says holds, found refuted"]
    );
    // Of another host nothing is written down; of a guest something must be.
    let mut others = documents();
    others[0].1["kernel"] = json!("6.8.0");
    assert_eq!(held(&of(others.clone()), &page), Vec::<String>::new());
    others[2].1["kernel"] = json!("7.3.0");
    assert_eq!(held(&of(others), &page), ["it has no column 7.3"]);
    let less = against::differences(&of(documents()), &page, &claims[..2], "host");
    assert_eq!(less, ["there is no claim accept-herd/one-wakeup any more"]);
    let without = page.replace("| `syn-retry/gives-up` | holds | holds | holds |", "");
    assert_eq!(
        held(&of(documents()), &without),
        ["it has no row syn-retry/gives-up"]
    );
    assert_eq!(held(&of(documents()), "").len(), 1);
}

#[test]
fn the_text_shows_what_differs_and_what_is_red() {
    let red = [
        ("known", json!("differs")),
        ("result", json!("refuted")),
        (
            "expected",
            json!({ "result": "holds", "source": "the book" }),
        ),
    ];
    let text = text::text(&with(2, &red));
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    insta::assert_snapshot!("text", text);
}

#[test]
fn the_page_shows_results_differences_numbers_and_circumstances() {
    insta::assert_snapshot!("page", markdown::markdown(&of(documents())));
}

#[test]
fn the_document_fits_its_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = document::document(&with(2, &[("result", json!("refuted"))]));
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(!validator.is_valid(&json!({ "schema": "probes.matrix/1" })));
}
