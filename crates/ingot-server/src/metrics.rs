//! Counters for Prometheus.

use crate::app::App;
use ingot_engine::scheduler::Stats;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::Ordering;

/// Labels of a finished request. Both have few values: a route's pattern, not what was
/// asked for.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Labels {
    pub(crate) endpoint: String,
    pub(crate) status: u16,
}

pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Labels, Counter>,
    pub(crate) cancelled: Counter,
    pub(crate) first_token: Histogram,
    pub(crate) next_token: Histogram,
    /// What the scheduler and the system count, copied when somebody asks.
    copied: Vec<Copied>,
}

/// A metric, and where its value comes from.
struct Copied {
    metric: Metric,
    value: fn(&Snapshot) -> u64,
}

enum Metric {
    Counter(Counter),
    Gauge(Gauge),
}

/// What is copied.
struct Snapshot {
    stats: Stats,
    active: usize,
    resident: u64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("ingot");
        let (requests, cancelled) = (Family::default(), Counter::default());
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "cancelled",
            "Requests for texts whose client left before the end",
            cancelled.clone(),
        );
        let first_token = Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let next_token = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let unit = Unit::Seconds;
        registry.register_with_unit(
            "time_to_first_token",
            "From when a request was handed to the scheduler to its first token",
            unit.clone(),
            first_token.clone(),
        );
        registry.register_with_unit(
            "inter_token_time",
            "Between two tokens of a text",
            unit,
            next_token.clone(),
        );
        let mut copied = Vec::new();
        let mut counter = |name: &str, help: &str, value: fn(&Snapshot) -> u64| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            copied.push(Copied { metric: Metric::Counter(counter), value });
        };
        counter("prompt_tokens", "Tokens of prompts", |s| s.stats.prompt_tokens);
        counter("cached_tokens", "Tokens of prompts that had been read before", |s| s.stats.cached_tokens);
        counter("generated_tokens", "Tokens written", |s| s.stats.generated_tokens);
        counter("steps", "Steps of the model", |s| s.stats.steps);
        counter("step_rows", "Rows of all steps", |s| s.stats.rows);
        counter("preemptions", "Sequences that had to make room", |s| s.stats.preemptions);
        counter("evictions", "Remembered prefixes that were forgotten", |s| s.stats.evictions);
        let mut gauge = |name: &str, help: &str, value: fn(&Snapshot) -> u64| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            copied.push(Copied { metric: Metric::Gauge(gauge), value });
        };
        gauge("active_requests", "Requests that are being answered", |s| s.active as u64);
        gauge("waiting_sequences", "Sequences that wait for a place", |s| s.stats.waiting as u64);
        gauge("running_sequences", "Sequences that are read or written", |s| s.stats.running as u64);
        gauge("batch_rows", "Rows of the last step", |s| s.stats.batch as u64);
        gauge("remembered_prefixes", "Ends of sequences that can be continued", |s| s.stats.prefixes as u64);
        gauge("sequence_memory_bytes", "Memory of sequences, remembered ones included", |s| s.stats.memory);
        gauge("resident_memory_bytes", "Memory of the process", |s| s.resident);
        Self { registry, requests, cancelled, first_token, next_token, copied }
    }

    /// The page that Prometheus reads.
    pub(crate) fn page(&self, app: &App) -> Result<String, fmt::Error> {
        let snapshot = Snapshot {
            stats: app.running().map(|s| s.stats()).unwrap_or_default(),
            active: app.active.load(Ordering::Relaxed),
            resident: resident_bytes(),
        };
        for Copied { metric, value } in &self.copied {
            match metric {
                Metric::Counter(counter) => counter.inner().store(value(&snapshot), Ordering::Relaxed),
                Metric::Gauge(gauge) => _ = gauge.set(value(&snapshot) as i64),
            }
        }
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> u64 {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let Ok(pid) = sysinfo::get_current_pid() else { return 0 };
    let mut system = System::new();
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, memory);
    system.process(pid).map_or(0, |process| process.memory())
}
