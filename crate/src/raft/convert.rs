//! Between Raft's messages and the plain values Python sees. Every number that comes from outside is checked here:
//! what reaches a group has a meaning there.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use raft::eraftpb::{ConfChangeTransition, ConfState, Entry, EntryType};
use raft::StateRole;

/// (voters, learners, voters_outgoing, learners_next, auto_leave)
pub type Conf = (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>, bool);
/// (term, vote, commit)
pub type Hard = (u64, u64, u64);
/// (index, term, kind, data)
pub type EntryIn = (u64, u64, u8, PyBackedBytes);

/// Members, with ids sorted so that equal members always look equal.
pub fn conf_from(conf: Conf) -> ConfState {
    let (mut voters, mut learners, mut outgoing, mut next, auto_leave) = conf;
    for ids in [&mut voters, &mut learners, &mut outgoing, &mut next] {
        ids.sort_unstable();
    }
    let mut state = ConfState::default();
    state.set_voters(voters);
    state.set_learners(learners);
    state.set_voters_outgoing(outgoing);
    state.set_learners_next(next);
    state.set_auto_leave(auto_leave);
    state
}

pub fn conf_tuple(state: &ConfState) -> Conf {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    (
        sorted(state.get_voters()),
        sorted(state.get_learners()),
        sorted(state.get_voters_outgoing()),
        sorted(state.get_learners_next()),
        state.get_auto_leave(),
    )
}

pub fn entry_from((index, term, kind, data): EntryIn) -> Result<Entry, String> {
    let data = Bytes::copy_from_slice(&data);
    let mut entry = Entry { index, term, data, ..Entry::default() };
    entry.set_entry_type(match kind {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(format!("kind of entry {kind} is not 0, 1 or 2")),
    });
    Ok(entry)
}

pub fn transition_from(number: u8) -> Result<ConfChangeTransition, String> {
    match number {
        0 => Ok(ConfChangeTransition::Auto),
        1 => Ok(ConfChangeTransition::Implicit),
        2 => Ok(ConfChangeTransition::Explicit),
        _ => Err(format!("transition {number} is not 0, 1 or 2")),
    }
}

/// Entries as [(index, term, kind, data)].
pub fn entry_list<'py>(py: Python<'py>, entries: &[Entry]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for entry in entries {
        let kind = match entry.get_entry_type() {
            EntryType::EntryNormal => 0u8,
            EntryType::EntryConfChange => 1,
            EntryType::EntryConfChangeV2 => 2,
        };
        list.append((entry.index, entry.term, kind, PyBytes::new(py, &entry.data)))?;
    }
    Ok(list)
}

pub fn role_number(role: StateRole) -> u8 {
    match role {
        StateRole::Follower => 0,
        StateRole::Candidate => 1,
        StateRole::Leader => 2,
        StateRole::PreCandidate => 3,
    }
}
