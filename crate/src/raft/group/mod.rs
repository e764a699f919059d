//! One Raft group: a RawNode over its log window, and what must be known to drive it without meeting its traps.
//!
//! Invariants:
//! * nothing that depends on a write leaves before the write is durable: `messages_after` names the number to wait for;
//! * a number from the future never reaches Raft, which would take it as "everything is durable";
//! * a read that was accepted is answered: confirmed, or reported as lost.

mod catching_up;
mod election;
mod membership;
mod news;
mod open_writes;
mod pending_reads;
mod ready;
mod status;
mod timers;
mod vows;

use std::sync::Arc;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, Message, MessageType};
use raft::{Config, RawNode, StateRole};

use super::convert::Hard;
use super::counters::{add, Counters};
use super::window::Window;
use election::ElectionTimeout;
pub use news::News;
use open_writes::OpenWrites;
use pending_reads::PendingReads;
pub use status::Status;
pub use vows::Vows;

/// Applied entries that nobody needs are forgotten once there are this many: dropping them one by one would cost more
/// than keeping some.
const UNNEEDED_COUNT_MAX: u64 = 256;

/// What a group starts from.
pub struct Opening {
    pub replica: u64,
    /// Members as of `applied`.
    pub conf: ConfState,
    pub applied: u64,
    pub hard: Hard,
    pub prev: (u64, u64),
    pub entries: Vec<Entry>,
    /// The first entry that the log has; those before `entries` are read from it when a follower needs them.
    pub log_first: u64,
}

pub struct Group {
    node: RawNode<Window>,
    id: u64,
    counters: Arc<Counters>,
    election_timeout: ElectionTimeout,
    open_writes: OpenWrites,
    /// The hard state in the newest write: commit indexes alone are not worth a sync, they go with the next write.
    hard_written: Hard,
    leadership: (u64, StateRole, u64),
    reads: PendingReads,
    /// Whom leadership is being handed to.
    transfer: Option<u64>,
    /// What `News::all_matched` told last; None while nobody wants to know.
    all_matched_told: Option<u64>,
    /// What is committed as of the last append that went to every other member.
    commit_told: u64,
    is_asleep: bool,
    vows: Vows,
    /// For so many ticks it neither votes nor stands for election.
    vowed_ticks: u64,
    /// In this term leadership was to be handed over.
    handed_over_in: u64,
    /// Ticks since there was something to do, while it leads.
    idle_ticks: u64,
    /// In the host's dirty list.
    pub queued: bool,
}

impl Group {
    pub fn open(
        id: u64,
        seed: u64,
        number_base: u64,
        config: &Config,
        vows: Vows,
        counters: Arc<Counters>,
        opening: Opening,
    ) -> Result<Group, String> {
        let Opening { replica, conf, applied, hard, prev, entries, log_first } = opening;
        if replica == 0 {
            return Err("replica 0 stands for none".into());
        }
        if prev.0 == 0 && !is_empty(&conf) {
            // With a log from index 1 Raft takes a new member for one that has everything.
            return Err("a group with members starts behind index 1 at least".into());
        }
        let last = entries.last().map_or(prev.0, |e| e.index);
        if applied < prev.0 || applied > last {
            return Err(format!("applied index {applied} is outside of the log ({} to {last})", prev.0));
        }
        // The commit index is written lazily: the applied one can be ahead of it, and Raft panics then.
        let hard = (hard.0, hard.1, hard.2.max(applied));
        let window = Window::new(hard, conf, prev, entries, log_first)?;
        let config = Config { id: replica, applied, ..config.clone() };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, window, &logger).map_err(|e| e.to_string())?;
        let leadership = (node.raft.leader_id, node.raft.state, node.raft.term);
        let mut group = Group {
            node,
            id,
            counters,
            election_timeout: ElectionTimeout {
                seed,
                min: config.min_election_tick() as u64,
                max: config.max_election_tick() as u64,
            },
            open_writes: OpenWrites::behind(number_base),
            hard_written: hard,
            leadership,
            reads: PendingReads::default(),
            transfer: None,
            all_matched_told: None,
            commit_told: 0,
            is_asleep: false,
            vows,
            vowed_ticks: vows.ticks, // to whom is forgotten
            handed_over_in: 0,
            idle_ticks: 0,
            queued: false,
        };
        group.fix_election_timeout();
        Ok(group)
    }

    /// The last ready number, as seen outside.
    pub fn last_number(&self) -> u64 {
        self.open_writes.last_number()
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Returns why the message was ignored.
    pub fn step(&mut self, message: Message) -> Result<(), String> {
        if message.to != self.node.raft.id {
            return Err(format!("addressed to replica {}", message.to));
        }
        self.counters.received.count(message.get_msg_type());
        match message.get_msg_type() {
            // What a replica proposes was decided on the state it sees; nobody else can propose it for him.
            MessageType::MsgPropose | MessageType::MsgReadIndex => return Err("a forwarded request".into()),
            MessageType::MsgSnapshot => return Err("a snapshot, which does not come as a message here".into()),
            MessageType::MsgTimeoutNow if !self.may_campaign() => {
                return Err("an election while a write is open".into())
            }
            MessageType::MsgTransferLeader => return Err("a transfer, which is asked for by who leads".into()),
            _ => {}
        }
        if self.wakes(&message) {
            self.wake();
        }
        if self.is_held_by_vow(&message) {
            return Ok(());
        }
        let vow = vows::vow_of(&message);
        self.node.step(message).map_err(|e| e.to_string())?;
        if let Some((leader, term)) = vow {
            self.vow(leader, term);
        }
        Ok(())
    }

    pub fn propose(&mut self, data: Bytes) -> Option<(u64, u64)> {
        self.propose_entry(Entry { data, ..Entry::default() })
    }

    /// Followers refuse: Raft would forward the entry to a leader that never saw the state it was decided on.
    fn propose_entry(&mut self, entry: Entry) -> Option<(u64, u64)> {
        if !self.leads() {
            return None;
        }
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.set_entries(vec![entry].into());
        self.wake();
        self.node.raft.step(message).ok()?;
        add(&self.counters.proposals, 1);
        Some((self.node.raft.term, self.node.raft.raft_log.last_index()))
    }

    /// None: refused, see `membership`.
    pub fn propose_conf_change(&mut self, change: &ConfChangeV2) -> Option<(u64, u64)> {
        let entry = membership::entry_of(&self.node.raft, change)?;
        self.propose_entry(entry)
    }

    pub fn apply_conf_change(&mut self, index: u64, change: &ConfChangeV2) -> Result<ConfState, String> {
        let log = &self.node.raft.raft_log;
        if index <= log.applied || index > log.committed {
            return Err(format!("entry {index} is not committed and to be applied"));
        }
        let conf = self.node.apply_conf_change(change).map_err(|e| e.to_string())?;
        let members: Vec<u64> = self.node.raft.prs().iter().map(|(id, _)| *id).collect();
        let window = self.node.mut_store();
        window.set_conf(conf.clone());
        window.snapshots.retain(|replica| members.contains(&replica));
        if !self.node.raft.prs().conf().voters().contains(self.node.raft.id) {
            self.step_down();
        }
        Ok(conf)
    }

    /// A leader that has no vote any more. One that is no member has no place among those whose progress it counts either,
    /// and Raft panics when its own log is durable later. The others hear that its removal is committed, and elect one of
    /// theirs.
    fn step_down(&mut self) {
        if self.leads() {
            self.tell_commit();
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, 0);
            self.fix_election_timeout();
        }
    }

    /// False: not now. See `PendingReads`.
    pub fn read_index(&mut self, context: Vec<u8>) -> bool {
        // A leader that has committed nothing in its term yet would drop the read without a word.
        if !self.leads() || !self.node.raft.commit_to_current_term() || self.reads_are_lost() {
            return false;
        }
        if !self.reads.ask(context.clone(), self.node.raft.term) {
            return false;
        }
        self.wake();
        self.node.read_index(self.vows.marked(context));
        true
    }

    /// `take_ready` has to report them before others are asked.
    fn reads_are_lost(&self) -> bool {
        self.reads.are_lost(self.leads().then_some(self.node.raft.term))
    }

    pub fn transfer_leader(&mut self, to: u64) -> bool {
        if !self.leads() || to == self.node.raft.id {
            return false;
        }
        self.wake();
        self.handed_over_in = self.node.raft.term;
        self.node.transfer_leader(to);
        self.transfer = self.node.raft.lead_transferee;
        self.transfer == Some(to)
    }

    /// How a transfer ended, once that is known: Raft gives up after an election timeout.
    fn transfer_ended(&self) -> Option<(u64, bool)> {
        let to = self.transfer?;
        let raft = &self.node.raft;
        let is_under_way = if self.leads() { raft.lead_transferee == Some(to) } else { raft.leader_id == 0 };
        (!is_under_way).then_some((to, raft.leader_id == to))
    }

    pub fn persisted(&mut self, number: u64) -> Result<(), String> {
        let durable = self.open_writes.acknowledge(number).map_err(|e| format!("group {}: {e}", self.id))?;
        if let Some(number) = durable {
            self.node.on_persist_ready(number);
        }
        Ok(())
    }

    pub fn applied(&mut self, index: u64) -> Result<(), String> {
        let log = &self.node.raft.raft_log;
        let (applied, limit) = (log.applied, log.committed.min(log.persisted));
        if index < applied || index > limit {
            return Err(format!("group {}: {index} cannot be applied (from {applied} to {limit})", self.id));
        }
        let last = log.last_index();
        self.node.advance_apply_to(index);
        if self.leads() && self.node.raft.raft_log.last_index() > last {
            // Raft has left a joint state by itself, and would tell nobody until the next message.
            self.node.raft.bcast_append();
        }
        self.forget_unneeded();
        Ok(())
    }

    /// Keeps the window small between two calls of `compact`: what is applied here and known to be on every member is
    /// not read again. Only a leader knows that of others; who follows keeps everything, for when he leads.
    fn forget_unneeded(&mut self) {
        let raft = &self.node.raft;
        let others = || raft.prs().iter().filter(|(id, _)| **id != raft.id);
        if !self.leads() && others().next().is_some() {
            return;
        }
        let slowest = others().map(|(_, progress)| progress.matched).min();
        let index = slowest.unwrap_or(u64::MAX).min(raft.raft_log.applied);
        if index >= self.node.store().first() + UNNEEDED_COUNT_MAX {
            // It is in the window: above its start, and applied.
            let _ = self.node.mut_store().compact(index);
        }
    }

    pub fn compact(&mut self, index: u64) -> Result<(), String> {
        let applied = self.node.raft.raft_log.applied;
        if index > applied {
            return Err(format!("group {}: {index} is not applied, only {applied}", self.id));
        }
        self.node.mut_store().compact(index).map_err(|e| e.to_string())
    }

    /// The log on disk has been cut up to `index`.
    pub fn cut(&mut self, index: u64) -> Result<(), String> {
        self.compact(index)?;
        self.node.mut_store().note_cut(index);
        Ok(())
    }

    /// What was read of the log for `News::fetches`, from `low` on behind an entry of `prev_term`; nothing when it could
    /// not be read, and then Raft asks again.
    pub fn fetched(&mut self, low: u64, prev_term: u64, entries: Vec<Entry>) -> Result<(), String> {
        if entries.first().is_some_and(|first| first.index != low) {
            return Err(format!("group {}: entries from {low} on do not begin there", self.id));
        }
        let contexts = self.node.mut_store().lend(low, prev_term, entries);
        for context in contexts {
            self.node.on_entries_fetched(context);
        }
        self.node.mut_store().take_back();
        Ok(())
    }

    /// From now on followers hear of a commit with the next append or heartbeat, or by `tell_commit`.
    pub fn defer_commits(&mut self) {
        self.node.skip_bcast_commit(true);
    }

    /// A leader's followers have not been told of all that is committed.
    pub fn has_untold_commit(&self) -> bool {
        self.leads() && self.node.raft.raft_log.committed > self.commit_told
    }

    pub fn tell_commit(&mut self) {
        if self.has_untold_commit() {
            self.commit_told = self.node.raft.raft_log.committed; // whoever misses it hears of it by the next heartbeat
            self.node.raft.bcast_append();
        }
    }

    /// Notes what appends have said.
    fn note_told(&mut self, messages: &[Message]) {
        let raft = &self.node.raft;
        let committed = raft.raft_log.committed;
        let tells =
            |message: &&Message| message.get_msg_type() == MessageType::MsgAppend && message.commit >= committed;
        if committed > self.commit_told && messages.iter().filter(tells).count() + 1 >= raft.prs().iter().count() {
            self.commit_told = committed;
        }
    }

    pub fn status(&self) -> Status {
        Status::of(&self.node, self.is_asleep)
    }
}

/// A message as a peer sent it.
pub fn decode_message(bytes: &[u8]) -> Result<Message, String> {
    let mut message = Message::default();
    message.merge_from_bytes(bytes).map_err(|e| e.to_string())?;
    Ok(message)
}

/// No members: of a replica that has nothing and waits for a snapshot.
fn is_empty(conf: &ConfState) -> bool {
    [conf.get_voters(), conf.get_learners(), conf.get_voters_outgoing()].iter().all(|ids| ids.is_empty())
}
