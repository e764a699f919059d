//! raft-engine as this log uses it: its settings, what is stored under which key, and what a group is in it.
//!
//! Invariant: `GroupState` is what the log will contain once everything handed over is written; it is checked at hand
//! over, because raft-engine panics on a hole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use raft::eraftpb::Entry;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use super::error::{Error, Result};
use super::files::Files;
use crate::raft::{GroupWrite, Hard};

pub type LogEngine = Engine<Files>;

/// Persisted: do not renumber. (term, vote, commit), each u64 BE.
const KEY_HARD_STATE: &[u8] = b"h";
/// Persisted: do not renumber. (index, term) of the entry before the first one kept, each u64 BE.
const KEY_PREV: &[u8] = b"p";

pub struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// What the log knows about a group, including what is handed over and not yet written.
#[derive(Clone, Copy, Debug)]
pub struct GroupState {
    pub hard: Hard,
    pub prev: (u64, u64),
    pub last: u64,
}

impl GroupState {
    /// The state after `write`; Err when the write does not fit.
    pub fn after(mut self, write: &GroupWrite) -> Result<GroupState> {
        for (position, entry) in write.entries.iter().enumerate() {
            let fits = match position {
                0 => entry.index > self.prev.0 && entry.index <= self.last + 1,
                _ => entry.index == self.last + 1,
            };
            if !fits {
                return Err(Error::Refused(format!(
                    "group {}: entry {} does not follow {} to {}",
                    write.group, entry.index, self.prev.0, self.last
                )));
            }
            self.last = entry.index;
        }
        self.hard = write.hard.unwrap_or(self.hard);
        Ok(self)
    }
}

pub fn open(folder: &Path, file_bytes: u64, purge_threshold_bytes: u64, files: Files) -> Result<Arc<LogEngine>> {
    let dir = folder.to_str().ok_or_else(|| Error::Refused("the folder's name is not UTF-8".into()))?;
    let config = Config {
        dir: dir.to_owned(),
        // `check.rs` has cut what may be cut.
        recovery_mode: RecoveryMode::AbsoluteConsistency,
        // Old bytes must never look valid (INVARIANTS 2).
        enable_log_recycle: false,
        // Compressing costs the processor that serves requests more than it saves the disk.
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(file_bytes),
        purge_threshold: ReadableSize(purge_threshold_bytes),
        ..Config::default()
    };
    Ok(Arc::new(Engine::open_with_file_system(config, Arc::new(files))?))
}

/// All groups in the log. Refuses a group whose parts contradict each other.
///
/// raft-engine can bring back entries that were cut: it rewrites old entries into other files, and forgets the cut with
/// the file it stood in. What stands under `KEY_PREV` is rewritten like an entry and does not get lost, so it decides;
/// such a group is cut again here, before anything can be appended behind a hole.
pub fn groups(engine: &LogEngine) -> Result<BTreeMap<u64, GroupState>> {
    let mut groups = BTreeMap::new();
    let mut cuts = LogBatch::default();
    for group in engine.raft_groups() {
        let (Some([term, vote, commit]), Some([index, prev_term])) =
            (numbers(engine, group, KEY_HARD_STATE), numbers(engine, group, KEY_PREV))
        else {
            return Err(Error::Refused(format!("{}: group {group} has no first state", engine.path())));
        };
        let first = engine.first_index(group).unwrap_or(index + 1);
        let last = engine.last_index(group).unwrap_or(index);
        if first > index + 1 {
            return Err(Error::Refused(format!(
                "{}: group {group} starts at {first} but was cut at {index}",
                engine.path()
            )));
        }
        if first <= index {
            cuts.add_command(group, Command::Compact { index: index + 1 });
        }
        let state = GroupState { hard: (term, vote, commit), prev: (index, prev_term), last: last.max(index) };
        groups.insert(group, state);
    }
    engine.write(&mut cuts, true)?;
    Ok(groups)
}

/// Entries [low, high), at least one, at most about `bytes_max`.
pub fn read(engine: &LogEngine, group: u64, low: u64, high: u64, bytes_max: usize) -> Result<Vec<Entry>> {
    let mut entries = vec![];
    engine.fetch_entries_to::<Entries>(group, low, high, Some(bytes_max), &mut entries)?;
    Ok(entries)
}

pub fn put_first_state(batch: &mut LogBatch, group: u64, hard: Hard, prev: (u64, u64)) -> raft_engine::Result<()> {
    put_hard_state(batch, group, hard)?;
    put_prev(batch, group, prev)
}

/// A first state in place of all that the group has. Not a cut up to the end: raft-engine brings cut entries back, and
/// behind `prev` nobody would know them for what they are.
pub fn put_reset(batch: &mut LogBatch, group: u64, hard: Hard, prev: (u64, u64)) -> raft_engine::Result<()> {
    batch.add_command(group, Command::Clean);
    put_first_state(batch, group, hard, prev)
}

pub fn put_hard_state(batch: &mut LogBatch, group: u64, (term, vote, commit): Hard) -> raft_engine::Result<()> {
    batch.put(group, KEY_HARD_STATE.to_vec(), bytes([term, vote, commit]))
}

pub fn put_prev(batch: &mut LogBatch, group: u64, (index, term): (u64, u64)) -> raft_engine::Result<()> {
    batch.put(group, KEY_PREV.to_vec(), bytes([index, term]))
}

fn bytes<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn numbers<const N: usize>(engine: &LogEngine, group: u64, key: &[u8]) -> Option<[u64; N]> {
    let value = engine.get(group, key)?;
    if value.len() != 8 * N {
        return None;
    }
    let mut numbers = [0; N];
    for (number, bytes) in numbers.iter_mut().zip(value.chunks_exact(8)) {
        *number = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    Some(numbers)
}
