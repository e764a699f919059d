//! The one thing the node's thread sleeps on.
//!
//! The edge rings when a call arrives, the log when a write is durable. Ringing a bell that nobody waits for costs one
//! store; a busy node is never woken because it never sleeps.
//!
//! Waking a thread costs 20 to 50 microseconds where the processor has gone idle (measured), as much as all the work of
//! a call. So a bell that rang shortly after the last wait began is watched for as long once more before its waiter
//! sleeps. Who watches yields to whoever wants the processor; a node with nothing to do sleeps at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

/// How long to watch. About the time of a sync on a fast disk, so that a lone writer is answered without a wake-up.
const WATCH_MAX: Duration = Duration::from_micros(300);

#[derive(Default)]
struct Inner {
    rung: AtomicBool,
    /// What it was rung for is Python's to look at.
    asks_for_turn: AtomicBool,
    /// The last wait ended within `WATCH_MAX`.
    is_lively: AtomicBool,
    someone_sleeps: Mutex<bool>,
    woken: Condvar,
}

/// Shared by everything that can have news for the node's thread. Cheap to clone.
#[pyclass(frozen, from_py_object)]
#[derive(Clone, Default)]
pub struct Bell {
    inner: Arc<Inner>,
}

impl Bell {
    /// Says that there is news for Python. Any thread may call it.
    pub fn ring(&self) {
        self.inner.asks_for_turn.store(true, Ordering::SeqCst);
        self.nudge();
    }

    /// Says that there is news which errands may be enough for, where a server has some.
    pub fn nudge(&self) {
        if self.inner.rung.swap(true, Ordering::SeqCst) {
            return;
        }
        if *self.inner.someone_sleeps.lock() {
            self.inner.woken.notify_one();
        }
    }

    /// Waits until the bell was rung since the last `wait`, at most `timeout`. Call without the interpreter lock.
    /// Returns whether it rang. One thread waits.
    pub fn wait(&self, timeout: Duration) -> bool {
        if self.take() {
            return true;
        }
        let start = Instant::now();
        if self.inner.is_lively.load(Ordering::Relaxed) && self.watch(start, timeout.min(WATCH_MAX)) {
            return true;
        }
        let rang = self.sleep(start + timeout);
        self.inner.is_lively.store(rang && start.elapsed() < WATCH_MAX, Ordering::Relaxed);
        rang
    }

    /// Whether Python was meant since the last time.
    pub fn take_turn_asked(&self) -> bool {
        self.inner.asks_for_turn.swap(false, Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.inner.rung.swap(false, Ordering::SeqCst)
    }

    fn watch(&self, start: Instant, limit: Duration) -> bool {
        while start.elapsed() < limit {
            if self.take() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn sleep(&self, deadline: Instant) -> bool {
        let mut someone_sleeps = self.inner.someone_sleeps.lock();
        *someone_sleeps = true;
        // `rung` is set before the lock is taken to look for sleepers, so it is seen here or its ringer notifies.
        let mut rang = self.take();
        while !rang && !self.inner.woken.wait_until(&mut someone_sleeps, deadline).timed_out() {
            rang = self.take();
        }
        *someone_sleeps = false;
        rang || self.take()
    }
}

#[pymethods]
impl Bell {
    #[new]
    fn new() -> Self {
        Bell::default()
    }

    /// Wakes the thread that waits in `EdgeServer.poll`, now or at its next call.
    #[pyo3(name = "ring")]
    fn ring_py(&self) {
        self.ring();
    }

    /// Waits for news, at most `timeout_ms`, with the interpreter lock released.
    #[pyo3(name = "wait")]
    fn wait_py(&self, py: Python<'_>, timeout_ms: u64) -> bool {
        py.detach(|| self.wait(Duration::from_millis(timeout_ms)))
    }
}
