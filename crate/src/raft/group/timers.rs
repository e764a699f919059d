//! Time in a group: heartbeats, elections, sleep.
//!
//! Invariants:
//! * all leaders of a node send their heartbeats in the same tick, so that those to one peer share a message;
//! * no election while a write is open: Raft panics when it wins before its own log is durable;
//! * a group sleeps only while every member has, and knows as committed, all there is; whatever is new wakes it, and its
//!   timers begin anew. Who does not hear of that finds a leader that is awake, or an election (INVARIANTS 23).

use raft::eraftpb::{Message, MessageType};

use super::Group;

impl Group {
    /// Raft draws its election timeout whenever it resets, and a draw cannot be observed. So it is overwritten after
    /// every call.
    pub fn fix_election_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let ticks = self.election_timeout.ticks(self.id, raft.id, raft.term);
        raft.set_randomized_election_timeout(ticks);
    }

    /// An election can wait for the disk; Raft cannot win one before its log is there.
    pub(super) fn may_campaign(&self) -> bool {
        !self.leads() && self.open_writes.is_empty()
    }

    /// Who has no vote does not stand: without any voters Raft would take itself for elected.
    pub fn campaign(&mut self) -> bool {
        self.wake();
        self.may_campaign() && !self.is_vowed() && self.node.raft.promotable() && self.node.campaign().is_ok()
    }

    /// Whether the next tick does more than count: a heartbeat or an election. `is_beat`: leaders send heartbeats in it.
    pub fn acts_on_tick(&self, is_beat: bool) -> bool {
        let raft = &self.node.raft;
        if self.leads() {
            is_beat
        } else {
            raft.election_elapsed + 1 >= raft.randomized_election_timeout()
        }
    }

    /// A tick that only counts, and so changes nothing that `Host::with` would have to see.
    pub fn count_tick(&mut self) {
        self.vowed_ticks = self.vowed_ticks.saturating_sub(1);
        if self.leads() {
            self.idle_ticks += 1;
            // Raft itself sees beats only; the time in which it must hear of a quorum passes all the same.
            self.node.raft.election_elapsed += 1;
        } else {
            self.node.tick();
        }
    }

    /// A tick that may act. An election that cannot be held now stays due.
    pub fn tick(&mut self) {
        self.idle_ticks += 1;
        self.vowed_ticks = self.vowed_ticks.saturating_sub(1);
        if self.leads() || (self.may_campaign() && !self.is_vowed()) {
            self.node.tick();
        }
    }

    pub fn is_asleep(&self) -> bool {
        self.is_asleep
    }

    /// (term, last index) of a leader that has had nothing to do for so many ticks and may sleep.
    pub fn drowsy(&self, ticks: u64) -> Option<(u64, u64)> {
        let raft = &self.node.raft;
        (self.idle_ticks >= ticks && self.is_settled_leader()).then(|| (raft.term, raft.raft_log.last_index()))
    }

    /// Goes to sleep, if it stands at (term, index) and all is settled: as leader, or as one who follows.
    pub fn sleep(&mut self, term: u64, index: u64) -> bool {
        let raft = &self.node.raft;
        let stands_there = raft.term == term && raft.raft_log.last_index() == index;
        self.is_asleep = stands_there && (self.is_settled_leader() || self.is_settled_follower());
        self.is_asleep
    }

    /// The timers begin anew: nobody is blamed for silence while the group slept.
    pub fn wake(&mut self) {
        self.idle_ticks = 0;
        if self.is_asleep {
            self.is_asleep = false;
            self.node.raft.election_elapsed = 0;
        }
    }

    /// The same for groups whose leader is known to be lost: who follows need not wait a whole election timeout, and votes
    /// for another at once, unless it has vowed not to.
    pub fn wake_without_leader(&mut self) {
        self.wake();
        if !self.leads() && !self.is_vowed() {
            self.node.raft.election_elapsed = self.node.raft.election_timeout();
        }
    }

    /// Replies that were under way when a leader went to sleep say nothing new.
    pub(super) fn wakes(&self, message: &Message) -> bool {
        let is_late_reply = match message.get_msg_type() {
            MessageType::MsgHeartbeatResponse => true,
            MessageType::MsgAppendResponse => !message.reject,
            _ => false,
        };
        !(is_late_reply && self.leads() && message.term <= self.node.raft.term)
    }

    /// Every member has all there is and knows it as committed, and nothing is asked, changed, told or handed over.
    fn is_settled_leader(&self) -> bool {
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        let is_even = || {
            raft.prs()
                .iter()
                .all(|(id, progress)| progress.matched == last && (*id == raft.id || progress.committed_index == last))
        };
        let is_joint = !self.node.store().conf().get_voters_outgoing().is_empty();
        let has_asked = self.reads.any() || raft.lead_transferee.is_some() || raft.has_pending_conf();
        self.leads() && !is_joint && !has_asked && self.has_all_committed() && !self.has_work() && is_even()
    }

    fn is_settled_follower(&self) -> bool {
        !self.leads() && self.node.raft.leader_id != 0 && self.has_all_committed()
    }

    fn has_all_committed(&self) -> bool {
        let log = &self.node.raft.raft_log;
        self.open_writes.is_empty() && log.committed == log.last_index()
    }
}
