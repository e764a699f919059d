//! The one thing the node's thread sleeps on.
//!
//! The edge rings when a call arrives, the log when a write is durable. Ringing a bell that nobody waits for costs one
//! uncontended lock; a busy node is never woken because it never sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

#[derive(Default)]
struct State {
    rung: bool,
    someone_waits: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    woken: Condvar,
}

/// Shared by everything that can have news for the node's thread. Cheap to clone.
#[pyclass(frozen, from_py_object)]
#[derive(Clone, Default)]
pub struct Bell {
    inner: Arc<Inner>,
}

impl Bell {
    /// Says that there is news. Any thread may call it.
    pub fn ring(&self) {
        let mut state = self.inner.state.lock();
        state.rung = true;
        if state.someone_waits {
            self.inner.woken.notify_one();
        }
    }

    /// Waits until the bell was rung since the last `wait`, at most `timeout`. Call without the interpreter lock.
    /// Returns whether it rang.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.inner.state.lock();
        while !state.rung {
            state.someone_waits = true;
            let timed_out = self.inner.woken.wait_until(&mut state, deadline).timed_out();
            state.someone_waits = false;
            if timed_out {
                break;
            }
        }
        std::mem::take(&mut state.rung)
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
