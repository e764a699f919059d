//! `Raft` as Python sees it: many groups behind one object, plain values across.
//!
//! No I/O, no clock, no chance: ticks, the seed and "this is durable" come from outside, so the same calls give the
//! same messages. Nothing is converted while the host is locked: making Python objects may run other Python code.
//! Raft panics where its own invariants break; a panic ends the process (INVARIANTS 6), it is never caught.

mod convert;
mod counters;
mod group;
mod host;
mod snapshots;
mod window;
mod writes;

use std::sync::atomic::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyList, PyTuple};
use raft::ProgressState;

use convert::{
    change_decoded, change_from, change_parts, conf_from, conf_tuple, entry_from, role_number, Change, Conf, EntryIn,
};
pub use convert::{entry_list, Hard};
pub use group::{decode_message, News};
use group::{Opening, Vows};
pub use host::Host;
pub use writes::{GroupWrite, Writes};

/// Many Raft groups behind one object. One thread drives it.
#[pyclass(frozen)]
pub struct Raft {
    host: Arc<Mutex<Host>>,
}

fn value_error(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn unknown(group: u64) -> PyErr {
    PyKeyError::new_err(group)
}

impl Raft {
    pub fn host(&self) -> &Arc<Mutex<Host>> {
        &self.host
    }
}

#[pymethods]
impl Raft {
    #[new]
    #[pyo3(signature = (
        *, seed, election_ticks = 10, election_ticks_max = 16, heartbeat_ticks = 2, vow_ticks = 0, asks_for_vows = false
    ))]
    fn new(
        seed: u64,
        election_ticks: usize,
        election_ticks_max: usize,
        heartbeat_ticks: usize,
        vow_ticks: u64,
        asks_for_vows: bool,
    ) -> PyResult<Self> {
        let vows = Vows { ticks: vow_ticks, asks: asks_for_vows };
        let host = Host::new(seed, election_ticks, election_ticks_max, heartbeat_ticks, vows).map_err(value_error)?;
        Ok(Raft { host: Arc::new(Mutex::new(host)) })
    }

    /// Starts or restarts a group: members as of `applied`, entries contiguous behind (prev_index, prev_term). The log
    /// itself may reach further back, to `log_first`.
    #[pyo3(signature = (
        group, replica, conf, applied, hard_state, prev_index, prev_term, entries, *, log_first = None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn open_group(
        &self,
        group: u64,
        replica: u64,
        conf: Conf,
        applied: u64,
        hard_state: Hard,
        prev_index: u64,
        prev_term: u64,
        entries: Vec<EntryIn>,
        log_first: Option<u64>,
    ) -> PyResult<()> {
        let entries = entries.into_iter().map(entry_from).collect::<Result<Vec<_>, _>>().map_err(value_error)?;
        let opening = Opening {
            replica,
            conf: conf_from(conf),
            applied,
            hard: hard_state,
            prev: (prev_index, prev_term),
            entries,
            log_first: log_first.unwrap_or(prev_index + 1),
        };
        self.host.lock().open(group, opening).map_err(value_error)
    }

    /// Forgets a group. Acknowledgements of its open writes that arrive later are ignored.
    fn close_group(&self, group: u64) -> bool {
        self.host.lock().close(group)
    }

    /// Stands for election now. False: not now, a write is still open.
    fn campaign(&self, group: u64) -> PyResult<bool> {
        self.host.lock().with(group, |g| g.campaign()).ok_or_else(|| unknown(group))
    }

    /// Lets logical time pass in all groups that are awake.
    fn tick(&self, count: u64) {
        self.host.lock().tick(count);
    }

    /// (group, term, last index) of the leaders here that have had nothing to do for so many ticks and may sleep.
    fn drowsy(&self, ticks: u64) -> Vec<(u64, u64, u64)> {
        self.host.lock().drowsy(ticks)
    }

    /// Puts groups to sleep that stand at (group, term, last index). Returns those that did not: they have more to do.
    fn sleep(&self, places: Vec<(u64, u64, u64)>) -> Vec<u64> {
        let mut host = self.host.lock();
        let mut sleeps = |(group, term, index)| host.with(group, |g| g.sleep(term, index)).unwrap_or(false);
        places.into_iter().filter(|place| !sleeps(*place)).map(|(group, _, _)| group).collect()
    }

    /// Lets time pass again for groups; every other way into a group wakes it, too. With `leader_is_lost` those that
    /// follow stand for election soon, and vote for who does.
    #[pyo3(signature = (groups, *, leader_is_lost = false))]
    fn wake(&self, groups: Vec<u64>, leader_is_lost: bool) {
        let mut host = self.host.lock();
        for group in groups {
            host.with(group, |g| if leader_is_lost { g.wake_without_leader() } else { g.wake() });
        }
    }

    /// Peer messages (group, bytes). Returns those that were ignored: (position, reason).
    fn step(&self, messages: Vec<(u64, PyBackedBytes)>) -> Vec<(usize, String)> {
        let mut host = self.host.lock();
        let mut ignored = vec![];
        for (position, (group, message)) in messages.iter().enumerate() {
            let done = decode_message(message).map(|message| host.with(*group, |g| g.step(message)));
            let done = done.unwrap_or_else(|reason| Some(Err(reason)));
            if let Err(reason) = done.unwrap_or_else(|| Err(format!("no group {group}"))) {
                ignored.push((position, reason));
            }
        }
        ignored
    }

    /// Returns (term, index) of the entry, or None when this replica is not the leader or cannot take it now.
    fn propose(&self, group: u64, data: &[u8]) -> PyResult<Option<(u64, u64)>> {
        let data = Bytes::copy_from_slice(data);
        self.host.lock().with(group, |g| g.propose(data)).ok_or_else(|| unknown(group))
    }

    /// `changes`: (kind, replica) with kind 0 voter, 1 remove, 2 learner; none leaves a joint state. `transition`:
    /// 0 automatic, 1 joint with automatic leave, 2 joint with explicit leave. None: refused, nothing was proposed.
    #[pyo3(signature = (group, changes, transition, context = vec![]))]
    fn propose_conf_change(
        &self,
        group: u64,
        changes: Vec<Change>,
        transition: u8,
        context: Vec<u8>,
    ) -> PyResult<Option<(u64, u64)>> {
        let change = change_from(changes, transition, context).map_err(value_error)?;
        self.host.lock().with(group, |g| g.propose_conf_change(&change)).ok_or_else(|| unknown(group))
    }

    /// (changes, context) of a committed entry of kind 2; an entry by which Raft leaves a joint state has neither.
    #[staticmethod]
    fn decode_conf_change<'py>(py: Python<'py>, data: &[u8]) -> PyResult<(Vec<Change>, Bound<'py, PyBytes>)> {
        let (changes, context) = change_parts(data).map_err(value_error)?;
        Ok((changes, PyBytes::new(py, &context)))
    }

    /// For every committed entry of kind 1 or 2, while the apply batch is built. The members returned belong into the
    /// same batch as the applied index.
    fn apply_conf_change(&self, group: u64, index: u64, data: &[u8]) -> PyResult<Conf> {
        let change = change_decoded(data).map_err(value_error)?;
        let mut host = self.host.lock();
        let done = host.with(group, |g| g.apply_conf_change(index, &change)).ok_or_else(|| unknown(group))?;
        Ok(conf_tuple(&done.map_err(value_error)?))
    }

    /// Whether a snapshot as of (index, term) brings this replica what its own log does not.
    fn may_install(&self, group: u64, index: u64, term: u64) -> PyResult<bool> {
        self.host.lock().get(group).map(|g| g.may_install(index, term)).ok_or_else(|| unknown(group))
    }

    /// How a snapshot that `ready` wanted for `replica` ended: installed as of an index, or None.
    #[pyo3(signature = (group, replica, index))]
    fn report_snapshot(&self, group: u64, replica: u64, index: Option<u64>) -> PyResult<()> {
        self.host.lock().with(group, |g| g.report_snapshot(replica, index)).ok_or_else(|| unknown(group))
    }

    /// The smallest index that all voters have on disk; 0 when this replica does not lead.
    fn all_matched(&self, group: u64) -> PyResult<u64> {
        self.host.lock().get(group).map(|g| g.all_matched()).ok_or_else(|| unknown(group))
    }

    /// Whether `ready` tells when that has changed.
    fn watch_all(&self, group: u64, is_watched: bool) -> PyResult<()> {
        self.host.lock().with(group, |g| g.watch_all(is_watched)).ok_or_else(|| unknown(group))
    }

    /// Asks for a read index; the answer comes from `ready` under this context, as confirmed or lost. False: not the
    /// leader, nothing committed in its term yet, or the context is in use.
    fn read_index(&self, group: u64, context: Vec<u8>) -> PyResult<bool> {
        if context.is_empty() {
            return Err(value_error("a read needs a context"));
        }
        self.host.lock().with(group, |g| g.read_index(context)).ok_or_else(|| unknown(group))
    }

    /// (term, commit index) of a replica that may hold a lease now, if a quorum has vowed. See `group::vows`.
    fn lease_place(&self, group: u64) -> PyResult<Option<(u64, u64)>> {
        self.host.lock().get(group).map(|g| g.lease_place()).ok_or_else(|| unknown(group))
    }

    /// Starts handing leadership over. Proposals are refused until it is done or an election timeout has passed; `ready`
    /// tells which.
    fn transfer_leader(&self, group: u64, to: u64) -> PyResult<bool> {
        self.host.lock().with(group, |g| g.transfer_leader(to)).ok_or_else(|| unknown(group))
    }

    /// The writes of (group, ready number) are durable, and of all earlier numbers of the group.
    fn persisted(&self, acks: Vec<(u64, u64)>) -> PyResult<()> {
        let mut host = self.host.lock();
        for (group, number) in acks {
            // A group may have been closed while its write was under way.
            if let Some(Err(reason)) = host.with(group, |g| g.persisted(number)) {
                return Err(value_error(reason));
            }
        }
        Ok(())
    }

    /// What the groups with work want written, sent, applied and told.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<(Writes, Bound<'py, PyList>)> {
        let (writes, news) = self.host.lock().ready();
        let list = PyList::empty(py);
        for one in news {
            let (number, after) = (one.number, pack(py, &one.messages_after));
            list.append((news_tuple(py, one)?, number, after))?;
        }
        Ok((Writes::new(writes), list))
    }

    /// (group, index): entries up to here are applied.
    fn applied(&self, marks: Vec<(u64, u64)>) -> PyResult<()> {
        let mut host = self.host.lock();
        for (group, index) in marks {
            host.with(group, |g| g.applied(index)).ok_or_else(|| unknown(group))?.map_err(value_error)?;
        }
        Ok(())
    }

    /// Forgets entries up to `index` in memory. ValueError when they are not applied yet.
    fn compact(&self, group: u64, index: u64) -> PyResult<()> {
        let done = self.host.lock().with(group, |g| g.compact(index));
        done.ok_or_else(|| unknown(group))?.map_err(value_error)
    }

    /// The log on disk has been cut up to `index`: nothing before it can be fetched. ValueError as in `compact`.
    fn cut(&self, group: u64, index: u64) -> PyResult<()> {
        let done = self.host.lock().with(group, |g| g.cut(index));
        done.ok_or_else(|| unknown(group))?.map_err(value_error)
    }

    /// Entries of the log that `ready` asked for, from `low` on, behind an entry of `prev_term`; none when they could not
    /// be read. A group that was closed meanwhile does not need them.
    fn fetched(&self, group: u64, low: u64, prev_term: u64, entries: Vec<EntryIn>) -> PyResult<()> {
        let entries = entries.into_iter().map(entry_from).collect::<Result<Vec<_>, _>>().map_err(value_error)?;
        let done = self.host.lock().with(group, |g| g.fetched(low, prev_term, entries));
        done.unwrap_or(Ok(())).map_err(value_error)
    }

    fn status<'py>(&self, py: Python<'py>, group: u64) -> PyResult<Bound<'py, PyDict>> {
        let status = self.host.lock().get(group).map(|g| g.status()).ok_or_else(|| unknown(group))?;
        let dict = PyDict::new(py);
        dict.set_item("role", status.role)?;
        dict.set_item("leader", status.leader)?;
        dict.set_item("term", status.term)?;
        dict.set_item("vote", status.vote)?;
        dict.set_item("commit", status.commit)?;
        dict.set_item("persisted", status.persisted)?;
        dict.set_item("applied", status.applied)?;
        dict.set_item("first_index", status.first_index)?;
        dict.set_item("last_index", status.last_index)?;
        dict.set_item("conf", conf_tuple(&status.conf))?;
        dict.set_item("asleep", status.is_asleep)?;
        // replica -> (matched, next, state 0 probe 1 replicate 2 snapshot, heard from lately)
        let peers = PyDict::new(py);
        for peer in status.peers {
            let state = match peer.state {
                ProgressState::Probe => 0,
                ProgressState::Replicate => 1,
                ProgressState::Snapshot => 2,
            };
            peers.set_item(peer.id, (peer.matched, peer.next, state, peer.recent_active))?;
        }
        dict.set_item("peers", peers)?;
        Ok(dict)
    }

    /// What all groups have done, for metrics.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let host = self.host.lock();
        let (counters, (groups, awake)) = (host.counters.clone(), host.counts());
        drop(host);
        let dict = PyDict::new(py);
        dict.set_item("groups", groups)?;
        dict.set_item("awake", awake)?;
        dict.set_item("elections", counters.elections.load(Ordering::Relaxed))?;
        dict.set_item("leader_changes", counters.leader_changes.load(Ordering::Relaxed))?;
        dict.set_item("proposals", counters.proposals.load(Ordering::Relaxed))?;
        dict.set_item("committed", counters.committed.load(Ordering::Relaxed))?;
        dict.set_item("sent", counters.sent.named().into_py_dict(py)?)?;
        dict.set_item("received", counters.received.named().into_py_dict(py)?)?;
        Ok(dict)
    }
}

/// (peer, message)
fn pack<'py>(py: Python<'py>, messages: &[(u64, Vec<u8>)]) -> Vec<(u64, Bound<'py, PyBytes>)> {
    messages.iter().map(|(to, message)| (*to, PyBytes::new(py, message))).collect()
}

/// What Python is told of a group: all but what waits for the log.
pub fn news_tuple<'py>(py: Python<'py>, news: News) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = |value: &[u8]| PyBytes::new(py, value);
    let reads: Vec<_> = news.reads.iter().map(|(context, index)| (bytes(context), *index)).collect();
    let lost: Vec<_> = news.reads_lost.iter().map(|context| bytes(context)).collect();
    (
        news.group,
        entry_list(py, &news.committed)?,
        pack(py, &news.messages),
        reads,
        lost,
        news.leadership.map(|(leader, role, term)| (leader, role_number(role), term)),
        news.fetches,
        news.snapshots_wanted,
        news.all_matched,
        news.transfer,
    )
        .into_pyobject(py)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Raft>()?;
    module.add_class::<Writes>()
}
