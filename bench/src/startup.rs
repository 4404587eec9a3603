//! From exec to attached, CPU time of a short whole run, and peak memory; the tools in turn, round by round.

use std::path::Path;

use anyhow::Result;

use crate::measure::{Contender, How};
use crate::rows;

#[derive(Debug, Default)]
pub struct Started {
    pub about: &'static str,
    pub name: &'static str,
    pub attached_ms: Vec<f64>,
    pub cpu_ms: Vec<Option<f64>>,
    pub peak_mib: Vec<Option<f64>>,
    pub why_not: Option<String>,
}

/// # Errors
/// No terminal, no process.
pub fn measure(probes: &Path, rounds: u32) -> Result<Vec<Started>> {
    let groups = rows::starts(probes);
    let all: Vec<(&'static str, Contender)> = groups
        .into_iter()
        .flat_map(|(about, of)| of.into_iter().map(move |its| (about, its)))
        .collect();
    let mut results: Vec<Started> = all
        .iter()
        .map(|(about, contender)| Started {
            about,
            name: contender.name,
            ..Started::default()
        })
        .collect();
    for _ in 0..rounds {
        for ((_, contender), result) in all.iter().zip(&mut results) {
            if result.why_not.is_none() {
                sample(contender, result)?;
            }
        }
    }
    Ok(results)
}

fn sample(contender: &Contender, to: &mut Started) -> Result<()> {
    let running = match &contender.how {
        How::Tool(tool) => {
            let mut tool = tool.clone();
            for arg in &mut tool.args {
                *arg = arg.replace("{pid}", &std::process::id().to_string());
            }
            tool.start()?
        }
        How::None(why) => Err((*why).to_owned()),
        How::Inside(..) => Err("no program of its own".to_owned()),
    };
    match running {
        Err(why) => to.why_not = Some(why),
        Ok(running) => {
            to.attached_ms
                .push(running.attached_after.as_secs_f64() * 1e3);
            let cost = running.stop()?;
            to.cpu_ms.push(Some(cost.cpu.as_secs_f64() * 1e3));
            to.peak_mib.push(Some(cost.peak_kib as f64 / 1024.0));
        }
    }
    Ok(())
}
