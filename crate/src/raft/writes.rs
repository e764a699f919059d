//! What one `Raft.ready()` wants written. Rust owns it; Python only carries it from `Raft` to `Log`, so entries are
//! never copied into Python objects on their way to the disk.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use raft::eraftpb::Entry;

use super::convert::{entry_list, Hard};

/// One group's part: entries may overwrite the end of what the log has; the hard state replaces the old one.
#[derive(Clone, Debug)]
pub struct GroupWrite {
    pub group: u64,
    /// Acknowledged when all of this is durable.
    pub number: u64,
    pub hard: Option<Hard>,
    pub entries: Vec<Entry>,
}

/// What one `Raft.ready()` wants written, for all groups, in ascending order of group.
#[pyclass(frozen)]
pub struct Writes {
    items: Arc<Vec<GroupWrite>>,
}

impl Writes {
    pub fn new(items: Vec<GroupWrite>) -> Self {
        Writes { items: Arc::new(items) }
    }

    /// Shared, not copied.
    pub fn share(&self) -> Arc<Vec<GroupWrite>> {
        self.items.clone()
    }
}

#[pymethods]
impl Writes {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Plain values, for a simulated log: [(group, ready number, (term, vote, commit) or None, entries)].
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for write in self.items.iter() {
            list.append((write.group, write.number, write.hard, entry_list(py, &write.entries)?))?;
        }
        Ok(list)
    }
}
