//! The log under a relay: the native one, or one made in Python, as those of a simulation are.

use std::sync::Arc;
#[cfg(unix)]
use std::sync::Weak;

use pyo3::prelude::*;

#[cfg(unix)]
use crate::log::{Log, Shared, Writer};
use crate::raft::{GroupWrite, Writes};

/// (group, ready number) of writes.
pub type Acks = Vec<(u64, u64)>;

pub trait RelayLog: Send + Sync {
    /// Why nothing more is written, once a write or sync has failed.
    fn failure(&self) -> Option<String>;
    /// What became durable since the last call.
    fn durable(&self) -> Result<Acks, String>;
    /// Hands over. With `hold` nothing need happen before `write_in_line`, which must follow. Err: nothing was taken.
    fn append(&self, writes: Vec<GroupWrite>, hold: bool) -> Result<(), String>;
    /// Writes what is queued on this thread, if that is little and the disk quick. Whether `durable` has news of it.
    fn write_in_line(&self) -> bool;
}

/// A log as Python hands it over.
pub fn log_of(log: &Bound<'_, PyAny>) -> Box<dyn RelayLog> {
    #[cfg(unix)]
    if let Ok(native) = log.cast::<Log>() {
        let native = native.get();
        return Box::new(NativeLog { shared: native.shared().clone(), writer: native.writer() });
    }
    Box::new(PythonLog(log.clone().unbind()))
}

#[cfg(unix)]
struct NativeLog {
    shared: Arc<Shared>,
    /// Gone when the log is closed.
    writer: Weak<Writer>,
}

#[cfg(unix)]
impl RelayLog for NativeLog {
    fn failure(&self) -> Option<String> {
        self.shared.failure.get()
    }

    fn durable(&self) -> Result<Acks, String> {
        Ok(self.shared.take_durable())
    }

    fn append(&self, writes: Vec<GroupWrite>, hold: bool) -> Result<(), String> {
        self.shared.append(Arc::new(writes), hold).map_err(|error| error.to_string())
    }

    fn write_in_line(&self) -> bool {
        self.writer.upgrade().is_some_and(|writer| writer.write_in_line())
    }
}

struct PythonLog(Py<PyAny>);

impl PythonLog {
    fn call<T>(&self, name: &str, take: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T>) -> Result<T, String> {
        Python::attach(|py| self.0.bind(py).call_method0(name).and_then(take)).map_err(|error| error.to_string())
    }
}

impl RelayLog for PythonLog {
    fn failure(&self) -> Option<String> {
        self.call("failure", |reason| reason.extract()).unwrap_or_else(Some)
    }

    fn durable(&self) -> Result<Acks, String> {
        self.call("durable", |acks| acks.extract())
    }

    /// What it is handed waits until it is stepped, or written in line: there is no thread that `hold` would spare.
    fn append(&self, writes: Vec<GroupWrite>, _hold: bool) -> Result<(), String> {
        Python::attach(|py| self.0.bind(py).call_method1("append", (Writes::new(writes),)).map(|_| ()))
            .map_err(|error| error.to_string())
    }

    fn write_in_line(&self) -> bool {
        self.call("write_in_line", |was_written| was_written.extract()).unwrap_or(true)
        // and `failure` says why
    }
}
