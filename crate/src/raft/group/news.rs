//! What one turn of a group tells, besides what it wants written.

use protobuf::Message as _;
use raft::eraftpb::{Entry, EntryType, Message};
use raft::StateRole;

/// What one turn of a group produced, besides writes.
#[derive(Default)]
pub struct News {
    pub group: u64,
    /// This replica leads.
    pub leads: bool,
    /// It has committed what its followers have not been told.
    pub has_untold_commit: bool,
    pub committed: Vec<Entry>,
    /// (peer, message): at once.
    pub messages: Vec<(u64, Vec<u8>)>,
    /// (peer, message): once `number` is durable.
    pub messages_after: Vec<(u64, Vec<u8>)>,
    pub reads: Vec<(Vec<u8>, u64)>,
    pub reads_lost: Vec<Vec<u8>>,
    /// (leader, role, term) when it changed.
    pub leadership: Option<(u64, StateRole, u64)>,
    /// The write that `messages_after` wait for; 0 when there is none.
    pub number: u64,
    /// [low, high) of the log that a follower needs: see `fetched`.
    pub fetches: Vec<(u64, u64)>,
    /// Followers that need what the log does not have any more: see `report_snapshot`.
    pub snapshots_wanted: Vec<u64>,
    /// When it changed and somebody watches it.
    pub all_matched: Option<u64>,
    /// (to, whether it leads now) when a transfer has ended.
    pub transfer: Option<(u64, bool)>,
}

impl News {
    /// It has nothing but entries that a follower applies, if any, and messages that wait for the disk. A change of members
    /// does not wait: who has not applied it stands for no election.
    pub fn may_wait(&self) -> bool {
        let is_normal = |entry: &Entry| entry.get_entry_type() == EntryType::EntryNormal;
        let has_only_to_apply = self.committed.is_empty() || (!self.leads && self.committed.iter().all(is_normal));
        has_only_to_apply && !self.has_more_than_entries()
    }

    pub fn has_more_than_entries(&self) -> bool {
        let is_asked = !self.reads.is_empty() || !self.reads_lost.is_empty();
        let has_needs = !self.fetches.is_empty() || !self.snapshots_wanted.is_empty();
        let has_turned = self.leadership.is_some() || self.all_matched.is_some() || self.transfer.is_some();
        !self.messages.is_empty() || is_asked || has_needs || has_turned
    }
}

/// Encoded, by ascending peer, in the order of sending per peer.
pub fn packed(mut messages: Vec<Message>) -> Vec<(u64, Vec<u8>)> {
    messages.sort_by_key(|message| message.to);
    let encode = |message: &Message| (message.to, message.write_to_bytes().expect("encoding into memory"));
    messages.iter().map(encode).collect()
}
