//! Snapshots that followers need, because what they miss has left the log.
//!
//! Raft asks again at every reply of such a follower, and is told "not now" each time: its own state of a snapshot under
//! way ends only by a message, which may be lost. So the owner is told once, brings the data over in its own way, and
//! says how that ended (`Group::report_snapshot`); until then the follower counts as being served.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Snapshots {
    /// replica -> whether the owner knows. Written to where Raft only reads.
    under_way: RefCell<BTreeMap<u64, bool>>,
}

impl Snapshots {
    pub fn want(&self, replica: u64) {
        self.under_way.borrow_mut().entry(replica).or_insert(false);
    }

    pub fn has_wants(&self) -> bool {
        self.under_way.borrow().values().any(|is_told| !is_told)
    }

    /// Who needs one, each told once.
    pub fn take_wants(&mut self) -> Vec<u64> {
        let fresh = self.under_way.get_mut().iter_mut().filter(|(_, is_told)| !**is_told);
        fresh
            .map(|(replica, is_told)| {
                *is_told = true;
                *replica
            })
            .collect()
    }

    pub fn is_under_way(&self, replica: u64) -> bool {
        self.under_way.borrow().contains_key(&replica)
    }

    pub fn end(&mut self, replica: u64) {
        self.under_way.get_mut().remove(&replica);
    }

    /// All but those of `is_kept` are of no use any more.
    pub fn retain(&mut self, is_kept: impl Fn(u64) -> bool) {
        self.under_way.get_mut().retain(|replica, _| is_kept(*replica));
    }
}
