//! Vows: what a leader's lease stands on. See docs/design/0025.
//!
//! A leader that asks for vows marks what it asks its quorum for a read index with. Who takes such a heartbeat of the
//! leader that it follows vows: for `ticks` it grants no vote and does not stand for election. A replica that was just
//! opened may have vowed in a former life, and keeps that vow as if it had been made now.
//!
//! Raft's own refusal of votes is no vow. It is forgotten with a restart, with a snapshot, when the link to the leader
//! is lost, and with any message of a higher term that is not a vote: a rejected pre-vote that comes late, say.
//!
//! Invariants:
//! * an answer that confirms a marked question leaves only after the vow was made;
//! * while it is vowed, a replica does not vote and does not stand, but where a leader has told it to take over: with that
//!   the leader gave up its leases of this term, also when nothing comes of it, as the message may arrive much later;
//! * all questions of one node are marked, or none: Raft takes the answer to a later one for an answer to earlier ones.

use raft::eraftpb::{Message, MessageType};
use raft::CAMPAIGN_TRANSFER;

use super::Group;

const PLAIN: u8 = 0;
const MARKED: u8 = 1;

#[derive(Clone, Copy, Default)]
pub struct Vows {
    /// How long one is kept.
    pub ticks: u64,
    /// Whether this node asks others for them.
    pub asks: bool,
}

impl Vows {
    /// The context of a question as it goes to the others.
    pub fn marked(&self, mut context: Vec<u8>) -> Vec<u8> {
        context.push(if self.asks { MARKED } else { PLAIN });
        context
    }
}

/// The context as it was asked.
pub fn unmarked(mut context: Vec<u8>) -> Vec<u8> {
    context.pop();
    context
}

/// (leader, term) that `message` asks to vow to.
pub fn vow_of(message: &Message) -> Option<(u64, u64)> {
    let is_marked = message.context.last() == Some(&MARKED);
    (message.get_msg_type() == MessageType::MsgHeartbeat && is_marked).then_some((message.from, message.term))
}

impl Group {
    /// If that is whom it follows now.
    pub(super) fn vow(&mut self, leader: u64, term: u64) {
        if self.node.raft.term == term && self.node.raft.leader_id == leader {
            self.vowed_ticks = self.vows.ticks;
        }
    }

    /// It may neither vote nor stand. Who is the only voter has vowed to nobody.
    pub(super) fn is_vowed(&self) -> bool {
        self.vowed_ticks > 0 && !self.is_only_voter()
    }

    fn is_only_voter(&self) -> bool {
        let conf = self.node.store().conf();
        conf.get_voters() == [self.node.raft.id] && conf.get_voters_outgoing().is_empty()
    }

    /// Somebody asks for a vote that may not be given. No answer: one would say what Raft does not know.
    pub(super) fn is_held_by_vow(&self, message: &Message) -> bool {
        let asks_for_vote =
            matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        asks_for_vote && message.context != CAMPAIGN_TRANSFER && self.is_vowed()
    }

    /// (term, commit index) of a leader that may hold a lease: it has committed in its term, and has not begun to hand
    /// leadership over in it. All that anybody has acknowledged is at or below the commit index, as long as nobody else
    /// leads.
    pub fn lease_place(&self) -> Option<(u64, u64)> {
        let raft = &self.node.raft;
        let may = self.leads() && !self.is_asleep && self.handed_over_in != raft.term && raft.commit_to_current_term();
        may.then_some((raft.term, raft.raft_log.committed))
    }
}
