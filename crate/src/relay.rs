//! `Relay`: what a node does for its Raft groups between two turns, without Python.
//!
//! A turn of Python costs as much for one message of Raft as for a thousand, and most of what three nodes say to each
//! other asks for no decision of the node's: an append is stepped, written, synced, acknowledged; an acknowledgement
//! moves a commit index. So the node's own thread does that while it waits in `EdgeServer.poll`, and Python takes a turn
//! when there is something for it: entries that are committed, leadership, reads, calls.
//!
//! Invariants:
//! * One thread: it runs where `poll` waits or where Python calls it, so Raft is still driven by the node's thread alone.
//! * The durability rule is that of `dkv.edge.consensus`, which does the same over a simulated log: writes are handed to
//!   the log before anything leaves, and what depends on a write is held back until the log says that it is durable.
//! * Nothing is decided here about who may speak: a replica is heard once Python has heard it from the same node, and
//!   messages to one whose node is not known are Python's to send.
//! * What a follower has to apply may wait for `LATE`, and only while Python has said that nobody waits for it. So may the
//!   news that something is committed: it goes with the next append, or alone when there is none within `LATE`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use raft::eraftpb::Message;

use crate::edge::{EdgeServer, Errands, Hub, Packer};
use crate::log::{Log, Shared as LogShared, Writer};
use crate::raft::{decode_message, news_tuple, Host, News, Raft};

/// How long entries that a follower has only to apply may wait for others, to share a turn with them.
const LATE: Duration = Duration::from_millis(5);

/// Or how many of their bytes.
const LATE_BYTES_MAX: usize = 256 << 10;

/// What fills a message to a node; see `dkv.wire.peer`.
const MESSAGE_BYTES: usize = 1 << 20;

/// kind:u8 | vbucket:u32 | length:u32, big endian.
const PART_HEAD_BYTES: usize = 9;

/// `dkv.wire.peer.Kind.RAFT`.
const RAFT_KIND: u8 = 1;

/// Rounds of Raft in one look: a group that has more to say is asked again.
const ROUNDS_MAX: usize = 4;

type Messages = Vec<(u64, Vec<u8>)>;

#[derive(Default)]
struct State {
    /// The node of each replica that was heard, by (group, replica). Replicas never move.
    homes: HashMap<(u64, u64), u64>,
    /// By group: (number of the write, messages that wait for it).
    held: HashMap<u64, VecDeque<(u64, Messages)>>,
    /// For Python.
    news: Vec<News>,
    messages: Vec<(u64, Bytes)>,
    is_urgent: bool,
    late_since: Option<Instant>,
    late_bytes: usize,
    /// Groups whose followers have to be told of a commit, and since when.
    untold: BTreeSet<u64>,
    untold_since: Option<Instant>,
    broken: Option<String>,
}

struct Inner {
    host: Arc<Mutex<Host>>,
    log: Arc<LogShared>,
    /// Gone when the log is closed.
    writer: Weak<Writer>,
    hub: Option<Arc<Hub>>,
    state: Mutex<State>,
    is_patient: AtomicBool,
}

/// Parts for each node, in messages.
#[derive(Default)]
struct Outbox {
    nodes: HashMap<u64, (Vec<u8>, Packer)>,
}

impl Outbox {
    fn put(&mut self, node: u64, group: u64, body: &[u8]) {
        let (open, packer) = self.nodes.entry(node).or_default();
        put_part(open, RAFT_KIND, group as u32, body);
        if open.len() >= MESSAGE_BYTES {
            packer.push(open);
            open.clear();
        }
    }

    fn send(self, hub: &Hub) {
        let full = self.nodes.into_iter().map(|(node, (open, mut packer))| {
            if !open.is_empty() {
                packer.push(&open);
            }
            (node, packer)
        });
        hub.send(full);
    }
}

fn put_part(out: &mut Vec<u8>, kind: u8, vbucket: u32, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&vbucket.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
}

/// (kind, vBucket, body) of each part; None: it ends inside one.
fn parts(message: &[u8]) -> Option<Vec<(u8, u32, &[u8])>> {
    let (mut found, mut rest) = (vec![], message);
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(PART_HEAD_BYTES)?;
        let vbucket = u32::from_be_bytes(head[1..5].try_into().ok()?);
        let length = u32::from_be_bytes(head[5..9].try_into().ok()?) as usize;
        let (body, after) = behind.split_at_checked(length)?;
        found.push((head[0], vbucket, body));
        rest = after;
    }
    Some(found)
}

impl State {
    /// Messages of Raft in it, and what else is; None: Python has to see it whole.
    #[allow(clippy::type_complexity)]
    fn sort(&mut self, node: u64, message: &Bytes) -> Option<(Vec<(u64, Message)>, Option<Bytes>)> {
        let found = parts(message)?;
        let (mut raft, mut rest, mut is_known) = (vec![], vec![], true);
        for (kind, vbucket, body) in found {
            if kind != RAFT_KIND {
                put_part(&mut rest, kind, vbucket, body);
                continue;
            }
            let one = decode_message(body).ok()?;
            let home = self.homes.entry((u64::from(vbucket), one.from)).or_default();
            is_known &= *home == node;
            *home = node;
            raft.push((u64::from(vbucket), one));
        }
        is_known.then(|| (raft, (!rest.is_empty()).then(|| Bytes::from(rest))))
    }

    /// Sends what has a known home; returns the rest.
    fn route(&self, group: u64, messages: Messages, out: &mut Outbox) -> Messages {
        let mut rest = vec![];
        for (replica, message) in messages {
            match self.homes.get(&(group, replica)) {
                Some(node) => out.put(*node, group, &message),
                None => rest.push((replica, message)),
            }
        }
        rest
    }

    fn release(&mut self, group: u64, number: u64, out: &mut Outbox) {
        let Some(held) = self.held.get_mut(&group) else { return };
        let mut free = vec![];
        while held.front().is_some_and(|(waits_for, _)| *waits_for <= number) {
            free.extend(held.pop_front().map(|(_, messages)| messages).unwrap_or_default());
        }
        if held.is_empty() {
            self.held.remove(&group);
        }
        let messages = self.route(group, free, out);
        if !messages.is_empty() {
            self.note(News { group, messages, ..News::default() }, false);
        }
    }

    /// Keeps what Python is told, if there is any.
    fn note(&mut self, news: News, is_patient: bool) {
        let has_more = news.has_more_than_entries();
        if !has_more && news.committed.is_empty() {
            return;
        }
        self.late_bytes += news.committed.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.is_urgent |= has_more || news.leads || !is_patient || self.late_bytes > LATE_BYTES_MAX;
        self.late_since.get_or_insert_with(Instant::now);
        self.news.push(news);
    }
}

impl Inner {
    fn hear(&self, state: &mut State) {
        let Some(hub) = &self.hub else { return };
        for (node, message) in hub.inbox.take() {
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
    fn tell_commits(&self, state: &mut State) {
        if state.untold_since.is_some_and(|since| since.elapsed() >= LATE) {
            state.untold_since = None;
            let mut host = self.host.lock();
            for group in std::mem::take(&mut state.untold) {
                host.with(group, |each| each.tell_commit());
            }
        }
    }

    /// Acknowledges, writes, sends. `in_line`: where the disk is quick, a little is written on this thread.
    fn advance(&self, state: &mut State, in_line: bool) {
        for _ in 0..ROUNDS_MAX {
            let acks = self.log.take_durable();
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
                state.release(group, number, &mut out);
            }
            let is_writing = !writes.is_empty();
            if is_writing {
                if let Err(error) = self.log.append(Arc::new(writes), in_line) {
                    state.broken = Some(error.to_string());
                }
            }
            if self.is_broken(state) {
                return;
            }
            let is_quiet = news.is_empty();
            for mut one in news {
                if !one.messages_after.is_empty() {
                    let waiting = (one.number, std::mem::take(&mut one.messages_after));
                    state.held.entry(one.group).or_default().push_back(waiting);
                }
                one.messages = state.route(one.group, std::mem::take(&mut one.messages), &mut out);
                if one.has_untold_commit {
                    state.untold.insert(one.group);
                    state.untold_since.get_or_insert_with(Instant::now);
                }
                state.note(one, self.is_patient.load(Relaxed));
            }
            if let Some(hub) = &self.hub {
                out.send(hub);
            }
            if is_writing && in_line && self.write_in_line() {
                continue;
            }
            if is_quiet || !self.host.lock().has_work() {
                return;
            }
        }
    }

    /// See `Log::write_in_line`: behind everything that could leave before.
    fn write_in_line(&self) -> bool {
        self.writer.upgrade().is_some_and(|writer| writer.write_in_line())
    }

    /// Python has to say so.
    fn is_broken(&self, state: &mut State) -> bool {
        let is_broken = state.broken.is_some() || self.log.failure.get().is_some();
        state.is_urgent |= is_broken;
        is_broken
    }
}

impl Errands for Inner {
    fn run(&self, is_lone: bool) -> bool {
        let mut state = self.state.lock();
        if !self.is_broken(&mut state) {
            self.hear(&mut state);
            self.tell_commits(&mut state);
            self.advance(&mut state, is_lone);
        }
        let is_due = state.late_since.is_some_and(|since| since.elapsed() >= LATE);
        is_due || state.is_urgent || !state.messages.is_empty()
    }

    fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let first = [state.late_since, state.untold_since].into_iter().flatten().min();
        first.map(|since| since + LATE)
    }

    fn take_messages(&self) -> Vec<(u64, Bytes)> {
        let mut state = self.state.lock();
        self.hear(&mut state);
        std::mem::take(&mut state.messages)
    }
}

/// Steps, writes and sends for the groups of a `Raft` while the node waits in `EdgeServer.poll`.
#[pyclass(frozen, module = "dkv._native")]
pub struct Relay {
    inner: Arc<Inner>,
}

#[pymethods]
impl Relay {
    /// From now on `server.poll` waits here. The links to other nodes, if there are any, are there already.
    #[new]
    fn new(raft: &Raft, log: &Log, server: &EdgeServer) -> PyResult<Self> {
        let shared = server.shared();
        raft.host().lock().defer_commits();
        let inner = Arc::new(Inner {
            host: raft.host().clone(),
            log: log.shared().clone(),
            writer: log.writer(),
            hub: shared.hub.get().cloned(),
            state: Mutex::default(),
            is_patient: AtomicBool::new(false),
        });
        match shared.errands.set(inner.clone()) {
            Ok(()) => Ok(Relay { inner }),
            Err(_) => Err(PyValueError::new_err("this server has a relay already")),
        }
    }

    /// What consensus has to say since the last time, as `Raft.ready`; messages that may leave have left. OSError once a
    /// write or sync has failed. `in_line`: as `write_in_line` behind `append`.
    #[pyo3(signature = (*, in_line = false))]
    fn advance<'py>(&self, py: Python<'py>, in_line: bool) -> PyResult<Bound<'py, PyList>> {
        let (news, broken) = py.detach(|| {
            let mut state = self.inner.state.lock();
            if !self.inner.is_broken(&mut state) {
                self.inner.tell_commits(&mut state);
                self.inner.advance(&mut state, in_line);
            }
            (state.is_urgent, state.late_since, state.late_bytes) = (false, None, 0);
            (std::mem::take(&mut state.news), state.broken.clone())
        });
        if let Some(reason) = self.inner.log.failure.get() {
            return Err(PyOSError::new_err(reason));
        }
        if let Some(reason) = broken {
            return Err(PyValueError::new_err(reason));
        }
        let list = PyList::empty(py);
        for one in news {
            list.append(news_tuple(py, one)?)?;
        }
        Ok(list)
    }

    /// A group was closed: what is held back or told of it is of its former life.
    fn forget(&self, group: u64) {
        let mut state = self.inner.state.lock();
        state.held.remove(&group);
        state.news.retain(|news| news.group != group);
    }

    /// Whether nobody waits for what followers here have yet to apply.
    fn be_patient(&self, is_patient: bool) {
        self.inner.is_patient.store(is_patient, Relaxed);
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Relay>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_parts_that_it_was_made_of() {
        let mut message = vec![];
        put_part(&mut message, 1, 7, b"abc");
        put_part(&mut message, 14, 0, b"");
        assert_eq!(parts(&message), Some(vec![(1, 7, &b"abc"[..]), (14, 0, &b""[..])]));
        assert_eq!(parts(&message[..message.len() - 1]), None);
        assert_eq!(parts(&[0; 3]), None);
        let mut claims = message.clone();
        claims[5] = 255;
        assert_eq!(parts(&claims), None);
    }
}
