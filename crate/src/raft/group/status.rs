//! Where one group stands, for whoever looks at it. Nothing is decided by it.

use raft::eraftpb::ConfState;
use raft::{ProgressState, RawNode};

use crate::raft::convert::role_number;
use crate::raft::window::Window;

pub struct PeerStatus {
    pub id: u64,
    pub matched: u64,
    pub next: u64,
    pub state: ProgressState,
    pub recent_active: bool,
}

pub struct Status {
    pub role: u8,
    pub leader: u64,
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
    pub persisted: u64,
    pub applied: u64,
    pub first_index: u64,
    pub last_index: u64,
    pub conf: ConfState,
    pub is_asleep: bool,
    pub peers: Vec<PeerStatus>,
}

impl Status {
    pub fn of(node: &RawNode<Window>, is_asleep: bool) -> Status {
        let raft = &node.raft;
        let log = &raft.raft_log;
        let mut peers: Vec<_> = raft
            .prs()
            .iter()
            .map(|(id, progress)| PeerStatus {
                id: *id,
                matched: progress.matched,
                next: progress.next_idx,
                state: if node.store().snapshots.is_under_way(*id) { ProgressState::Snapshot } else { progress.state },
                recent_active: progress.recent_active,
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        Status {
            role: role_number(raft.state),
            leader: raft.leader_id,
            term: raft.term,
            vote: raft.vote,
            commit: log.committed,
            persisted: log.persisted,
            applied: log.applied,
            first_index: node.store().first(),
            last_index: log.last_index(),
            conf: node.store().conf().clone(),
            is_asleep,
            peers,
        }
    }
}
