//! Between Raft's messages and the plain values Python sees. Every number that comes from outside is checked here:
//! what reaches a group has a meaning there.

use bytes::Bytes;
use protobuf::Message as _;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
};
use raft::StateRole;

/// (voters, learners, voters_outgoing, learners_next, auto_leave)
pub type Conf = (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>, bool);
/// (term, vote, commit)
pub type Hard = (u64, u64, u64);
/// (index, term, kind, data)
pub type EntryIn = (u64, u64, u8, PyBackedBytes);
/// (kind, replica), kind 0 voter, 1 remove, 2 learner
pub type Change = (u8, u64);

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

pub fn change_from(changes: Vec<Change>, transition: u8, context: Vec<u8>) -> Result<ConfChangeV2, String> {
    let mut change = ConfChangeV2::default();
    let mut singles = vec![];
    for (kind, replica) in changes {
        let mut single = ConfChangeSingle::default();
        single.set_change_type(match kind {
            0 => ConfChangeType::AddNode,
            1 => ConfChangeType::RemoveNode,
            2 => ConfChangeType::AddLearnerNode,
            _ => return Err(format!("kind of change {kind} is not 0, 1 or 2")),
        });
        single.node_id = replica;
        singles.push(single);
    }
    change.set_changes(singles.into());
    change.set_transition(transition_from(transition)?);
    change.set_context(context.into());
    Ok(change)
}

/// What `change_from` was given, from the data of an entry.
pub fn change_parts(data: &[u8]) -> Result<(Vec<Change>, Vec<u8>), String> {
    let change = change_decoded(data)?;
    let parts = change.get_changes().iter().map(|single| {
        let kind = match single.get_change_type() {
            ConfChangeType::AddNode => 0,
            ConfChangeType::RemoveNode => 1,
            ConfChangeType::AddLearnerNode => 2,
        };
        (kind, single.node_id)
    });
    Ok((parts.collect(), change.get_context().to_vec()))
}

pub fn change_decoded(data: &[u8]) -> Result<ConfChangeV2, String> {
    let mut change = ConfChangeV2::default();
    change.merge_from_bytes(data).map_err(|e| e.to_string())?;
    Ok(change)
}

fn transition_from(number: u8) -> Result<ConfChangeTransition, String> {
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
