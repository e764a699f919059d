//! The part of one group's log that is kept in memory: what Raft reads from.
//!
//! Invariant: the window is contiguous from the entry behind `prev` to the newest one handed out by `ready`, durable or
//! not; Raft itself knows what is durable. Raft never waits for a disk read here (INVARIANT 19).
//!
//! Entries below the window are not served. Raft then asks for a snapshot, gets "not now", and asks again at the next
//! heartbeat reply, so a follower that far behind stays where it is until the owner stops compacting beyond it. The
//! place for feeding it from the log is `entries`: where the context allows it (`can_async`), keep the context, answer
//! `LogTemporarilyUnavailable`, read with `Log.fetch`, and give the entries and the context back through
//! `RawNode::on_entries_fetched`; `first_index` and `term` must then reach back as far as the log does.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::convert::Hard;

pub struct Window {
    /// The newest hard state handed out, and the members as of `applied` when the group was opened, then as changed.
    hard: HardState,
    conf: ConfState,
    /// (index, term) of the entry just before the window.
    prev: (u64, u64),
    entries: VecDeque<Entry>,
}

impl Window {
    /// Refuses parts that contradict each other, where Raft would panic.
    pub fn new(
        hard: Hard,
        conf: ConfState,
        prev: (u64, u64),
        entries: Vec<Entry>,
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
        let mut state = HardState::default();
        (state.term, state.vote, state.commit) = (term, vote, commit);
        Ok(Window { hard: state, conf, prev, entries: entries.into() })
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

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        bytes_max: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let (from, to) = ((low - self.first()) as usize, (high - self.first()) as usize);
        let bytes_max = bytes_max.into().unwrap_or(u64::MAX);
        // Copies only what fits: a follower far behind asks for the whole window at once. At least one entry.
        let mut bytes = 0u64;
        let mut out = vec![];
        for entry in self.entries.range(from..to) {
            bytes += entry.data.len() as u64 + 32;
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.prev.0 {
            return Ok(self.prev.1);
        }
        if index < self.prev.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.first()) as usize);
        entry.map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
