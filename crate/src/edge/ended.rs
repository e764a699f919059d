//! Calls that have ended, for whoever writes them down: an access log, a log of slow calls.
//!
//! Invariant: nothing is kept unless somebody asked, and never more than `ENDED_MAX`; what did not fit is counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Some turns of a busy server: whoever asked takes them once a turn.
const ENDED_MAX: usize = 65_536;

pub struct Ended {
    pub unix_ms: u64,
    pub method: usize,
    pub code: u32,
    /// From its headers to its whole request, from there to its answer, from there to the end of its reply.
    pub received: Duration,
    pub served: Duration,
    pub sent: Duration,
    pub request_bytes: usize,
    pub reply_bytes: usize,
    pub peer: Arc<str>,
}

pub struct EndedCalls {
    /// Calls that took at least so long are kept.
    micros_min: AtomicU64,
    seen: Mutex<Vec<Ended>>,
    lost: AtomicU64,
}

impl Default for EndedCalls {
    fn default() -> Self {
        EndedCalls { micros_min: AtomicU64::new(u64::MAX), seen: Mutex::default(), lost: AtomicU64::new(0) }
    }
}

impl EndedCalls {
    /// Keeps the calls that took at least so long from now on; None: no calls.
    pub fn keep(&self, micros_min: Option<u64>) {
        self.micros_min.store(micros_min.unwrap_or(u64::MAX), Relaxed);
    }

    pub fn wants(&self, took: Duration) -> bool {
        took.as_micros() as u64 >= self.micros_min.load(Relaxed)
    }

    pub fn add(&self, ended: Ended) {
        let mut seen = self.seen.lock();
        if seen.len() < ENDED_MAX {
            seen.push(ended);
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// What was kept since the last call, and how many there was no room for.
    pub fn take(&self) -> (Vec<Ended>, u64) {
        (std::mem::take(&mut *self.seen.lock()), self.lost.swap(0, Relaxed))
    }
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}
