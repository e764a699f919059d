//! `Relay`: what a node does for its Raft groups between two turns, without Python, and what a turn does with its log.
//!
//! A turn of Python costs as much for one message of Raft as for a thousand, and most of what three nodes say to each
//! other asks for no decision of the node's: an append is stepped, written, synced, acknowledged; an acknowledgement
//! moves a commit index. So the node's own thread does that while it waits in `EdgeServer.poll`, and Python takes a turn
//! when there is something for it: entries that are committed, leadership, reads, calls.
//!
//! Log, links and time are parameters: the same code runs over simulated ones. Those are called through Python, with no
//! lock of Raft's held; they must not call the relay.
//!
//! Invariants:
//! * One thread: it runs where `poll` waits or where Python calls it, so Raft is still driven by the node's thread alone.
//! * The durability rule: writes are handed to the log before anything leaves, and what depends on a write is held back
//!   until the log says that it is durable. A leader's own messages may leave at once, because a follower's answer never
//!   stands for the leader's own disk.
//! * Nothing is decided here about who may speak: a replica is heard once Python has heard it from the same node, and
//!   messages to one whose node is not known are Python's to send.
//! * What a follower has to apply may wait for more of it (`state.rs` says how long), and only while Python has said that
//!   nobody waits for it. So may the news that something is committed: it goes with the next append, or alone when there is
//!   none within `LATE`.

mod links;
mod log;
mod outbox;
mod state;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::edge::{EdgeServer, Errands};
use crate::raft::{entry_list, news_tuple, Host, Raft};
use links::{Links, NativeLinks, PythonLinks};
use log::{log_of, RelayLog};
use outbox::Outbox;
use state::{State, LATE};

/// Rounds of Raft in one look: a group that has more to say is asked again.
const ROUNDS_MAX: usize = 4;

struct Inner {
    host: Arc<Mutex<Host>>,
    log: Box<dyn RelayLog>,
    /// None: Python receives and sends all there is, and no time passes.
    links: OnceLock<Box<dyn Links>>,
    state: Mutex<State>,
    is_patient: AtomicBool,
}

impl Inner {
    fn now(&self) -> Duration {
        self.links.get().map(|links| links.now()).unwrap_or_default()
    }

    /// Nobody waits for what followers here have yet to apply. Without links no time passes, so nothing may wait.
    fn is_patient(&self) -> bool {
        self.is_patient.load(Relaxed) && self.links.get().is_some()
    }

    fn hear(&self, state: &mut State) {
        let Some(links) = self.links.get() else { return };
        for (node, message) in links.receive() {
            match state.sort(node, &message) {
                Some((raft, rest)) => {
                    let mut host = self.host.lock();
                    for (group, message) in raft {
                        let _ = host.with(group, |each| each.step(message)); // what Raft does not take is as good as lost
                    }
                    state.messages.extend(rest.map(|rest| (node, rest)));
                }
                None => state.messages.push((node, message)),
            }
        }
    }

    /// Followers whose leader has had nothing more to append hear of what is committed.
    fn tell_commits(&self, state: &mut State, now: Duration) {
        if state.untold_since.is_some_and(|since| now.saturating_sub(since) >= LATE) {
            state.untold_since = None;
            let mut host = self.host.lock();
            for group in std::mem::take(&mut state.untold) {
                host.with(group, |each| each.tell_commit());
            }
        }
    }

    /// Acknowledges, writes, sends. `in_line`: where the disk is quick, a little is written on this thread.
    fn advance(&self, state: &mut State, now: Duration, in_line: bool) {
        for _ in 0..ROUNDS_MAX {
            let acks = match self.log.durable() {
                Ok(acks) => acks,
                Err(reason) => {
                    state.broken = Some(reason);
                    return;
                }
            };
            let (writes, news) = {
                let mut host = self.host.lock();
                for (group, number) in &acks {
                    // A group may have been closed while its write was under way.
                    if let Some(Err(reason)) = host.with(*group, |each| each.persisted(*number)) {
                        state.broken = Some(reason);
                    }
                }
                host.ready()
            };
            let mut out = Outbox::default();
            for (group, number) in acks {
                state.release(group, number, now, &mut out);
            }
            let is_writing = !writes.is_empty();
            if is_writing {
                if let Err(reason) = self.log.append(writes, in_line) {
                    state.broken = Some(reason);
                }
            }
            if self.is_broken(state) {
                return;
            }
            let is_quiet = news.is_empty();
            for mut one in news {
                if !one.messages_after.is_empty() {
                    state.hold(one.group, one.number, std::mem::take(&mut one.messages_after));
                }
                one.messages = state.route(one.group, std::mem::take(&mut one.messages), &mut out);
                if one.has_untold_commit {
                    state.untold.insert(one.group);
                    state.untold_since.get_or_insert(now);
                }
                state.note(one, now);
            }
            if let Some(links) = self.links.get().filter(|_| !out.is_empty()) {
                links.send(out);
            }
            if is_writing && in_line && self.log.write_in_line() {
                continue;
            }
            if is_quiet || !self.host.lock().has_work() {
                return;
            }
        }
    }

    /// Python has to say so.
    fn is_broken(&self, state: &mut State) -> bool {
        let is_broken = state.broken.is_some() || self.log.failure().is_some();
        state.is_urgent |= is_broken;
        is_broken
    }

    fn reach(&self, links: Box<dyn Links>) -> PyResult<()> {
        self.links.set(links).map_err(|_| PyValueError::new_err("this relay has its links already"))?;
        self.host.lock().defer_commits();
        Ok(())
    }
}

impl Errands for Inner {
    fn run(&self, is_lone: bool) -> bool {
        let mut state = self.state.lock();
        let now = self.now();
        state.note_turn(now);
        if !self.is_broken(&mut state) {
            self.hear(&mut state);
            self.tell_commits(&mut state, now);
            self.advance(&mut state, now, is_lone);
        }
        state.asks_for_turn(now, self.is_patient())
    }

    fn due(&self) -> Option<Duration> {
        let state = self.state.lock();
        let tells = state.untold_since.map(|since| since + LATE);
        let first = [state.late_due(self.is_patient()), tells].into_iter().flatten().min();
        first.map(|due| due.saturating_sub(self.now()))
    }

    fn take_messages(&self) -> Vec<(u64, Bytes)> {
        let mut state = self.state.lock();
        state.note_turn(self.now());
        self.hear(&mut state);
        std::mem::take(&mut state.messages)
    }
}

/// Steps, writes and sends for the groups of a `Raft`: while the node waits in `EdgeServer.poll`, and in its turns.
#[pyclass(frozen, module = "dkv._native")]
pub struct Relay {
    inner: Arc<Inner>,
}

#[pymethods]
impl Relay {
    /// Over a `Log`, or one made in Python.
    #[new]
    fn new(raft: &Raft, log: &Bound<'_, PyAny>) -> Self {
        Relay {
            inner: Arc::new(Inner {
                host: raft.host().clone(),
                log: log_of(log),
                links: OnceLock::new(),
                state: Mutex::default(),
                is_patient: AtomicBool::new(false),
            }),
        }
    }

    /// From now on `server.poll` waits here. The links to other nodes, if there are any, are there already.
    fn serve(&self, server: &EdgeServer) -> PyResult<()> {
        let shared = server.shared();
        let hub = shared.hub.get().cloned();
        match shared.errands.set(self.inner.clone()) {
            Ok(()) => self.inner.reach(Box::new(NativeLinks { began: Instant::now(), hub })),
            Err(_) => Err(PyValueError::new_err("this server has a relay already")),
        }
    }

    /// From now on it hears and speaks through these, and theirs is the time.
    fn link(&self, links: Py<PyAny>) -> PyResult<()> {
        self.inner.reach(Box::new(PythonLinks(links)))
    }

    /// What is done where a node waits, once. Returns whether Python has to take a turn.
    fn pass_over(&self, py: Python<'_>, is_lone: bool) -> bool {
        py.detach(|| self.inner.run(is_lone))
    }

    /// (node, message) of what is Python's to read.
    fn receive<'py>(&self, py: Python<'py>) -> Vec<(u64, Bound<'py, PyBytes>)> {
        let messages = py.detach(|| self.inner.take_messages());
        messages.into_iter().map(|(node, message)| (node, PyBytes::new(py, &message))).collect()
    }

    /// What consensus has to say since the last time, as `Raft.ready`; of a group with nothing but committed entries only
    /// (group, entries). Messages that may leave have left. OSError once a write or sync has failed. `in_line`: a little may
    /// be written on this thread, where the disk is quick.
    #[pyo3(signature = (*, in_line = false))]
    fn advance<'py>(&self, py: Python<'py>, in_line: bool) -> PyResult<Bound<'py, PyList>> {
        let (news, broken, failure) = py.detach(|| {
            let mut state = self.inner.state.lock();
            let now = self.inner.now();
            if !self.inner.is_broken(&mut state) {
                self.inner.tell_commits(&mut state, now);
                self.inner.advance(&mut state, now, in_line);
            }
            (state.take_news(now, self.inner.is_patient()), state.broken.clone(), self.inner.log.failure())
        });
        if let Some(reason) = failure {
            return Err(PyOSError::new_err(reason));
        }
        if let Some(reason) = broken {
            return Err(PyValueError::new_err(reason));
        }
        let list = PyList::empty(py);
        for one in news {
            if one.has_more_than_entries() {
                list.append(news_tuple(py, one)?)?;
            } else {
                list.append((one.group, entry_list(py, &one.committed)?))?;
            }
        }
        Ok(list)
    }

    /// A group was closed: what is held back or told of it is of its former life.
    fn forget(&self, group: u64) {
        self.inner.state.lock().forget(group);
    }

    /// Whether nobody waits for what followers here have yet to apply.
    fn be_patient(&self, is_patient: bool) {
        self.inner.is_patient.store(is_patient, Relaxed);
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Relay>()
}
