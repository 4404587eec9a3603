//! What came of the tests: lines for people as libtest writes them, JSON lines for `xtask`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::expected::Verdict;
use crate::context::Test;

#[derive(Debug)]
pub struct Report {
    results: Option<File>,
    show_output: bool,
    begun: Instant,
    passed: usize,
    skipped: usize,
    /// Name, reason, output.
    failed: Vec<(String, String, String)>,
}

impl Report {
    pub fn open(results: Option<&Path>, show_output: bool) -> Result<Report, String> {
        let results = results
            .map(|path| OpenOptions::new().create(true).append(true).open(path))
            .transpose()
            .map_err(|error| format!("could not open the file for results: {error}"))?;
        Ok(Report {
            results,
            show_output,
            begun: Instant::now(),
            passed: 0,
            skipped: 0,
            failed: Vec::new(),
        })
    }

    pub fn plan(&mut self, tests: &[Test]) {
        let names: Vec<&str> = tests.iter().map(|test| test.name).collect();
        self.event(&json!({"event": "plan", "tests": names}));
        println!("\nrunning {} tests", tests.len());
    }

    pub fn started(&mut self, test: &str) {
        self.event(&json!({"event": "started", "test": test}));
        print!("test {test} ... ");
        let _flushed = std::io::stdout().flush();
    }

    pub fn handed_over(&mut self, test: &str, documents: &[Value]) {
        for handed in documents {
            let (kind, document) = (&handed["kind"], &handed["document"]);
            self.event(
                &json!({"event": "document", "test": test, "kind": kind, "document": document}),
            );
        }
    }

    pub fn finished(&mut self, test: &str, verdict: &Verdict, output: &str, took: Duration) {
        let (outcome, reason) = match verdict {
            Verdict::Pass => ("pass", None),
            Verdict::Fail(why) => ("fail", Some(why)),
            Verdict::Skip(why) => ("skip", Some(why)),
        };
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut line = json!({"event": "finished", "test": test, "outcome": outcome, "ms": ms});
        if let Some(why) = reason {
            line["reason"] = Value::from(why.as_str());
        }
        self.event(&line);
        match verdict {
            Verdict::Pass => {
                self.passed += 1;
                println!("ok ({ms} ms)");
                if self.show_output {
                    println!("{}", indented(output));
                }
            }
            Verdict::Skip(why) => {
                self.skipped += 1;
                println!("ignored, {why}");
            }
            Verdict::Fail(why) => {
                println!(
                    "FAILED ({ms} ms)\n    {}\n{}",
                    why.replace('\n', "\n    "),
                    indented(output)
                );
                self.failed
                    .push((test.to_owned(), why.clone(), output.to_owned()));
            }
        }
    }

    /// Says whether all is well.
    pub fn summary(&mut self, left_out: usize) -> bool {
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped);
        if failed > 0 {
            println!("\nfailures:");
            for (test, why, _) in &self.failed {
                println!("    {test}: {}", why.lines().next().unwrap_or_default());
            }
        }
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; \
             {left_out} filtered out; finished in {:.2}s\n",
            self.begun.elapsed().as_secs_f64()
        );
        self.event(
            &json!({"event": "summary", "passed": passed, "failed": failed, "skipped": skipped}),
        );
        failed == 0
    }

    fn event(&mut self, line: &Value) {
        if let Some(results) = &mut self.results {
            let written = writeln!(results, "{line}").and_then(|()| results.flush());
            assert!(written.is_ok(), "the file for results: {written:?}");
        }
    }
}

/// The end of what a failed test said; a whole report would hide the reason.
fn indented(output: &str) -> String {
    const LAST: usize = 120;
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(LAST);
    lines[from..]
        .iter()
        .map(|line| format!("    | {line}\n"))
        .collect()
}
