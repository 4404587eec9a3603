//! The runner itself, before it is believed: what must be red is red.

use std::path::PathBuf;
use std::time::Duration;

use super::expected::{SKIPS, Skip, Verdict};
use super::{one, repeated};
use crate::cases::TESTS;
use crate::context::{Ctx, On, Outcome, Test};

const KERNELS: [&str; 5] = ["host", "5.10", "6.1", "6.12", "7.2"];

const ALONE: &str = "PROBES_TESTS_ALONE";

/// The runner forks and reaps, which asks for a process with one thread: the harness runs a test on its
/// main thread when it may use only one.
fn alone(name: &str, body: fn()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let harness = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(harness);
    command.args([
        "--exact",
        &format!("runner::tests::{name}"),
        "--test-threads=1",
    ]);
    let output = command.env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

fn verdict(run: fn(&Ctx) -> Outcome, budget: Duration, skips: &[Skip]) -> Verdict {
    let ctx = Ctx::new("6.1", PathBuf::new());
    let test = Test {
        name: "a::test",
        run,
        budget,
        on: On::Everywhere,
    };
    one(&test, &ctx, skips).0
}

fn quick(run: fn(&Ctx) -> Outcome, skips: &[Skip]) -> Verdict {
    verdict(run, Duration::from_secs(20), skips)
}

const ROW: Skip = Skip {
    kernel: "6.1",
    test: "a::test",
    reason: "known",
};

#[test]
fn a_test_that_returns_passes() {
    alone("a_test_that_returns_passes", || {
        assert_eq!(quick(|_| Outcome::Pass, &[]), Verdict::Pass);
    });
}

#[test]
fn a_panic_fails_with_its_message() {
    alone("a_panic_fails_with_its_message", || {
        let Verdict::Fail(why) = quick(|_| panic!("7 of 8"), &[]) else {
            panic!("not red")
        };
        assert_eq!(why, "7 of 8");
    });
}

#[test]
fn a_hang_fails_when_its_budget_is_over() {
    alone("a_hang_fails_when_its_budget_is_over", || {
        fn hang(_: &Ctx) -> Outcome {
            loop {
                std::thread::park();
            }
        }
        let Verdict::Fail(why) = verdict(hang, Duration::from_millis(200), &[]) else {
            panic!("not red")
        };
        assert!(why.contains("longer"), "{why}");
    });
}

#[test]
fn a_process_that_ends_itself_fails() {
    alone("a_process_that_ends_itself_fails", || {
        fn end(_: &Ctx) -> Outcome {
            std::process::exit(3)
        }
        assert!(matches!(quick(end, &[]), Verdict::Fail(why) if why.contains("code 3")));
        fn die(_: &Ctx) -> Outcome {
            std::process::abort()
        }
        assert!(matches!(quick(die, &[]), Verdict::Fail(why) if why.contains("signal")));
    });
}

#[test]
fn only_an_expected_skip_is_a_skip() {
    alone("only_an_expected_skip_is_a_skip", || {
        fn skip(_: &Ctx) -> Outcome {
            Outcome::Skip("no such thing here".into())
        }
        assert_eq!(
            quick(skip, &[ROW]),
            Verdict::Skip("no such thing here".into())
        );
        let elsewhere = Skip {
            kernel: "5.10",
            ..ROW
        };
        assert!(
            matches!(quick(skip, &[elsewhere]), Verdict::Fail(why) if why.contains("unexpected"))
        );
    });
}

#[test]
fn an_expected_skip_that_runs_fine_is_stale() {
    alone("an_expected_skip_that_runs_fine_is_stale", || {
        assert!(
            matches!(quick(|_| Outcome::Pass, &[ROW]), Verdict::Fail(why) if why.contains("remove the row"))
        );
    });
}

#[test]
fn a_repetition_that_fails_is_not_outvoted() {
    let mut runs = 0;
    let (last, _) = repeated(5, || {
        runs += 1;
        (
            if runs == 3 {
                Verdict::Fail("x".into())
            } else {
                Verdict::Pass
            },
            String::new(),
        )
    });
    assert_eq!((last, runs), (Verdict::Fail("run 3 of 5: x".into()), 3));
}

#[test]
fn expected_skips_name_tests_and_kernels_that_exist() {
    for row in SKIPS {
        assert!(
            TESTS.iter().any(|test| test.name == row.test),
            "{}",
            row.test
        );
        assert!(KERNELS.contains(&row.kernel), "{}", row.kernel);
    }
}

#[test]
fn no_two_tests_share_a_name() {
    let names: std::collections::BTreeSet<&str> = TESTS.iter().map(|test| test.name).collect();
    assert_eq!(names.len(), TESTS.len());
}

#[test]
fn every_file_of_tests_but_the_readme_s_runs_in_guests_too() {
    let file = |test: &Test| test.name.split("::").next().unwrap();
    let (guests, host): (Vec<&Test>, Vec<&Test>) =
        TESTS.iter().partition(|test| test.runs_on("6.12"));
    assert!(TESTS.iter().all(|test| test.runs_on("host")));
    let mut alone: Vec<&str> = host.iter().map(|test| file(test)).collect();
    alone.retain(|name| guests.iter().all(|test| file(test) != *name));
    assert_eq!(alone, ["readme"]);
}

#[test]
fn what_a_test_hands_over_arrives_though_it_fails() {
    alone("what_a_test_hands_over_arrives_though_it_fails", || {
        let ctx = Ctx::new("6.1", PathBuf::new());
        let test = Test {
            name: "a::test",
            run: |ctx| {
                ctx.hand_over("check", &serde_json::json!({ "a": 1 }));
                panic!("it goes wrong after all")
            },
            budget: Duration::from_secs(20),
            on: On::Everywhere,
        };
        assert!(matches!(one(&test, &ctx, &[]).0, Verdict::Fail(_)));
        let handed = serde_json::json!({ "kind": "check", "document": { "a": 1 } });
        assert_eq!(ctx.handed_over(), [handed]);
        assert!(ctx.handed_over().is_empty(), "once");
    });
}
