//! What one turn takes out of a group: one `Ready` of Raft as a write and as news.
//!
//! Invariant: nothing that depends on a write leaves before the write is durable: `messages_after` names the number to
//! wait for.

use raft::eraftpb::MessageType;
use raft::StateRole;

use super::news::packed;
use super::vows::unmarked;
use super::{Group, News};
use crate::raft::counters::add;
use crate::raft::writes::GroupWrite;

/// A leader sends a little more to whoever says that it hears it. Beyond so many bytes that its disk is yet to take, a
/// follower says so only with what it has.
const OPEN_BYTES_MAX: usize = 64 << 20;

impl Group {
    /// Whether `take_ready` has something to return.
    pub fn has_work(&self) -> bool {
        let has_wants = self.node.store().has_wants();
        let has_turned = self.reads_are_lost() || self.leadership_now() != self.leadership;
        let has_ended = self.transfer_ended().is_some() || self.all_matched_changed().is_some();
        self.node.has_ready() || has_wants || has_turned || has_ended
    }

    fn leadership_now(&self) -> (u64, StateRole, u64) {
        let raft = &self.node.raft;
        (raft.leader_id, raft.state, raft.term)
    }

    pub fn take_ready(&mut self) -> Option<(Option<GroupWrite>, News)> {
        if !self.has_work() {
            return None;
        }
        if !self.leads() {
            self.node.mut_store().snapshots.retain(|_| false);
        }
        let window = self.node.mut_store();
        let (fetches, snapshots_wanted) = (window.take_wants(), window.snapshots.take_wants());
        let mut news = News { group: self.id, fetches, snapshots_wanted, ..News::default() };
        let write = if self.node.has_ready() { self.collect(&mut news) } else { None };
        self.reads.confirm(&news.reads);
        if self.reads_are_lost() {
            news.reads_lost = self.reads.take();
        }
        let leadership = self.leadership_now();
        if leadership != self.leadership {
            self.count_turn(leadership);
            self.leadership = leadership;
            self.idle_ticks = 0;
            news.leadership = Some(leadership);
        }
        news.transfer = self.transfer_ended();
        if news.transfer.is_some() {
            self.transfer = None;
        }
        news.all_matched = self.all_matched_changed();
        self.all_matched_told = news.all_matched.or(self.all_matched_told);
        news.leads = self.leads();
        news.has_untold_commit = self.leads() && self.node.raft.raft_log.committed > self.commit_told;
        Some((write, news))
    }

    fn count_turn(&self, (leader, role, _): (u64, StateRole, u64)) {
        let stands = |role| matches!(role, StateRole::PreCandidate | StateRole::Candidate);
        let (leader_before, role_before, _) = self.leadership;
        add(&self.counters.elections, usize::from(stands(role) && !stands(role_before)));
        add(&self.counters.leader_changes, usize::from(leader != 0 && leader != leader_before));
    }

    fn collect(&mut self, news: &mut News) -> Option<GroupWrite> {
        let mut ready = self.node.ready();
        let number = ready.number();
        news.reads =
            ready.take_read_states().into_iter().map(|read| (unmarked(read.request_ctx), read.index)).collect();
        news.committed = ready.take_committed_entries();
        add(&self.counters.committed, news.committed.len());
        let entries = ready.take_entries();
        let must_sync = ready.must_sync();
        let mut now = ready.take_messages();
        let may_run_ahead = self.open_writes.bytes() < OPEN_BYTES_MAX;
        let (after, free): (Vec<_>, Vec<_>) = ready
            .take_persisted_messages()
            .into_iter()
            .partition(|message| !may_run_ahead || waits_for_disk(message.get_msg_type()));
        now.extend(free);
        self.note_told(&now);
        for message in now.iter().chain(&after) {
            self.counters.sent.count(message.get_msg_type());
        }

        // Raft lets go of its own copy: the window must serve all of this from here on.
        let window = self.node.mut_store();
        window.append(&entries);
        if let Some(hard) = ready.hs() {
            window.set_hard(hard);
        }
        self.node.advance_append_async(ready);

        let mut write = None;
        if must_sync {
            let hard = self.node.raft.hard_state();
            let hard = (hard.term, hard.vote, hard.commit);
            let changed = hard != self.hard_written;
            self.hard_written = hard;
            let number = self.open_writes.add(number, entries.iter().map(|entry| entry.data.len()).sum());
            write = Some(GroupWrite { group: self.id, number, hard: changed.then_some(hard), entries });
        } else if !self.open_writes.cover(number) {
            // Nothing to write and nothing open. Only after advance_append_async, which looks for this ready's record.
            self.node.on_persist_ready(number);
        }

        match self.open_writes.newest() {
            Some(number) => {
                news.number = number;
                news.messages_after = packed(after);
                news.messages = packed(now);
            }
            None => {
                news.messages = packed(now);
                news.messages.extend(packed(after));
            }
        }
        write
    }
}

/// Whether a message of a follower stands for something that its disk has to have. Raft holds all of them back behind a
/// write. But that it hears its leader is true whatever its disk says, and a leader that is told so only after a slow sync
/// would give up. A node that forgets, in a crash, the term in which it said so can be in no quorum of that term without
/// somebody who voted in it, and votes are durable.
fn waits_for_disk(kind: MessageType) -> bool {
    kind != MessageType::MsgHeartbeatResponse
}
