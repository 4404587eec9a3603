//! Which ratios were wanted, and what was found.

use crate::measure::Row;
use crate::rows::{Goal, Plan};
use crate::statistics::{Spread, ratios};

use super::{number, spread};

/// One line of the table of goals.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub what: String,
    pub wanted: String,
    pub found: String,
    pub word: String,
}

impl Verdict {
    pub fn of(what: String, most: f64, found: Option<Spread>, why_not: &str) -> Verdict {
        let wanted = format!("≤ {}", number(most));
        let (found_text, word) = match found {
            None => ("-".to_owned(), format!("not measured: {why_not}")),
            Some(its) if its.median <= most => (spread(Some(its)), "met".to_owned()),
            Some(its) => (
                spread(Some(its)),
                format!("**not met**: {} times too much", number(its.median / most)),
            ),
        };
        Verdict {
            what,
            wanted,
            found: found_text,
            word,
        }
    }

    pub fn cells(self) -> Vec<String> {
        vec![self.what, self.wanted, self.found, self.word]
    }
}

fn added<'a>(row: &'a Row, name: &str) -> Option<&'a [Option<f64>]> {
    let found = row.contenders.iter().find(|its| its.name == name)?;
    Some(&found.added)
}

/// The ratio of each round.
pub fn ratio(row: &Row, goal: &Goal) -> Option<Spread> {
    let (of, to) = (added(row, goal.of)?, added(row, goal.to)?);
    let Some(less) = goal.less else {
        return Spread::of(&ratios(of, to));
    };
    let pairs = of.iter().zip(added(row, less)?);
    let more: Vec<Option<f64>> = pairs.map(|(of, less)| Some((*of)? - (*less)?)).collect();
    Spread::of(&ratios(&more, to))
}

pub fn verdicts(plan: &Plan, row: &Row) -> Vec<Verdict> {
    let verdict = |goal: &Goal| {
        let of = match goal.less {
            Some(less) => format!("{} more than {less}", goal.of),
            None => goal.of.to_owned(),
        };
        let missing = row.contenders.iter().find_map(|its| {
            let concerned = [goal.of, goal.to].contains(&its.name);
            its.why_not.as_deref().filter(|_| concerned)
        });
        let what = format!("{}: {of} / {}", plan.id, goal.to);
        Verdict::of(
            what,
            goal.most,
            ratio(row, goal),
            missing.unwrap_or("no round"),
        )
    };
    plan.goals.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measured;

    fn row() -> Row {
        let measured = |name, added: &[f64]| Measured {
            name,
            added: added.iter().map(|ns| Some(*ns)).collect(),
            ..Measured::default()
        };
        Row {
            base: None,
            contenders: vec![
                measured("E", &[10.0, 10.0, 20.0]),
                measured("one", &[12.0, 11.0, 24.0]),
                measured("two", &[15.0, 14.0, 31.0]),
            ],
            disturbed: 0,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let goal = |of, less| Goal {
            of,
            less,
            to: "E",
            most: 1.15,
        };
        assert_eq!(ratio(&row(), &goal("one", None)).unwrap().median, 1.2);
        assert_eq!(
            ratio(&row(), &goal("two", Some("one"))).unwrap().median,
            0.3
        );
        assert_eq!(ratio(&row(), &goal("three", None)), None);
    }

    #[test]
    fn a_goal_that_is_not_met_says_by_how_much() {
        let found = Spread::of(&[1.5]);
        let missed = Verdict::of("x".into(), 1.0, found, "");
        assert_eq!(missed.word, "**not met**: 1.5 times too much");
        assert_eq!(Verdict::of("x".into(), 1.5, found, "").word, "met");
        let none = Verdict::of("x".into(), 1.5, None, "not installed");
        assert_eq!(none.word, "not measured: not installed");
    }
}
