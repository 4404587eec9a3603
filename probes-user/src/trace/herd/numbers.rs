//! A scene's numbers under the names they bear in findings and tables.

use serde_json::{Map, Value};

use super::scene::SceneResult;
use super::stack::Cause;
use crate::evidence::statistics::{ratio, rounded};

pub type Numbers = Map<String, Value>;

/// Everything about a scene that a verdict may want to show.
pub fn of_scene(scene: &SceneResult) -> Numbers {
    let totals = &scene.totals;
    let mut numbers = Numbers::new();
    let mut put = |key: &str, value: Value| numbers.insert(key.to_owned(), value);
    put("connections_count", Value::from(totals.connections));
    put("workers_count", Value::from(scene.workers.len()));
    put("woken_max", Value::from(totals.max_woken));
    put(
        "wake_to_run_p50_ns",
        scene.latency.quantile(0.5).map_or(Value::Null, Value::from),
    );
    put("busiest_ratio", rounded(scene.busiest()));
    put(
        "timer_wakeups_per_connection",
        rounded(ratio(scene.wakeups_by(Cause::Timer), totals.connections)),
    );
    put(
        "silent_per_connection",
        rounded(totals.per_connection(totals.silent)),
    );
    put(
        "sleepers_mean",
        rounded(totals.per_connection(totals.sleepers)),
    );
    numbers.extend(contrast(scene));
    numbers
}

/// The short form for a scene shown beside the judged one.
pub fn contrast(scene: &SceneResult) -> Numbers {
    let totals = &scene.totals;
    let per = |sum| rounded(totals.per_connection(sum));
    let named = [
        ("woken_mean", per(totals.woken)),
        ("cascades_per_connection", per(totals.cascades)),
        ("eagain_per_connection", per(totals.eagain)),
        ("useless_wakeups_per_connection", per(totals.useless)),
        ("switches_per_connection", per(totals.switches)),
        ("on_cpu_ns_per_connection", per(totals.on_cpu_ns)),
        ("wasted_ns_per_connection", per(totals.wasted_ns)),
        ("gini_ratio", rounded(scene.gini())),
    ];
    named
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
