//! Snapshots, seen from both ends of one.
//!
//! Invariants:
//! * a snapshot replaces a log only where that log cannot lead there itself: entries that were acknowledged stay, for a
//!   leader may have counted them;
//! * a leader believes nobody about what a follower has. Told that a snapshot is installed, it sends the entries behind
//!   it, and the follower's answer to them is the proof. So no message of this can be lost for good, and Raft's own
//!   message of a snapshot is not needed.

use raft::StateRole;

use super::Group;

impl Group {
    /// Whether a snapshot as of (index, term) brings this replica what its own log does not.
    pub fn may_install(&self, index: u64, term: u64) -> bool {
        let log = &self.node.raft.raft_log;
        !self.leads() && index > log.committed && !log.match_term(index, term)
    }

    /// How a snapshot for a follower ended: installed as of an index, or not. Then, and where this replica knows of no such
    /// index, one is wanted again as soon as Raft has a reason to send the follower something.
    pub fn report_snapshot(&mut self, replica: u64, installed: Option<u64>) {
        self.node.mut_store().snapshots.end(replica);
        let raft = &mut self.node.raft;
        let committed = raft.raft_log.committed;
        let Some(index) = installed.filter(|index| *index <= committed) else { return };
        if raft.state != StateRole::Leader {
            return; // who leads now finds out by himself
        }
        if let Some(progress) = raft.mut_prs().get_mut(replica).filter(|progress| progress.matched < index) {
            progress.become_probe();
            progress.optimistic_update(index);
            raft.send_append(replica);
        }
    }

    /// The smallest index that all voters have on disk, those of both halves of a joint state; 0 for who does not lead.
    pub fn all_matched(&self) -> u64 {
        if !self.leads() {
            return 0;
        }
        let progress = self.node.raft.prs();
        let matched = |voter| progress.get(voter).map_or(0, |progress| progress.matched);
        progress.conf().voters().ids().iter().map(matched).min().unwrap_or(0)
    }

    /// From now on `News::all_matched` tells when it has changed; or not any more.
    pub fn watch_all(&mut self, is_watched: bool) {
        self.all_matched_told = if is_watched { Some(0) } else { None };
    }

    pub(super) fn all_matched_changed(&self) -> Option<u64> {
        let told = self.all_matched_told?;
        let now = self.all_matched();
        (now != told).then_some(now)
    }
}
