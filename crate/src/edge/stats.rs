//! What /metrics says about the edge, counted where calls end.
//!
//! Invariant: labels come from the method table, never from a request, so no caller can make the counters grow.

use std::time::Duration;

use super::status::CODES;

/// Upper bounds of the latency buckets in seconds: fine around the cost of a memory read, a disk sync and a time-out.
pub const LATENCY_BOUNDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
    30.0,
];
const BOUNDS_MICROS: [u64; 18] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 30_000_000,
];

#[derive(Clone, Default)]
pub struct MethodStats {
    pub codes: [u64; CODES],
    /// One more than the bounds: the last bucket has none.
    pub buckets: [u64; LATENCY_BOUNDS.len() + 1],
    pub seconds: f64,
}

#[derive(Default)]
pub struct Stats {
    pub methods: Vec<MethodStats>,
    /// Calls of methods that do not exist.
    pub unknown: u64,
    /// Calls refused because a queue was full.
    pub overloaded: u64,
}

impl Stats {
    pub fn new(methods: usize) -> Stats {
        Stats { methods: vec![MethodStats::default(); methods], ..Stats::default() }
    }

    pub fn count(&mut self, method: usize, code: u32, latency: Duration) {
        let Some(stats) = self.methods.get_mut(method) else {
            return;
        };
        stats.codes[(code as usize).min(CODES - 1)] += 1;
        let micros = latency.as_micros() as u64;
        stats.buckets[BOUNDS_MICROS.partition_point(|bound| *bound < micros)] += 1;
        stats.seconds += latency.as_secs_f64();
    }
}
