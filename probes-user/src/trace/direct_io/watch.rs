//! The watch: which files were read or written with O_DIRECT, by whom, and which went through the cache after all.

use probes_common::pages::Count;
use serde_json::json;

use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::instrument::pages::Pages;
use crate::stream::Item;
use crate::trace::pages::watch::COUNTED;
use crate::trace::{Ending, Fold, Outcome};

#[derive(Default)]
pub struct WatchFold {
    pages: Pages,
}

impl WatchFold {
    fn ledger(&self) -> Ledger {
        let mut table = Table::new(
            "files",
            "Files read or written with O_DIRECT",
            &[
                ("pid", "pid"),
                ("comm", "command"),
                ("file", "file"),
                ("calls_count", "calls"),
                ("direct_bytes", "bytes"),
                ("inserted_count", "pages inserted"),
                ("way", "way"),
            ],
        );
        let rows = self.pages.rows.iter();
        for row in rows.filter(|row| row.get(Count::direct_calls) > 0) {
            let inserted = row.get(Count::inserted_direct);
            table.rows.push(vec![
                json!(row.tgid),
                json!(row.comm),
                json!(row.name),
                json!(row.get(Count::direct_calls)),
                json!(row.get(Count::direct_bytes)),
                json!(inserted),
                json!(match inserted {
                    0 => "direct",
                    _ => "through the cache",
                }),
            ]);
        }
        let mut ledger = Ledger {
            tables: vec![table],
            ..Ledger::default()
        };
        if let Some(full) = self.pages.overflow() {
            let told = format!("The counters were full, not counted: {full}.");
            ledger.remarks.push(told);
        }
        ledger
    }
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        if let Item::Mark(mark) = item
            && mark.name == COUNTED
            && let Ok(pages) = serde_json::from_value(mark.data.clone())
        {
            self.pages = pages;
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(self: Box<Self>, _ending: &Ending) -> Outcome {
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}
