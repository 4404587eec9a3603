//! The result lines of the test binary: JSON, one object a line. Read leniently: an unknown event
//! or field is no error, and neither is a line that is no JSON (a program may print into the port).

use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Plan {
        tests: Vec<String>,
    },
    Started {
        test: String,
    },
    Finished {
        test: String,
        outcome: Outcome,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        ms: u64,
    },
    /// What a test has made for us.
    Document {
        kind: String,
        document: serde_json::Value,
    },
    Summary {},
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Fail,
    Skip,
}

#[must_use]
pub fn parse(line: &str) -> Option<Event> {
    match serde_json::from_str(line.trim()) {
        Ok(Event::Unknown) | Err(_) => None,
        Ok(event) => Some(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_line_is_read_with_and_without_a_reason() {
        let line =
            r#"{"event":"finished","test":"a","outcome":"skip","reason":"no kprobes","ms":3}"#;
        let Some(Event::Finished {
            outcome,
            reason,
            ms,
            ..
        }) = parse(line)
        else {
            panic!("not read");
        };
        assert_eq!(
            (outcome, reason.as_deref(), ms),
            (Outcome::Skip, Some("no kprobes"), 3)
        );
        assert!(parse(r#"{"event":"finished","test":"a","outcome":"pass","new":1}"#).is_some());
    }

    #[test]
    fn unknown_events_and_noise_are_passed_over() {
        assert_eq!(parse(r#"{"event":"mood","is":"good"}"#), None);
        assert_eq!(parse("hello"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_summary_may_carry_any_numbers() {
        let line = r#"{"event":"summary","passed":1,"failed":0,"skipped":0}"#;
        assert_eq!(parse(line), Some(Event::Summary {}));
    }

    #[test]
    fn a_document_comes_as_it_is() {
        let line = r#"{"event":"document","test":"a","kind":"check","document":{"claims":[]}}"#;
        let Some(Event::Document { kind, document }) = parse(line) else {
            panic!("not read");
        };
        assert_eq!(kind, "check");
        assert_eq!(document, serde_json::json!({ "claims": [] }));
    }
}
