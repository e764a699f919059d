//! What all groups of a node have done, counted for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use raft::eraftpb::MessageType;

/// By number of the type, from MsgHup to MsgRequestPreVoteResponse.
const KINDS: [&str; 19] = [
    "hup",
    "beat",
    "propose",
    "append",
    "append_response",
    "vote",
    "vote_response",
    "snapshot",
    "heartbeat",
    "heartbeat_response",
    "unreachable",
    "snapshot_status",
    "check_quorum",
    "transfer_leader",
    "timeout_now",
    "read_index",
    "read_index_response",
    "pre_vote",
    "pre_vote_response",
];

#[derive(Default)]
pub struct Counters {
    /// Times that a replica began to stand for election.
    pub elections: AtomicU64,
    /// Times that a replica learned of another leader than before.
    pub leader_changes: AtomicU64,
    pub proposals: AtomicU64,
    /// Entries handed out to be applied.
    pub committed: AtomicU64,
    pub sent: ByKind,
    pub received: ByKind,
}

#[derive(Default)]
pub struct ByKind([AtomicU64; KINDS.len()]);

pub fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl ByKind {
    pub fn count(&self, kind: MessageType) {
        if let Some(counter) = self.0.get(kind as usize) {
            add(counter, 1);
        }
    }

    /// Those that there were any of.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}
