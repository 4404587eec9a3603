//! One connection as swim lanes: client, softirq, and each worker that had a part in it.

use std::collections::BTreeSet;

/// More than a connection has to tell, less than a terminal can bear.
const MAX_NOTES: usize = 400;
const WIDTH: usize = 100;
const TIME_WIDTH: usize = 8;
const CLIENT_WIDTH: usize = 13;
const SOFTIRQ_WIDTH: usize = 12;
/// Workers drawn; more do not fit.
const WORKERS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Client,
    Softirq,
    Worker(u32),
}

#[derive(Debug, Clone)]
struct Note {
    at: u64,
    lane: Lane,
    text: String,
}

#[derive(Debug, Default)]
pub struct Timeline {
    wanted: Option<u64>,
    origin: Option<u64>,
    /// The phase of the wanted connection; a later one ends it.
    phase: u32,
    closed: bool,
    notes: Vec<Note>,
}

impl Timeline {
    pub fn new(wanted: Option<u64>) -> Timeline {
        Timeline {
            wanted,
            ..Timeline::default()
        }
    }

    /// A connection begins; `phase` 0 = no phases, the next connection ends this one.
    pub fn begin(&mut self, at: u64, index: u64, phase: u32) {
        if self.wanted == Some(index) && self.origin.is_none() {
            self.origin = Some(at);
            self.phase = phase;
        } else if self.origin.is_some() && (phase == 0 || phase != self.phase) {
            self.closed = true;
        }
    }

    pub fn end(&mut self) {
        self.closed |= self.origin.is_some();
    }

    pub fn active(&self) -> bool {
        self.origin.is_some() && !self.closed && self.notes.len() < MAX_NOTES
    }

    pub fn note(&mut self, at: u64, lane: Lane, text: impl FnOnce() -> String) {
        if self.active() {
            self.notes.push(Note {
                at,
                lane,
                text: text(),
            });
        }
    }

    /// `name` gives a worker's heading.
    pub fn draw(&self, name: impl Fn(u32) -> String) -> Vec<String> {
        let (Some(wanted), Some(origin)) = (self.wanted, self.origin) else {
            return match self.wanted {
                Some(wanted) => vec![format!("connection {wanted} was not seen")],
                None => Vec::new(),
            };
        };
        let mut notes = self.notes.clone();
        notes.sort_by_key(|note| note.at);
        let workers: BTreeSet<Lane> = notes
            .iter()
            .map(|note| note.lane)
            .filter(|lane| matches!(lane, Lane::Worker(_)))
            .collect();
        let mut lanes = vec![Lane::Client, Lane::Softirq];
        lanes.extend(workers.iter().take(WORKERS));
        let drawn = workers.len().clamp(1, WORKERS);
        let width = (WIDTH - TIME_WIDTH - CLIENT_WIDTH - SOFTIRQ_WIDTH) / drawn;
        let mut widths = vec![CLIENT_WIDTH, SOFTIRQ_WIDTH];
        widths.resize(lanes.len(), width.min(24));
        let headings: Vec<String> = lanes.iter().map(|lane| heading(*lane, &name)).collect();
        let mut lines = vec![
            format!("connection {wanted}, µs since connect()"),
            row("µs", &headings, &widths),
        ];
        for note in &notes {
            let Some(column) = lanes.iter().position(|lane| *lane == note.lane) else {
                continue;
            };
            let mut cells = vec![String::new(); lanes.len()];
            cells[column].clone_from(&note.text);
            lines.push(row(&micros(origin, note.at), &cells, &widths));
        }
        if workers.len() > WORKERS {
            lines.push(format!(
                "({} more workers not drawn)",
                workers.len() - WORKERS
            ));
        }
        lines
    }
}

fn heading(lane: Lane, name: &impl Fn(u32) -> String) -> String {
    match lane {
        Lane::Client => "client".to_owned(),
        Lane::Softirq => "softirq".to_owned(),
        Lane::Worker(pid) => name(pid),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one connection")]
fn micros(origin: u64, at: u64) -> String {
    let (sign, ns) = if at < origin {
        ("-", origin - at)
    } else {
        ("", at - origin)
    };
    format!("{sign}{:.1}", ns as f64 / 1000.0)
}

fn row(time: &str, cells: &[String], widths: &[usize]) -> String {
    let mut line = format!("{time:>TIME_WIDTH$}");
    for (cell, width) in cells.iter().zip(widths) {
        let mut text: String = cell.chars().take(width - 1).collect();
        if text.len() < cell.len() {
            text.pop();
            text.push('…');
        }
        line.push_str(&format!(" {text:<fill$}", fill = width - 1));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_connection_is_drawn() {
        let mut timeline = Timeline::new(Some(1));
        timeline.begin(100, 0, 1);
        timeline.note(110, Lane::Softirq, || "too early".to_owned());
        timeline.begin(1_000, 1, 2);
        timeline.note(1_000, Lane::Client, || "connect()".to_owned());
        timeline.note(3_500, Lane::Worker(9), || "woken".to_owned());
        timeline.begin(9_000, 2, 3);
        timeline.note(9_100, Lane::Softirq, || "too late".to_owned());
        let lines = timeline.draw(|pid| format!("w{pid}"));
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(
            lines[3].trim_start().starts_with("2.5") && lines[3].ends_with("woken"),
            "{lines:?}"
        );
    }

    #[test]
    fn lines_never_pass_the_width() {
        let mut timeline = Timeline::new(Some(0));
        timeline.begin(0, 0, 1);
        for pid in 0..20 {
            timeline.note(u64::from(pid), Lane::Worker(pid), || "x".repeat(80));
        }
        let lines = timeline.draw(|pid| pid.to_string());
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:?}"
        );
        assert!(lines.last().unwrap().contains("more workers"));
    }

    #[test]
    fn a_connection_that_never_came_is_told() {
        assert_eq!(
            Timeline::new(Some(7)).draw(|_| String::new()),
            ["connection 7 was not seen"]
        );
        assert!(Timeline::new(None).draw(|_| String::new()).is_empty());
    }
}
