//! `Log` as Python sees it: the log of all groups in a folder, on native threads.
//!
//! The node's thread hands over and collects; it never waits for the disk, except in `create_group`, `read` and
//! `close`, which are for starting and ending. What `state`, `prev` and `groups` answer is kept in memory.

mod check;
mod engine;
mod error;
mod files;
mod worker;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::bell::Bell;
use crate::raft::{entry_list, Hard, Writes};
use engine::{GroupState, LogEngine};
use error::{Error, Result};
use files::{Failure, Files};
use worker::{Job, Task, SYNC_BOUNDS_MICROS};
pub use worker::{Shared, Writer};

/// Locked while the log is open, before anything is read: checking shortens files, which must not be in use.
const LOCK_NAME: &str = "dkv.lock";

/// What ends with `close`.
struct Running {
    engine: Arc<LogEngine>,
    writer: Arc<Writer>,
    writing: JoinHandle<()>,
    reader: JoinHandle<()>,
    tasks: Sender<Task>,
    lock: File,
}

#[pyclass(frozen)]
pub struct Log {
    folder: PathBuf,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

impl Log {
    fn open(bell: Bell, folder: PathBuf, file_bytes: u64, purge_bytes: u64, sync_delay: Duration) -> Result<Log> {
        create_folder(&folder)?;
        let lock = lock(&folder)?;
        check::check_folder(&folder)?;
        let failure = Arc::new(Failure::default());
        let engine = engine::open(&folder, file_bytes, purge_bytes, Files { failure: failure.clone() })?;
        // raft-engine has created files; they must be found after a power loss.
        sync_folder(&folder)?;
        let groups = engine::groups(&engine)?;
        if let Some(reason) = failure.get() {
            return Err(Error::Io(reason));
        }
        let shared = Arc::new(Shared::new(bell, failure, groups));
        let (tasks, received) = mpsc::channel();
        let writer = Arc::new(Writer {
            shared: shared.clone(),
            engine: engine.clone(),
            sync_delay,
            purge_after_bytes: file_bytes / 2,
            tasks: Mutex::new(tasks.clone()),
            writing: Mutex::new(file_bytes / 2), // what an earlier life left may be purged at once
        });
        let (reader_shared, reader_engine) = (shared.clone(), engine.clone());
        let reader = spawn("dkv-log-read", move || worker::read_and_purge(&reader_shared, &reader_engine, &received))?;
        let on_thread = writer.clone();
        let writing = spawn("dkv-log", move || on_thread.run())?;
        let running = Running { engine, writer, writing, reader, tasks, lock };
        Ok(Log { folder, shared, running: Mutex::new(Some(running)) })
    }

    fn group(&self, group: u64) -> Result<GroupState> {
        let state = self.shared.groups.lock().get(&group).copied();
        state.ok_or_else(|| Error::Refused(format!("the log does not know group {group}")))
    }

    pub fn writer(&self) -> Weak<Writer> {
        self.running.lock().as_ref().map_or_else(Weak::new, |running| Arc::downgrade(&running.writer))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn check_failure(&self) -> PyResult<()> {
        match self.shared.failure.get() {
            Some(reason) => Err(PyOSError::new_err(reason)),
            None => Ok(()),
        }
    }

    /// Cuts [low, high) down to what there is; Err when the first one is not there.
    fn range(&self, group: u64, low: u64, high: u64) -> Result<(u64, u64)> {
        let state = self.group(group)?;
        let high = high.min(state.last + 1);
        if low <= state.prev.0 || low > high {
            let (prev, last) = (state.prev.0, state.last);
            return Err(Error::Refused(format!("group {group}: {low} is outside of the log ({} to {last})", prev + 1)));
        }
        Ok((low, high))
    }

    fn end(&self) {
        let Some(running) = self.running.lock().take() else { return };
        let Running { engine, writer, writing, reader, tasks, lock } = running;
        self.shared.stop();
        drop(tasks);
        drop(writer);
        // A thread that panicked has ended the process: there is nothing else to learn from joining.
        let _ = writing.join();
        let _ = reader.join();
        // The last owner: raft-engine shortens and syncs the file it writes to.
        drop(engine);
        drop(lock);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end();
    }
}

#[pymethods]
impl Log {
    #[new]
    #[pyo3(signature = (bell, folder, *, file_bytes = 64 << 20, purge_threshold_bytes = 512 << 20, sync_delay_ms = 0))]
    fn new(
        py: Python<'_>,
        bell: Bell,
        folder: PathBuf,
        file_bytes: u64,
        purge_threshold_bytes: u64,
        sync_delay_ms: u64,
    ) -> PyResult<Self> {
        let delay = Duration::from_millis(sync_delay_ms);
        Ok(py.detach(|| Log::open(bell, folder, file_bytes, purge_threshold_bytes, delay))?)
    }

    fn groups(&self) -> Vec<u64> {
        self.shared.groups.lock().keys().copied().collect()
    }

    /// (hard state, first index, last index), with everything handed over; None if the log does not know the group.
    fn state(&self, group: u64) -> Option<(Hard, u64, u64)> {
        let state = self.shared.groups.lock().get(&group).copied()?;
        Some((state.hard, state.prev.0 + 1, state.last))
    }

    /// (index, term) of the entry before the first one kept.
    fn prev(&self, group: u64) -> PyResult<(u64, u64)> {
        Ok(self.group(group)?.prev)
    }

    /// Entries [low, high), at least one, cut at `bytes_max`. Blocking: for start-up only.
    fn read<'py>(
        &self,
        py: Python<'py>,
        group: u64,
        low: u64,
        high: u64,
        bytes_max: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let (low, high) = self.range(group, low, high)?;
        let engine = self.running.lock().as_ref().map(|running| running.engine.clone()).ok_or_else(closed)?;
        let entries = py.detach(|| engine::read(&engine, group, low, high, bytes_max))?;
        entry_list(py, &entries)
    }

    /// First state of a group whose log starts behind (prev_index, prev_term); synced before it returns.
    fn create_group(
        &self,
        py: Python<'_>,
        group: u64,
        hard_state: Hard,
        prev_index: u64,
        prev_term: u64,
    ) -> PyResult<()> {
        self.check_failure()?;
        let prev = (prev_index, prev_term);
        let (done, finished) = mpsc::channel();
        {
            let mut groups = self.shared.groups.lock();
            if groups.contains_key(&group) {
                return Err(Error::Refused(format!("group {group} exists")).into());
            }
            if !self.shared.hand_over(Job::Create { group, hard: hard_state, prev, done }) {
                return Err(closed().into());
            }
            groups.insert(group, GroupState { hard: hard_state, prev, last: prev_index });
        }
        if py.detach(move || finished.recv()).is_err() {
            self.check_failure()?;
        }
        Ok(())
    }

    /// The log of a group begins anew behind (prev_index, prev_term), in one step. Returns at once: what is handed over
    /// later is durable only together with it.
    fn reset_group(&self, group: u64, hard_state: Hard, prev_index: u64, prev_term: u64) -> PyResult<()> {
        self.check_failure()?;
        self.group(group)?;
        let prev = (prev_index, prev_term);
        let mut groups = self.shared.groups.lock();
        if !self.shared.hand_over(Job::Reset { group, hard: hard_state, prev }) {
            return Err(closed().into());
        }
        groups.insert(group, GroupState { hard: hard_state, prev, last: prev_index });
        Ok(())
    }

    /// Hands over; returns at once. ValueError, and nothing is taken, when an entry does not follow the log.
    fn append(&self, writes: &Writes) -> PyResult<()> {
        self.check_failure()?;
        Ok(self.shared.append(writes.share(), false)?)
    }

    /// (group, ready number) that became durable since the last call. OSError once a write or sync has failed.
    fn durable(&self) -> PyResult<Vec<(u64, u64)>> {
        self.check_failure()?;
        Ok(self.shared.take_durable())
    }

    /// Forgets entries up to `index`, later, on the log's thread.
    fn cut(&self, group: u64, index: u64) -> PyResult<()> {
        let state = self.group(group)?;
        if index > state.last {
            let reason = format!("group {group}: {index} is behind the last entry {}", state.last);
            return Err(Error::Refused(reason).into());
        }
        if index > state.prev.0 && !self.shared.hand_over(Job::Cut { group, index }) {
            return Err(closed().into());
        }
        Ok(())
    }

    /// Groups whose old entries keep files from being freed, since the last call: cut them if you can.
    fn cut_wanted(&self) -> Vec<u64> {
        self.shared.take_cut_wanted()
    }

    /// Reads [low, high) on a native thread; the result comes from `fetched`.
    fn fetch(&self, token: u64, group: u64, low: u64, high: u64, bytes_max: usize) -> PyResult<()> {
        let (low, high) = self.range(group, low, high)?;
        let running = self.running.lock();
        let task = Task::Fetch { token, group, low, high, bytes_max };
        let sent = running.as_ref().is_some_and(|running| running.tasks.send(task).is_ok());
        Ok(if sent { Ok(()) } else { Err(closed()) }?)
    }

    /// (token, entries or why they could not be read), in the order asked.
    fn fetched<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (token, entries) in self.shared.take_fetched() {
            match entries {
                Ok(entries) => list.append((token, entry_list(py, &entries)?))?,
                Err(reason) => list.append((token, reason))?,
            }
        }
        Ok(list)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = &self.shared.counters;
        let dict = PyDict::new(py);
        dict.set_item("appends", counters.appends.load(Ordering::Relaxed) as f64)?;
        dict.set_item("syncs", counters.syncs.load(Ordering::Relaxed) as f64)?;
        dict.set_item("in_line_syncs", counters.in_line_syncs.load(Ordering::Relaxed) as f64)?;
        dict.set_item("sync_seconds_total", counters.sync_micros_total.load(Ordering::Relaxed) as f64 / 1e6)?;
        dict.set_item("sync_seconds_max", counters.sync_micros_max.load(Ordering::Relaxed) as f64 / 1e6)?;
        let buckets: Vec<u64> = counters.sync_buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        dict.set_item("sync_buckets", buckets)?;
        dict.set_item("sync_bounds", SYNC_BOUNDS_MICROS.map(|bound| bound as f64 / 1e6).to_vec())?;
        dict.set_item("append_bytes", counters.append_bytes.load(Ordering::Relaxed) as f64)?;
        dict.set_item("queued_bytes", counters.queued_bytes.load(Ordering::Relaxed) as f64)?;
        dict.set_item("disk_bytes", check::disk_bytes(&self.folder) as f64)?;
        Ok(dict)
    }

    /// Finishes what was handed over, syncs, ends the threads. Idempotent.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }
}

fn closed() -> Error {
    Error::Refused("the log is closed".into())
}

fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, &e))?;
    folder.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| Error::io("sync", folder, &e))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK_NAME);
    let file = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Refused(format!("{} is in use", folder.display()))),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", &path, &error)),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let built = std::thread::Builder::new().name(name.into()).spawn(run);
    built.map_err(|e| Error::Io(format!("start thread {name}: {e}")))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Log>()
}
