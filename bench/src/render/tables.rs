//! One table for each part of a run.

use crate::measure::{Measured, Row};
use crate::rows::EMPTY;
use crate::startup::Started;
use crate::statistics::{Spread, ratios};
use crate::stream::{Streamed, Wanted};

use super::{number, spread, table};

fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|its| its.median)
}

pub fn known(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().flatten().copied().collect()
}

pub fn costs(unit: &str, row: &Row) -> String {
    let empty = row.contenders.iter().find(|its| its.name == EMPTY);
    let cells = |its: &Measured| {
        if let Some(why) = &its.why_not {
            return vec![
                its.name.to_owned(),
                why.clone(),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
            ];
        }
        let times = empty.and_then(|empty| Spread::of(&ratios(&its.added, &empty.added)));
        let (runs, inside) = its.inside.unzip();
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        vec![
            its.name.to_owned(),
            spread(Spread::of(&known(&its.added))),
            spread(times),
            or_dash(runs),
            or_dash(inside),
            or_dash(median(&its.reader)),
        ]
    };
    let rows: Vec<Vec<String>> = row.contenders.iter().map(cells).collect();
    let mut text = table(
        &[
            "",
            "added, ns",
            "times the empty program",
            "program runs",
            "ns inside",
            "own CPU, ns",
        ],
        &rows,
    );
    text += &format!(
        "\nFor one {unit}; alone it takes {} ns of CPU time.",
        spread(row.base)
    );
    if row.disturbed > 0 {
        text += &format!(
            " Left out: {} blocks beside somebody else's programs.",
            row.disturbed
        );
    }
    text + "\n"
}

pub fn keys(rows: &[(u32, Row)]) -> String {
    let head: Vec<String> = rows.iter().map(|(count, _)| count.to_string()).collect();
    let mut heads = vec!["keys"];
    heads.extend(head.iter().map(String::as_str));
    let names = rows.first().map(|(_, row)| &row.contenders);
    let cell = |row: &Row, at: usize| {
        let its = &row.contenders[at];
        let missing = its.why_not.as_ref().map(|_| "-".to_owned());
        missing.unwrap_or_else(|| spread(Spread::of(&known(&its.added))))
    };
    let lines: Vec<Vec<String>> = names
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(at, its)| {
            let cells = rows.iter().map(|(_, row)| cell(row, at));
            [its.name.to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    table(&heads, &lines)
}

pub fn starts(all: &[Started]) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|its| {
            let name = format!("{}: {}", its.about, its.name);
            if let Some(why) = &its.why_not {
                return vec![name, why.clone(), "-".into(), "-".into()];
            }
            vec![
                name,
                spread(Spread::of(&its.attached_ms)),
                spread(Spread::of(&known(&its.cpu_ms))),
                spread(Spread::of(&known(&its.peak_mib))),
            ]
        })
        .collect();
    table(
        &[
            "",
            "exec to attached, ms",
            "CPU of a short run, ms",
            "peak memory, MiB",
        ],
        &rows,
    )
}

pub fn streams(all: &[(Wanted, Vec<Streamed>)]) -> String {
    let of = |runs: &[Streamed], what: fn(&Streamed) -> f64| {
        spread(Spread::of(&runs.iter().map(what).collect::<Vec<f64>>()))
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(wanted, runs)| {
            let lossless = runs.iter().filter(|run| run.lost == 0).count();
            let adds_up = runs.iter().filter(|run| run.read == run.sent).count();
            vec![
                format!(
                    "{} M/s, {} MiB",
                    wanted.rate as f64 / 1e6,
                    wanted.ring >> 20
                ),
                of(runs, |run| run.rate / 1e6),
                format!("{lossless} of {}", runs.len()),
                of(runs, |run| {
                    run.lost as f64 * 100.0 / (run.sent + run.lost).max(1) as f64
                }),
                format!("{adds_up} of {}", runs.len()),
                of(runs, |run| run.reader),
                of(runs, |run| run.share * 100.0),
            ]
        })
        .collect();
    table(
        &[
            "wanted, ring",
            "offered, M/s",
            "runs without loss",
            "lost, %",
            "produced = read + lost",
            "reader, ms CPU per million",
            "reader, % of a core",
        ],
        &rows,
    )
}
