//! The two threads under the log. `dkv-log` writes: everything that was handed over while the last sync ran goes into
//! one batch, one sync. Where nothing else goes on, and the disk is quick, the node's thread writes in line instead: to
//! wake a thread and to be woken costs about what a quick sync costs. `dkv-log-read` reads for lagging followers and lets
//! raft-engine free old files, so that neither delays a write.
//!
//! Invariants: a number is reported durable only after the sync that covers it returned; batches are synced one by one;
//! after the first failure nothing is written and nothing is reported (INVARIANTS 6).
//!
//! The last batch is sealed when nothing has followed it for a while, and at the end: a batch is written behind it that
//! says nothing new. Damage to the last one is cut as an interrupted write is (`check.rs`), and with it would go what
//! others count on: entries that were acknowledged, a vote. Of a seal nothing is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use raft::eraftpb::Entry;
use raft_engine::{Command, LogBatch};

use super::engine::{self, Entries, GroupState, LogEngine};
use super::error::{Error, Result};
use super::files::Failure;
use crate::bell::Bell;
use crate::raft::{GroupWrite, Hard};

/// A batch is closed at this size, so that a backlog does not become one huge write (raft-engine's limit is 2 GiB).
const BATCH_BYTES_MAX: u64 = 32 << 20;
/// What is written in line at most, and while the last syncs took no longer than so long on average: the node's thread
/// must not wait for a disk that may be slow.
const IN_LINE_BYTES_MAX: u64 = 8 << 10;
const QUICK_MICROS: u64 = 300;
/// A batch that is the last one for so long is sealed. Longer than between two writes of anybody who waits for each.
const SEAL_AFTER: Duration = Duration::from_secs(1);
/// How many syncs the average looks back at, more or less.
const RECENT_SYNCS: u64 = 16;

pub enum Job {
    Append { writes: Arc<Vec<GroupWrite>>, bytes: u64 },
    Cut { group: u64, index: u64 },
    Create { group: u64, hard: Hard, prev: (u64, u64), done: Sender<()> },
    Reset { group: u64, hard: Hard, prev: (u64, u64) },
}

pub enum Task {
    Fetch { token: u64, group: u64, low: u64, high: u64, bytes_max: usize },
    Purge,
}

/// (token, entries or why not)
pub type Fetched = (u64, std::result::Result<Vec<Entry>, String>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closing: bool,
}

/// Upper bounds of the buckets of syncs, from a disk with a battery to one that does not answer.
pub const SYNC_BOUNDS_MICROS: [u64; 16] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000,
];

#[derive(Default)]
pub struct Counters {
    pub appends: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_micros_total: AtomicU64,
    pub sync_micros_max: AtomicU64,
    /// One more than the bounds: the last bucket has none.
    pub sync_buckets: [AtomicU64; SYNC_BOUNDS_MICROS.len() + 1],
    pub append_bytes: AtomicU64,
    pub queued_bytes: AtomicU64,
    /// Moving average of what a sync took, times `RECENT_SYNCS`.
    recent_micros: AtomicU64,
    /// Syncs by the node's own thread, among all.
    pub in_line_syncs: AtomicU64,
}

/// What the node's thread and the log's threads share.
pub struct Shared {
    bell: Bell,
    pub failure: Arc<Failure>,
    pub counters: Counters,
    pub groups: Mutex<BTreeMap<u64, GroupState>>,
    queue: Mutex<Queue>,
    woken: Condvar,
    durable: Mutex<Vec<(u64, u64)>>,
    fetched: Mutex<Vec<Fetched>>,
    cut_wanted: Mutex<BTreeSet<u64>>,
    /// Nothing stands behind the last batch yet.
    is_unsealed: AtomicBool,
}

/// What the writing thread has waited for.
enum Awaited {
    Jobs,
    Quiet,
    End,
}

impl Shared {
    pub fn new(bell: Bell, failure: Arc<Failure>, groups: BTreeMap<u64, GroupState>) -> Self {
        Shared {
            bell,
            failure,
            counters: Counters {
                recent_micros: AtomicU64::new(QUICK_MICROS * RECENT_SYNCS * 2),
                ..Counters::default()
            },
            groups: Mutex::new(groups),
            queue: Mutex::default(),
            woken: Condvar::new(),
            durable: Mutex::default(),
            fetched: Mutex::default(),
            cut_wanted: Mutex::default(),
            is_unsealed: AtomicBool::new(true), // whatever an earlier life has left
        }
    }

    /// Queues a job. False: the log is closed.
    pub fn hand_over(&self, job: Job) -> bool {
        let taken = self.hold(job);
        self.wake();
        taken
    }

    /// Queues a job that `wake` or `Writer::write_in_line` is told of. False: the log is closed.
    pub fn hold(&self, job: Job) -> bool {
        let mut queue = self.queue.lock();
        if queue.closing {
            return false;
        }
        if let Job::Append { bytes, .. } = &job {
            self.counters.queued_bytes.fetch_add(*bytes, Ordering::Relaxed);
        }
        queue.jobs.push_back(job);
        true
    }

    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Takes what is to be written, in order; refused, and nothing is taken, when an entry does not follow the log.
    pub fn append(&self, writes: Arc<Vec<GroupWrite>>, hold: bool) -> Result<()> {
        let mut bytes = 0;
        let mut groups = self.groups.lock();
        let mut after = Vec::with_capacity(writes.len());
        for write in writes.iter() {
            let state = groups.get(&write.group).copied();
            let state = state.ok_or_else(|| Error::Refused(format!("the log does not know group {}", write.group)))?;
            after.push((write.group, state.after(write)?));
            // 48: about what an entry and the item that names it cost besides the data.
            bytes += write.entries.iter().map(|entry| entry.data.len() as u64 + 48).sum::<u64>() + 48;
        }
        if !self.hold(Job::Append { writes, bytes }) {
            return Err(Error::Refused("the log is closed".into()));
        }
        if !hold {
            self.wake();
        }
        groups.extend(after);
        Ok(())
    }

    /// Lets the writing thread end when its queue is empty.
    pub fn stop(&self) {
        self.queue.lock().closing = true;
        self.woken.notify_one();
    }

    pub fn take_durable(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.durable.lock())
    }

    pub fn take_fetched(&self) -> Vec<Fetched> {
        std::mem::take(&mut *self.fetched.lock())
    }

    pub fn take_cut_wanted(&self) -> Vec<u64> {
        std::mem::take(&mut *self.cut_wanted.lock()).into_iter().collect()
    }

    /// Waits for a job, or, while the last batch is not sealed, until nothing has come for a while.
    fn await_jobs(&self) -> Awaited {
        let mut queue = self.queue.lock();
        while queue.jobs.is_empty() && !queue.closing {
            if !self.is_unsealed.load(Ordering::Relaxed) {
                self.woken.wait(&mut queue);
            } else if self.woken.wait_for(&mut queue, SEAL_AFTER).timed_out() && queue.jobs.is_empty() {
                return Awaited::Quiet;
            }
        }
        if queue.jobs.is_empty() {
            Awaited::End
        } else {
            Awaited::Jobs
        }
    }

    /// Something is written behind the seal: whoever waits for jobs alone has to seal that.
    fn unseal(&self) {
        let queue = self.queue.lock();
        if !self.is_unsealed.swap(true, Ordering::Relaxed) {
            self.woken.notify_one();
        }
        drop(queue);
    }

    /// A group and its hard state, if all that was handed over is written; asked while nobody writes.
    fn settled(&self) -> Option<(u64, Hard)> {
        let groups = self.groups.lock();
        let is_settled = self.queue.lock().jobs.is_empty();
        groups.iter().next().filter(|_| is_settled).map(|(group, state)| (*group, state.hard))
    }

    /// The next jobs in order, if there are any.
    fn take_jobs(&self) -> Vec<Job> {
        let mut queue = self.queue.lock();
        let (mut jobs, mut total) = (vec![], 0);
        while total < BATCH_BYTES_MAX {
            let Some(job) = queue.jobs.pop_front() else { break };
            if let Job::Append { bytes, .. } = &job {
                total += bytes;
            }
            jobs.push(job);
        }
        jobs
    }
}

pub struct Writer {
    pub shared: Arc<Shared>,
    pub engine: Arc<LogEngine>,
    pub sync_delay: Duration,
    /// Purging is worth a try after this many bytes.
    pub purge_after_bytes: u64,
    pub tasks: Mutex<Sender<Task>>,
    /// Held while jobs are taken and written, so that they are written in order. In it: bytes since the last purge.
    pub writing: Mutex<u64>,
}

impl Writer {
    /// The writing thread.
    pub fn run(&self) {
        let mut syncs_before = 0;
        loop {
            match self.shared.await_jobs() {
                Awaited::Jobs => self.write_queued(),
                Awaited::Quiet => {
                    // Those in line wake nobody, so they are counted.
                    let syncs = self.shared.counters.syncs.load(Ordering::Relaxed);
                    if std::mem::replace(&mut syncs_before, syncs) == syncs {
                        self.seal();
                    }
                }
                Awaited::End => return self.seal(),
            }
        }
    }

    fn write_queued(&self) {
        let unpurged_bytes = self.writing.lock();
        let jobs = self.shared.take_jobs();
        if !jobs.is_empty() {
            self.finish(&jobs, unpurged_bytes);
            self.shared.bell.nudge();
        }
        // `jobs` drops here: who waits for a `Create` that failed sees its end of the channel close.
    }

    /// Writes what stands there already behind the last batch, if that is the last. Synced like any: what is written
    /// next must not be whole where this is not.
    fn seal(&self) {
        let _writing = self.writing.lock();
        if self.shared.failure.get().is_some() || !self.shared.is_unsealed.load(Ordering::Relaxed) {
            return;
        }
        let Some((group, hard)) = self.shared.settled() else { return };
        let mut batch = LogBatch::default();
        let written =
            engine::put_hard_state(&mut batch, group, hard).and_then(|()| self.engine.write(&mut batch, true));
        match written {
            Ok(_) => self.shared.is_unsealed.store(false, Ordering::Relaxed),
            Err(error) => self.shared.failure.set(format!("seal the log: {error}")),
        }
    }

    /// Writes what is queued on the calling thread, if that is little and likely to be quick, and wakes the writing
    /// thread otherwise. Returns whether it was written, or failed.
    pub fn write_in_line(&self) -> bool {
        let counters = &self.shared.counters;
        let is_quick = counters.recent_micros.load(Ordering::Relaxed) <= QUICK_MICROS * RECENT_SYNCS;
        if is_quick && counters.queued_bytes.load(Ordering::Relaxed) <= IN_LINE_BYTES_MAX {
            if let Some(unpurged_bytes) = self.writing.try_lock() {
                let jobs = self.shared.take_jobs();
                if !jobs.is_empty() {
                    self.finish(&jobs, unpurged_bytes);
                    counters.in_line_syncs.fetch_add(1, Ordering::Relaxed);
                }
                return !jobs.is_empty();
            }
        }
        self.shared.wake();
        false
    }

    fn finish(&self, jobs: &[Job], mut unpurged_bytes: MutexGuard<'_, u64>) {
        self.shared.unseal();
        let bytes = jobs.iter().map(|job| if let Job::Append { bytes, .. } = job { *bytes } else { 0 }).sum();
        if self.shared.failure.get().is_none() {
            if let Err(reason) = self.write(jobs, bytes) {
                self.shared.failure.set(reason);
            }
        }
        self.shared.counters.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        *unpurged_bytes += bytes;
        if *unpurged_bytes >= self.purge_after_bytes && self.tasks.lock().send(Task::Purge).is_ok() {
            *unpurged_bytes = 0;
        }
    }

    fn write(&self, jobs: &[Job], bytes: u64) -> std::result::Result<(), String> {
        let mut batch = LogBatch::with_capacity(jobs.len() * 4);
        let mut durable = vec![];
        // One cut per group, the furthest: a nearer one behind it would set the start of the log back.
        let mut cuts_wanted = BTreeMap::new();
        for job in jobs {
            match job {
                Job::Append { writes, .. } => {
                    for write in writes.iter() {
                        add(&mut batch, write).map_err(|e| e.to_string())?;
                        durable.push((write.group, write.number));
                    }
                }
                Job::Cut { group, index } => {
                    let furthest = cuts_wanted.entry(*group).or_insert(*index);
                    *furthest = (*index).max(*furthest);
                }
                Job::Create { group, hard, prev, .. } => {
                    engine::put_first_state(&mut batch, *group, *hard, *prev).map_err(|e| e.to_string())?;
                }
                Job::Reset { group, hard, prev } => {
                    cuts_wanted.remove(group); // of what ends here
                    engine::put_reset(&mut batch, *group, *hard, *prev).map_err(|e| e.to_string())?;
                }
            }
        }
        let mut cuts = vec![];
        for (group, index) in cuts_wanted {
            if let Some(prev) = self.cut(&mut batch, jobs, group, index)? {
                cuts.push((group, prev));
            }
        }
        let start = Instant::now();
        if !batch.is_empty() {
            let written = self.engine.write(&mut batch, true).map_err(|e| e.to_string())?;
            self.shared.counters.append_bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        if !self.sync_delay.is_zero() {
            std::thread::sleep(self.sync_delay);
        }
        if let Some(reason) = self.shared.failure.get() {
            return Err(reason);
        }
        self.count(start.elapsed(), bytes);
        {
            let mut groups = self.shared.groups.lock();
            for (group, prev) in cuts {
                // A reset may have been handed over meanwhile.
                if let Some(state) = groups.get_mut(&group).filter(|state| state.prev.0 < prev.0) {
                    state.prev = prev;
                }
            }
        }
        self.shared.durable.lock().extend(durable);
        for job in jobs {
            if let Job::Create { done, .. } = job {
                let _ = done.send(()); // who waited may be gone
            }
        }
        Ok(())
    }

    fn count(&self, took: Duration, bytes: u64) {
        let counters = &self.shared.counters;
        let micros = took.as_micros() as u64;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.sync_micros_total.fetch_add(micros, Ordering::Relaxed);
        counters.sync_micros_max.fetch_max(micros, Ordering::Relaxed);
        let bucket = SYNC_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        counters.sync_buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let recent = counters.recent_micros.load(Ordering::Relaxed);
        counters.recent_micros.store(recent - recent / RECENT_SYNCS + micros, Ordering::Relaxed);
        if bytes > 0 {
            counters.appends.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Cuts entries up to `index`; returns the (index, term) before the first one left, or None if it was cut already.
    /// The entries of `jobs` are in the batch and not in the engine yet.
    fn cut(
        &self,
        batch: &mut LogBatch,
        jobs: &[Job],
        group: u64,
        index: u64,
    ) -> std::result::Result<Option<(u64, u64)>, String> {
        if self.shared.groups.lock().get(&group).is_none_or(|state| index <= state.prev.0) {
            return Ok(None);
        }
        let term = match queued_term(jobs, group, index) {
            Some(term) => Some(term),
            None => self.engine.get_entry::<Entries>(group, index).map_err(|e| e.to_string())?.map(|e| e.term),
        };
        let term = term.ok_or_else(|| format!("group {group}: entry {index} is missing"))?;
        batch.add_command(group, Command::Compact { index: index + 1 });
        engine::put_prev(batch, group, (index, term)).map_err(|e| e.to_string())?;
        Ok(Some((index, term)))
    }
}

fn add(batch: &mut LogBatch, write: &GroupWrite) -> raft_engine::Result<()> {
    batch.add_entries::<Entries>(write.group, &write.entries)?;
    if let Some(hard) = write.hard {
        engine::put_hard_state(batch, write.group, hard)?;
    }
    Ok(())
}

/// The term of an entry that one of these jobs appends. Later ones overwrite earlier ones.
fn queued_term(jobs: &[Job], group: u64, index: u64) -> Option<u64> {
    for job in jobs.iter().rev() {
        let Job::Append { writes, .. } = job else { continue };
        for write in writes.iter().filter(|write| write.group == group) {
            if let Some(entry) = write.entries.iter().find(|entry| entry.index == index) {
                return Some(entry.term);
            }
        }
    }
    None
}

/// The reading thread: ends when nobody can send tasks any more.
pub fn read_and_purge(shared: &Shared, engine: &LogEngine, tasks: &Receiver<Task>) {
    while let Ok(task) = tasks.recv() {
        match task {
            Task::Fetch { token, group, low, high, bytes_max } => {
                let entries = engine::read(engine, group, low, high, bytes_max).map_err(|e| e.to_string());
                shared.fetched.lock().push((token, entries));
            }
            Task::Purge if shared.failure.get().is_some() => continue,
            Task::Purge => match engine.purge_expired_files() {
                Ok(groups) if groups.is_empty() => continue,
                Ok(groups) => shared.cut_wanted.lock().extend(groups),
                Err(error) => shared.failure.set(format!("free old log files: {error}")),
            },
        }
        shared.bell.ring();
    }
}
