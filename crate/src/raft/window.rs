//! The part of one group's log that is kept in memory: what Raft reads from.
//!
//! Invariant: the window is contiguous from the entry behind `prev` to the newest one handed out by `ready`, durable or
//! not; Raft itself knows what is durable. Raft never waits for a disk read here (INVARIANTS 19).
//!
//! What a follower far behind needs lies below the window, in the log. Raft is told "not now" and the range is noted as
//! wanted; the owner reads it off the thread and lends it to the window for the one call that sends it. A range that Raft
//! does not get for whatever reason it asks for again, at the next heartbeat reply. Below the log itself Raft asks for a
//! snapshot, and gets "not now" for good.

use std::cell::RefCell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::convert::Hard;
use super::snapshots::Snapshots;

/// Ranges under way at once; more followers than that are not far behind together.
const WANTED_MAX: usize = 16;

/// A range of the log that Raft wants to send.
struct Wanted {
    low: u64,
    high: u64,
    /// Who asked; Raft's to interpret.
    contexts: Vec<GetEntriesContext>,
    is_told: bool,
}

/// Entries of the log, lent to the window.
struct Lent {
    prev: (u64, u64),
    entries: Vec<Entry>,
}

pub struct Window {
    /// The newest hard state handed out, and the members as of `applied` when the group was opened, then as changed.
    hard: HardState,
    conf: ConfState,
    /// (index, term) of the entry just before the window.
    prev: (u64, u64),
    entries: VecDeque<Entry>,
    /// The first entry that the log still has.
    log_first: u64,
    lent: Option<Lent>,
    /// Written to where Raft only reads.
    wanted: RefCell<Vec<Wanted>>,
    pub snapshots: Snapshots,
}

impl Window {
    /// Refuses parts that contradict each other, where Raft would panic.
    pub fn new(
        hard: Hard,
        conf: ConfState,
        prev: (u64, u64),
        entries: Vec<Entry>,
        log_first: u64,
    ) -> std::result::Result<Self, String> {
        let mut last = prev;
        for entry in &entries {
            if entry.index != last.0 + 1 || entry.term < last.1 {
                return Err(format!("entry {} of term {} behind {} of {}", entry.index, entry.term, last.0, last.1));
            }
            last = (entry.index, entry.term);
        }
        let (term, vote, commit) = hard;
        if term < last.1 {
            return Err(format!("term {term} is below the term {} of the last entry", last.1));
        }
        if commit > last.0 {
            return Err(format!("the log ends at {}, before the committed index {commit}", last.0));
        }
        if commit < prev.0 {
            return Err(format!("the log starts behind {}, which is not committed", prev.0));
        }
        if log_first == 0 || log_first > prev.0 + 1 {
            return Err(format!("the log begins at {log_first}, behind the window, which begins at {}", prev.0 + 1));
        }
        let mut state = HardState::default();
        (state.term, state.vote, state.commit) = (term, vote, commit);
        let (lent, wanted, snapshots) = (None, RefCell::default(), Snapshots::default());
        Ok(Window { hard: state, conf, prev, entries: entries.into(), log_first, lent, wanted, snapshots })
    }

    pub fn first(&self) -> u64 {
        self.prev.0 + 1
    }

    pub fn last(&self) -> u64 {
        self.prev.0 + self.entries.len() as u64
    }

    pub fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    pub fn set_hard(&mut self, hard: &HardState) {
        self.hard = hard.clone();
    }

    /// Appends, first dropping our own end where a new leader overwrites it.
    pub fn append(&mut self, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            self.entries.truncate((first.index - self.first()) as usize);
            self.entries.extend(entries.iter().cloned());
        }
    }

    /// Forgets entries up to `index`, which must be in the window.
    pub fn compact(&mut self, index: u64) -> Result<()> {
        if index > self.prev.0 {
            let term = self.term(index)?;
            self.entries.drain(..(index - self.prev.0) as usize);
            self.prev = (index, term);
            if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
        Ok(())
    }
}

impl Window {
    /// The log has forgotten its entries up to `index`, which are not in the window either.
    pub fn note_cut(&mut self, index: u64) {
        self.log_first = self.log_first.max(index + 1);
    }

    pub fn has_wants(&self) -> bool {
        self.snapshots.has_wants() || self.wanted.borrow().iter().any(|wanted| !wanted.is_told)
    }

    /// The ranges [low, high) that are wanted, each told once.
    pub fn take_wants(&mut self) -> Vec<(u64, u64)> {
        let fresh = self.wanted.get_mut().iter_mut().filter(|wanted| !wanted.is_told);
        fresh
            .map(|wanted| {
                wanted.is_told = true;
                (wanted.low, wanted.high)
            })
            .collect()
    }

    /// Lends what was read from `low` on, behind an entry of `prev_term`. Returns who asked for it.
    pub fn lend(&mut self, low: u64, prev_term: u64, entries: Vec<Entry>) -> Vec<GetEntriesContext> {
        let wanted = self.wanted.get_mut();
        let place = wanted.iter().position(|wanted| wanted.low == low);
        let contexts = place.map_or_else(Vec::new, |place| wanted.swap_remove(place).contexts);
        self.lent = Some(Lent { prev: (low - 1, prev_term), entries });
        contexts
    }

    pub fn take_back(&mut self) {
        self.lent = None;
    }

    fn want(&self, low: u64, high: u64, context: GetEntriesContext) {
        let mut wanted = self.wanted.borrow_mut();
        if let Some(known) = wanted.iter_mut().find(|wanted| wanted.low == low) {
            if known.contexts.len() < WANTED_MAX {
                known.contexts.push(context);
            }
        } else if wanted.len() < WANTED_MAX {
            wanted.push(Wanted { low, high, contexts: vec![context], is_told: false });
        }
    }
}

/// Copies only what fits: a follower far behind asks for all at once. At least one entry.
fn fitting<'a>(entries: impl Iterator<Item = &'a Entry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0u64;
    let mut out = vec![];
    for entry in entries {
        bytes += entry.data.len() as u64 + 32;
        if bytes > bytes_max && !out.is_empty() {
            break;
        }
        out.push(entry.clone());
    }
    out
}

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        bytes_max: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let bytes_max = bytes_max.into().unwrap_or(u64::MAX);
        if low < self.first() {
            if let Some(lent) = self.lent.as_ref().filter(|lent| low == lent.prev.0 + 1 && !lent.entries.is_empty()) {
                return Ok(fitting(lent.entries.iter().take((high - low) as usize), bytes_max));
            }
            if low < self.log_first || !context.can_async() {
                return Err(Error::Store(StorageError::Compacted));
            }
            self.want(low, high.min(self.first()), context);
            return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let (from, to) = ((low - self.first()) as usize, (high - self.first()) as usize);
        Ok(fitting(self.entries.range(from..to), bytes_max))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.prev.0 {
            return Ok(self.prev.1);
        }
        if index < self.prev.0 {
            let lent = self.lent.as_ref().filter(|lent| lent.prev.0 == index);
            return lent.map(|lent| lent.prev.1).ok_or(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.first()) as usize);
        entry.map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.log_first)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> Result<Snapshot> {
        self.snapshots.want(to);
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
