//! A report as the program printed it: claims by id, ledger tables by name, what was lost.

use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Report {
    pub document: Value,
    pub code: i32,
}

impl Report {
    pub fn claims(&self) -> &[Value] {
        self.document["claims"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    pub fn claim(&self, id: &str) -> &Value {
        let found = self.claims().iter().find(|claim| claim["id"] == id);
        found.unwrap_or_else(|| panic!("no claim {id} in {:?}", self.results()))
    }

    /// Every claim's id and result.
    pub fn results(&self) -> Vec<(String, String)> {
        self.claims()
            .iter()
            .map(|claim| (text(&claim["id"]), text(&claim["result"])))
            .collect()
    }

    /// Why claims are inconclusive.
    pub fn left_open(&self) -> Vec<String> {
        let open = self.claims().iter();
        let open = open.filter(|claim| claim["result"] == "inconclusive");
        open.map(|claim| format!("{}: {}", claim["id"], claim["because"]))
            .collect()
    }

    /// # Panics
    /// There is none, or one does not hold and is not refuted either.
    pub fn assert_settled(&self) -> &Report {
        assert!(
            !self.claims().is_empty(),
            "no claims: {:#}",
            self.document["ledger"]["remarks"]
        );
        for claim in self.claims() {
            let result = text(&claim["result"]);
            assert!(
                result == "holds" || result == "refuted",
                "{} {result}: {}",
                claim["id"],
                claim["because"]
            );
        }
        self.assert_nothing_lost()
    }

    pub fn assert_nothing_lost(&self) -> &Report {
        let losses = &self.document["losses"];
        assert!(
            losses["emitted"].as_u64() > Some(0),
            "nothing was sent at all: {losses}"
        );
        assert!(
            empty(&losses["lost"]) && empty(&losses["failed"]),
            "losses: {losses}"
        );
        self
    }

    pub fn lost(&self) -> u64 {
        let lost = self.document["losses"]["lost"].as_object();
        lost.map_or(0, |lost| lost.values().filter_map(Value::as_u64).sum())
    }

    /// Places where an event of some task is missing, as its other events tell.
    pub fn gaps(&self) -> u64 {
        let gaps = &self.document["losses"]["gaps"];
        gaps.as_u64()
            .unwrap_or_else(|| panic!("no count of gaps: {gaps}"))
    }

    /// Every connection of a watch on one port is there and was accepted; an accept that was not seen must
    /// show as a gap.
    pub fn assert_connections(&self, port: u16, made: u64) -> Row {
        let listeners = self.rows("listeners");
        assert_eq!(listeners.len(), 1, "{listeners:?}");
        let listener = listeners[0].clone();
        assert_eq!(listener.count("port"), u64::from(port));
        assert_eq!(
            listener.count("connections_count"),
            made,
            "connections in the ledger"
        );
        let won = sum(&self.rows("workers"), "won_count");
        assert_eq!(
            made - listener.count("not_accepted_count"),
            won,
            "accepted, by connection and by worker"
        );
        assert!(
            won <= made && made - won <= self.gaps(),
            "{won} of {made} accepted, {} gaps",
            self.gaps()
        );
        listener
    }

    pub fn rows(&self, table: &str) -> Vec<Row> {
        let rows = self.document["ledger"]["tables"][table].as_array();
        let rows =
            rows.unwrap_or_else(|| panic!("no table {table} in {:#}", self.document["ledger"]));
        rows.iter()
            .cloned()
            .map(|row| Row {
                table: table.to_owned(),
                row,
            })
            .collect()
    }

    pub fn remarks(&self) -> Vec<String> {
        self.document["ledger"]["remarks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect()
    }

    /// The hook's rung; None = not attached.
    pub fn attached_as(&self, hook: &str) -> Option<String> {
        let hooks = self.document["hooks"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let found = hooks
            .iter()
            .find(|its| its["hook"] == hook)
            .unwrap_or_else(|| panic!("no hook {hook}"));
        found["attached_as"].as_str().map(str::to_owned)
    }

    /// Some numbers of a person's interest, printed for the log of a failing test.
    pub fn show(&self) {
        let ledger = &self.document["ledger"];
        for (name, table) in ledger["tables"].as_object().into_iter().flatten() {
            if name != "connections" && name != "checks" {
                for row in table.as_array().into_iter().flatten() {
                    println!("{name}: {row}");
                }
            }
        }
        println!("losses: {}", self.document["losses"]);
        for line in self.remarks() {
            println!("remark: {line}");
        }
        for claim in self.claims() {
            println!("{} {}: {}", claim["result"], claim["id"], claim["because"]);
        }
    }
}

/// A row of a ledger table.
#[derive(Debug, Clone)]
pub struct Row {
    table: String,
    row: Value,
}

impl Row {
    pub fn count(&self, key: &str) -> u64 {
        self.row[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{}: no count {key} in {}", self.table, self.row))
    }

    /// None = the report does not know it.
    pub fn known(&self, key: &str) -> Option<u64> {
        self.row[key].as_u64()
    }

    pub fn number(&self, key: &str) -> f64 {
        self.row[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{}: no number {key} in {}", self.table, self.row))
    }

    pub fn flag(&self, key: &str) -> bool {
        self.row[key]
            .as_bool()
            .unwrap_or_else(|| panic!("{}: no {key} in {}", self.table, self.row))
    }

    /// The text, or another where it is not known.
    pub fn text_or<'a>(&'a self, key: &str, other: &'a str) -> &'a str {
        self.row[key].as_str().unwrap_or(other)
    }

    pub fn text(&self, key: &str) -> &str {
        self.row[key]
            .as_str()
            .unwrap_or_else(|| panic!("{}: no text {key} in {}", self.table, self.row))
    }
}

/// Of one column over the rows.
pub fn sum(rows: &[Row], key: &str) -> u64 {
    rows.iter().map(|row| row.count(key)).sum()
}

fn empty(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.values().all(|count| count.as_u64() == Some(0)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
