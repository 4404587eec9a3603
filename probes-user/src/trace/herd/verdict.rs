//! From scenes to findings. A verdict needs complete evidence and a positive control on the same hooks.
//!
//! What blocks a verdict is looked for first, in the order in which a person would want to know it:
//! hooks, lab, losses, counts that differ, controls that are silent, wakings that nobody owns.

use serde_json::Value;

use super::connection::Connection;
use super::marks::{Arrival, Variant};
use super::numbers::{self, Numbers};
use super::question::{
    EVERY_RATIO, JUDGED_RATIO, JUDGED_RATIO_MUTEX, ONE_RATIO, Question, Rule, SILENT_RATIO,
    USELESS_LIMIT,
};
use super::scene::{SceneResult, label};
use super::scenes::Plan;
use crate::evidence::statistics::{ratio, rounded};
use crate::evidence::{ClaimResult, Finding};
use crate::trace::Ending;

/// Records of these kinds take no part in a verdict; losing them costs detail only.
const NOT_USED: &[&str] = &["WaitWake", "DataReady", "Exec", "Fork"];

/// What keeps a claim from being settled.
type Blocked = (ClaimResult, String);

/// Settles each question whose scene was asked for.
pub fn judge(
    questions: &[Question],
    scenes: &[SceneResult],
    plan: Option<&Plan>,
    ending: &Ending,
) -> Vec<Finding> {
    questions
        .iter()
        .filter(|question| {
            plan.is_none_or(|plan| plan.asks_for(question.variant, Arrival::Sequential))
        })
        .map(|question| settle(question, scenes, ending))
        .collect()
}

fn settle(question: &Question, scenes: &[SceneResult], ending: &Ending) -> Finding {
    let mut numbers = Numbers::new();
    let found = usable(question.variant, scenes, ending).and_then(|scene| {
        numbers = numbers::of_scene(scene);
        decide(question, scene, &mut numbers)
    });
    let mut because = String::new();
    let result = match found {
        Ok((result, why)) => {
            because.push_str(&why);
            contrast(question, scenes, &mut numbers, &mut because);
            result
        }
        Err((result, why)) => {
            because.push_str(&why);
            result
        }
    };
    Finding {
        id: question.claim.id.to_owned(),
        result,
        statement: question.claim.statement.to_owned(),
        because,
        numbers,
    }
}

/// The variant's sequential scene, if all its evidence is there.
fn usable<'a>(
    variant: Variant,
    scenes: &'a [SceneResult],
    ending: &Ending,
) -> Result<&'a SceneResult, Blocked> {
    if let Some(blocked) = ending.blocks(NOT_USED) {
        return Err(blocked);
    }
    let name = label(variant, Arrival::Sequential);
    let Some(scene) = scenes
        .iter()
        .find(|scene| scene.is(variant, Arrival::Sequential))
    else {
        let why = if ending.interrupted {
            "interrupted before"
        } else {
            "the lab never came to"
        };
        return Err(inconclusive(format!("{why} scene {name}")));
    };
    let Some(end) = &scene.end else {
        return Err(inconclusive(format!("scene {name} has no end")));
    };
    if !end.complete {
        return Err(inconclusive(format!(
            "scene {name}: not every connection was made and accepted"
        )));
    }
    if let Some(check) = scene
        .checks
        .iter()
        .find(|check| check.binding && !check.agrees())
    {
        return Err(inconclusive(format!(
            "independent counts differ, {}",
            check.told()
        )));
    }
    controls_spoke(scene)?;
    Ok(scene)
}

fn controls_spoke(scene: &SceneResult) -> Result<(), Blocked> {
    let counts = &scene.counts;
    let silent = [
        (counts.established, "inet_sock_set_state"),
        (counts.wakings, "sched_waking"),
    ];
    if let Some((_, hook)) = silent.iter().find(|(count, _)| *count == 0) {
        return Err(inconclusive(format!(
            "positive control silent: {hook} never fired for this scene"
        )));
    }
    if scene
        .connections
        .iter()
        .all(|connection| connection.wakings == 0)
    {
        return Err(inconclusive(
            "positive control silent: no waking came from a connection".to_owned(),
        ));
    }
    let open = [
        (
            counts.unattributed,
            "wakings by a connection that nobody knows",
        ),
        (
            counts.wrong_phase,
            "wakings by a connection of another phase",
        ),
        (
            counts.no_stack,
            "wakings beside a connection without a stack",
        ),
        (
            counts.unknown_state,
            "wakings of tasks whose state was not known",
        ),
    ];
    match open.iter().find(|(count, _)| *count > 0) {
        Some((count, what)) => Err(inconclusive(format!("{what}: {count}"))),
        None => Ok(()),
    }
}

/// The connections that can tell one from many.
fn judged(scene: &SceneResult) -> Result<Vec<&Connection>, Blocked> {
    let mutex = scene.mark.variant == Variant::AcceptMutex;
    let candidates: Vec<&Connection> = scene
        .connections
        .iter()
        .filter(|connection| connection.sleepers.len() >= 2 && !connection.gapped)
        .filter(|connection| !mutex || connection.registered_sleepers() >= 1)
        .collect();
    let silent = candidates
        .iter()
        .filter(|connection| connection.wakings == 0)
        .count();
    if ratio(silent as u64, candidates.len() as u64).is_some_and(|share| share > SILENT_RATIO) {
        let why = format!(
            "{silent} of {} connections show no waking at all",
            candidates.len()
        );
        return Err(inconclusive(format!("positive control silent: {why}")));
    }
    let judged: Vec<&Connection> = candidates
        .into_iter()
        .filter(|connection| !connection.woken.is_empty())
        .collect();
    let floor = if mutex {
        JUDGED_RATIO_MUTEX
    } else {
        JUDGED_RATIO
    };
    let made = scene.connections.len();
    if ratio(judged.len() as u64, made as u64).is_none_or(|share| share < floor) {
        let why = format!(
            "only {} of {made} connections met two or more sleeping waiters",
            judged.len()
        );
        return Err(inconclusive(why));
    }
    Ok(judged)
}

fn decide(
    question: &Question,
    scene: &SceneResult,
    numbers: &mut Numbers,
) -> Result<(ClaimResult, String), Blocked> {
    let judged = judged(scene)?;
    let count = judged.len() as u64;
    numbers.insert("judged_count".to_owned(), Value::from(count));
    let holds = |yes| {
        if yes {
            ClaimResult::Holds
        } else {
            ClaimResult::Refuted
        }
    };
    let totals = super::totals::Totals::of(judged.iter().copied());
    let woken = totals.per_connection(totals.woken).unwrap_or(0.0);
    let asleep = totals.per_connection(totals.sleepers).unwrap_or(0.0);
    let shared = format!("a connection woke {woken:.1} of {asleep:.1} sleeping waiters");
    let fits = |rule: fn(&Connection) -> bool| judged.iter().filter(|c| rule(c)).count() as u64;
    match question.rule {
        Rule::One => {
            let one = fits(|connection| connection.woken.len() == 1);
            let share = ratio(one, count);
            numbers.insert("exactly_one_ratio".to_owned(), rounded(share));
            let why = format!("{shared}; {one} of {count} connections woke exactly one");
            Ok((holds(share >= Some(ONE_RATIO)), why))
        }
        Rule::Every => {
            let every = fits(|connection| connection.woken.len() >= connection.sleepers.len());
            let share = ratio(every, count);
            numbers.insert("every_ratio".to_owned(), rounded(share));
            let cascades = totals.per_connection(totals.cascades).unwrap_or(0.0);
            let mut why = format!("{shared}; {every} of {count} connections woke all");
            if cascades > 0.0 {
                why.push_str(&format!(
                    "; {cascades:.1} more per connection are woken by one another"
                ));
            }
            Ok((holds(share >= Some(EVERY_RATIO)), why))
        }
        Rule::NoneUseless => {
            let useless = ratio(scene.totals.useless, scene.totals.accepted);
            let switches = ratio(scene.totals.switches, scene.totals.accepted);
            let why = format!(
                "{:.2} useless wakeups and {:.1} context switches of workers per accepted connection",
                useless.unwrap_or(0.0),
                switches.unwrap_or(0.0)
            );
            Ok((holds(useless <= Some(USELESS_LIMIT)), why))
        }
    }
}

/// Adds the contrasting scenes' numbers, and their herd in a few words.
fn contrast(
    question: &Question,
    scenes: &[SceneResult],
    numbers: &mut Numbers,
    because: &mut String,
) {
    for variant in question.contrasts {
        let Some(scene) = scenes
            .iter()
            .find(|scene| scene.is(*variant, Arrival::Sequential))
        else {
            continue;
        };
        let name = super::scene::variant_name(*variant);
        for (key, value) in numbers::contrast(scene) {
            numbers.insert(format!("{}_{key}", name.replace('-', "_")), value);
        }
        let totals = &scene.totals;
        let (what, sum) = match question.rule {
            Rule::NoneUseless => ("useless", totals.useless),
            Rule::One | Rule::Every => ("woken", totals.woken),
        };
        if let Some(mean) = totals.per_connection(sum) {
            because.push_str(&format!("; {name}: {mean:.1} {what}"));
        }
    }
}

fn inconclusive(why: String) -> Blocked {
    (ClaimResult::Inconclusive, why)
}
