//! The matrix for a program; `docs/matrix.schema.json` describes it.

use serde_json::{Map, Value, json};

use super::explain::Fact;
use super::{Cell, Matrix, Row};

pub const SCHEMA: &str = "probes.matrix/1";

pub fn document(matrix: &Matrix) -> Value {
    let labels: Vec<&str> = matrix
        .columns
        .iter()
        .map(|its| its.label.as_str())
        .collect();
    let kernels: Vec<Value> = matrix
        .columns
        .iter()
        .map(|column| {
            json!({
                "label": column.label,
                "name": column.name,
                "kernel": column.check.kernel,
                "duration_ns": column.check.duration_ns,
                "interrupted": column.check.interrupted,
            })
        })
        .collect();
    let differing = matrix
        .rows
        .iter()
        .filter(|row| row.difference.is_some())
        .count();
    json!({
        "schema": SCHEMA,
        "kernels": kernels,
        "claims": matrix.rows.iter().map(|its| row(its, &labels)).collect::<Vec<_>>(),
        "summary": { "differing": differing, "red": matrix.red().count() },
    })
}

fn row(row: &Row, labels: &[&str]) -> Value {
    let cells: Map<String, Value> = labels
        .iter()
        .zip(&row.cells)
        .filter_map(|(label, its)| Some(((*label).to_owned(), cell(its.as_ref()?))))
        .collect();
    let difference = row.difference.as_ref().map(|its| {
        let named = |group: &Vec<usize>| group.iter().map(|at| labels[*at]).collect::<Vec<_>>();
        json!({
            "by": its.by.word(),
            "groups": its.groups.iter().map(named).collect::<Vec<_>>(),
            "separated_by": its.facts.iter().map(|its| fact(its, labels)).collect::<Vec<_>>(),
        })
    });
    json!({ "id": row.id, "trace": row.trace, "cells": cells, "difference": difference })
}

fn cell(cell: &Cell) -> Value {
    let number = cell.number.as_ref();
    let expected = cell.expected.as_ref();
    json!({
        "result": cell.result,
        "known": cell.known,
        "because": cell.because,
        "number": number.map(|its| json!({ "key": its.key, "value": its.value })),
        "expected": expected.map(|its| json!({ "result": its.result, "source": its.source })),
    })
}

fn fact(fact: &Fact, labels: &[&str]) -> Value {
    let values: Map<String, Value> = labels
        .iter()
        .zip(&fact.values)
        .map(|(label, value)| ((*label).to_owned(), json!(value)))
        .collect();
    json!({ "kind": fact.kind, "names": fact.names, "values": values })
}
