//! One run of each step as a trace, in the JSON of Chrome's tracing, which Perfetto
//! reads too: a row for each step, in it the step, its layers and their pieces, nested.

use super::measure::Phase;
use super::piece::Piece;
use super::report::Report;
use serde_json::{Value, json};

/// The events; times are in microseconds.
pub fn json(report: &Report) -> Value {
    let name = |what: &str, tid: Option<usize>, name: &str| json!({ "ph": "M", "pid": 1, "tid": tid, "name": what, "args": { "name": name } });
    let mut events = vec![name("process_name", None, &format!("{}, {}", report.name, report.device()))];
    for (tid, phase) in report.phases.iter().enumerate() {
        events.push(name("thread_name", Some(tid + 1), &phase.name()));
        events.extend(step(phase, tid + 1));
    }
    json!({ "displayTimeUnit": "ns", "traceEvents": events })
}

/// The events of a step, the enclosing ones first.
fn step(phase: &Phase, tid: usize) -> Vec<Value> {
    let event = |name: &str, kind: &str, (start, end): (f64, f64), args: Value| {
        let (ts, dur) = (1e6 * start, 1e6 * (end - start));
        json!({ "ph": "X", "pid": 1, "tid": tid, "name": name, "cat": kind, "ts": ts, "dur": dur, "args": args })
    };
    let end = phase.pieces.last().map_or(0.0, |piece| piece.span.end);
    let mut events = vec![event(&phase.name(), "step", (0.0, end), json!({ "rows": phase.rows }))];
    for run in phase.pieces.chunk_by(|a, b| a.layer == b.layer) {
        if let Some(layer) = run[0].layer {
            let span = (run[0].span.start, run[run.len() - 1].span.end);
            events.push(event(&format!("layer {layer}"), "layer", span, json!({})));
        }
        let piece = |piece: &Piece| {
            let bytes = json!({ "weight_bytes": piece.cost.weights, "state_bytes": piece.cost.state, "ops": piece.ops });
            event(&piece.name, piece.kind.name(), (piece.span.start, piece.span.end), bytes)
        };
        events.extend(run.iter().map(piece));
    }
    events
}
