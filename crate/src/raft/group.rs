//! One Raft group: a RawNode over its log window, and what must be known to drive it without meeting its traps.
//!
//! Invariants:
//! * nothing that depends on a write leaves before the write is durable: `messages_after` names the number to wait for;
//! * no election while a write is open: Raft panics when it wins before its own log is durable;
//! * a number from the future never reaches Raft, which would take it as "everything is durable";
//! * a read that was accepted is answered: confirmed, or reported as lost.

use std::collections::VecDeque;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType};
use raft::{Changer, Config, ProgressState, RawNode, StateRole};

use super::convert::Hard;
use super::window::Window;
use super::writes::GroupWrite;

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

/// What one turn of a group produced, besides writes.
pub struct News {
    pub group: u64,
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
}

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
    pub peers: Vec<PeerStatus>,
}

/// A write handed out and not acknowledged. Both numbers are Raft's own.
struct OpenWrite {
    number: u64,
    /// The last ready behind it that wrote nothing: durable together with this one.
    covers: u64,
}

pub struct Group {
    node: RawNode<Window>,
    id: u64,
    seed: u64,
    /// [min, max) of the election timeout, in ticks.
    election_ticks: (u64, u64),
    /// Outside, ready numbers start here instead of at 0.
    number_base: u64,
    number_last: u64,
    open_writes: VecDeque<OpenWrite>,
    /// The hard state in the newest write: commit indexes alone are not worth a sync, they go with the next write.
    hard_written: Hard,
    leadership: (u64, StateRole, u64),
    /// Reads that wait for a quorum, all asked in `read_term`.
    reads: Vec<Vec<u8>>,
    read_term: u64,
    /// In the host's dirty list.
    pub queued: bool,
}

impl Group {
    pub fn open(id: u64, seed: u64, number_base: u64, config: &Config, opening: Opening) -> Result<Group, String> {
        let Opening { replica, conf, applied, hard, prev, entries, log_first } = opening;
        if replica == 0 {
            return Err("replica 0 stands for none".into());
        }
        if prev.0 == 0 {
            // With a log from index 1 Raft takes a new member for one that has everything.
            return Err("a group starts behind index 1 at least".into());
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
            seed,
            election_ticks: (config.min_election_tick() as u64, config.max_election_tick() as u64),
            number_base,
            number_last: 0,
            open_writes: VecDeque::new(),
            hard_written: hard,
            leadership,
            reads: vec![],
            read_term: 0,
            queued: false,
        };
        group.fix_election_timeout();
        Ok(group)
    }

    /// Raft draws its election timeout from a global generator whenever it resets, and a draw cannot be observed. So
    /// it is overwritten after every call with a pure function of (seed, group, replica, term): runs can be repeated,
    /// and every term still has a fresh draw, which is what ends split votes.
    pub fn fix_election_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let mut x = self.seed;
        for value in [self.id, raft.id, raft.term] {
            // One round of splitmix64 (Steele, Lea, Flood 2014).
            x = (x ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
        }
        let (min, max) = self.election_ticks;
        raft.set_randomized_election_timeout((min + x % (max - min)) as usize);
    }

    /// The last ready number, as seen outside.
    pub fn last_number(&self) -> u64 {
        self.number_base + self.number_last
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// An election can wait for the disk; Raft cannot win one before its log is there.
    fn may_campaign(&self) -> bool {
        !self.leads() && self.open_writes.is_empty()
    }

    pub fn campaign(&mut self) -> bool {
        self.may_campaign() && self.node.campaign().is_ok()
    }

    /// Whether the next tick does more than count: a heartbeat or an election.
    pub fn acts_on_tick(&self) -> bool {
        let raft = &self.node.raft;
        let elapsed = raft.election_elapsed + 1;
        if self.leads() {
            raft.heartbeat_elapsed() + 1 >= raft.heartbeat_timeout() || elapsed >= raft.election_timeout()
        } else {
            elapsed >= raft.randomized_election_timeout()
        }
    }

    /// A tick that only counts, and so changes nothing that `Host::with` would have to see.
    pub fn count_tick(&mut self) {
        self.node.tick();
    }

    /// A tick that may act. An election that cannot be held now stays due.
    pub fn tick(&mut self) {
        if self.leads() || self.may_campaign() {
            self.node.tick();
        }
    }

    /// Returns why the message was ignored.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut message = Message::default();
        message.merge_from_bytes(bytes).map_err(|e| e.to_string())?;
        if message.to != self.node.raft.id {
            return Err(format!("addressed to replica {}", message.to));
        }
        match message.get_msg_type() {
            // What a replica proposes was decided on the state it sees; nobody else can propose it for him.
            MessageType::MsgPropose | MessageType::MsgReadIndex => return Err("a forwarded request".into()),
            MessageType::MsgSnapshot => return Err("a snapshot, and nothing here can install one".into()),
            MessageType::MsgTimeoutNow if !self.may_campaign() => {
                return Err("an election while a write is open".into())
            }
            _ => {}
        }
        self.node.step(message).map_err(|e| e.to_string())
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
        self.node.raft.step(message).ok()?;
        Some((self.node.raft.term, self.node.raft.raft_log.last_index()))
    }

    /// Raft would commit a change it refuses as an empty normal entry, and an impossible one as an entry that fails to
    /// apply everywhere. Both are refused here; so is removing or demoting the leader itself, who would go on leading
    /// a group that he is not part of: transfer first.
    pub fn propose_conf_change(&mut self, change: &ConfChangeV2) -> Option<(u64, u64)> {
        let raft = &self.node.raft;
        let touches_self = |c: &&raft::eraftpb::ConfChangeSingle| {
            c.node_id == raft.id && c.get_change_type() != ConfChangeType::AddNode
        };
        if raft.has_pending_conf() || change.get_changes().iter().any(|c| touches_self(&c)) {
            return None;
        }
        let mut changer = Changer::new(raft.prs());
        let possible = match change.enter_joint() {
            _ if change.leave_joint() => changer.leave_joint(),
            Some(auto_leave) => changer.enter_joint(auto_leave, change.get_changes()),
            None => changer.simple(change.get_changes()),
        };
        possible.ok()?;
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = change.write_to_bytes().ok()?.into();
        self.propose_entry(entry)
    }

    pub fn apply_conf_change(&mut self, index: u64, change: &ConfChangeV2) -> Result<ConfState, String> {
        let log = &self.node.raft.raft_log;
        if index <= log.applied || index > log.committed {
            return Err(format!("entry {index} is not committed and to be applied"));
        }
        let conf = self.node.apply_conf_change(change).map_err(|e| e.to_string())?;
        self.node.mut_store().set_conf(conf.clone());
        Ok(conf)
    }

    /// Raft drops a read without a word when the leader is new, and all of them when leadership changes. The first
    /// kind is refused here, the second reported as lost.
    pub fn read_index(&mut self, context: Vec<u8>) -> bool {
        if !self.leads() || !self.node.raft.commit_to_current_term() || self.reads.contains(&context) {
            return false;
        }
        if self.reads_are_lost() {
            return false; // `ready` has to report the old ones first
        }
        self.read_term = self.node.raft.term;
        self.reads.push(context.clone());
        self.node.read_index(context);
        true
    }

    fn reads_are_lost(&self) -> bool {
        let can_be_answered = self.leads() && self.node.raft.term == self.read_term;
        !self.reads.is_empty() && !can_be_answered
    }

    pub fn transfer_leader(&mut self, to: u64) -> bool {
        if !self.leads() || to == self.node.raft.id {
            return false;
        }
        self.node.transfer_leader(to);
        self.node.raft.lead_transferee == Some(to)
    }

    pub fn persisted(&mut self, number: u64) -> Result<(), String> {
        if number <= self.number_base {
            return Ok(()); // of a former life of this group
        }
        let number = number - self.number_base;
        if number > self.number_last {
            return Err(format!("group {}: ready {number} has not been handed out", self.id));
        }
        let mut durable = None;
        while self.open_writes.front().is_some_and(|write| write.number <= number) {
            durable = self.open_writes.pop_front().map(|write| write.covers);
        }
        if let Some(covers) = durable {
            self.node.on_persist_ready(covers);
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

    /// Whether `take_ready` has something to return.
    pub fn has_work(&self) -> bool {
        let has_wants = self.node.store().has_wants();
        self.node.has_ready() || has_wants || self.reads_are_lost() || self.leadership_now() != self.leadership
    }

    fn leadership_now(&self) -> (u64, StateRole, u64) {
        let raft = &self.node.raft;
        (raft.leader_id, raft.state, raft.term)
    }

    pub fn take_ready(&mut self) -> Option<(Option<GroupWrite>, News)> {
        if !self.has_work() {
            return None;
        }
        let mut news = News {
            group: self.id,
            committed: vec![],
            messages: vec![],
            messages_after: vec![],
            reads: vec![],
            reads_lost: vec![],
            leadership: None,
            number: 0,
            fetches: self.node.mut_store().take_wants(),
        };
        let write = if self.node.has_ready() { self.collect(&mut news) } else { None };
        self.reads.retain(|context| !news.reads.iter().any(|(confirmed, _)| confirmed == context));
        if self.reads_are_lost() {
            news.reads_lost = std::mem::take(&mut self.reads);
        }
        let leadership = self.leadership_now();
        if leadership != self.leadership {
            self.leadership = leadership;
            news.leadership = Some(leadership);
        }
        Some((write, news))
    }

    fn collect(&mut self, news: &mut News) -> Option<GroupWrite> {
        let mut ready = self.node.ready();
        let number = ready.number();
        self.number_last = number;
        news.reads = ready.take_read_states().into_iter().map(|read| (read.request_ctx, read.index)).collect();
        news.committed = ready.take_committed_entries();
        let entries = ready.take_entries();
        let must_sync = ready.must_sync();
        let now = ready.take_messages();
        let after = ready.take_persisted_messages();

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
            self.open_writes.push_back(OpenWrite { number, covers: number });
            let number = self.number_base + number;
            write = Some(GroupWrite { group: self.id, number, hard: changed.then_some(hard), entries });
        } else if let Some(open) = self.open_writes.back_mut() {
            open.covers = number;
        } else {
            // Nothing to write and nothing open. Only after advance_append_async, which looks for this ready's record.
            self.node.on_persist_ready(number);
        }

        match self.open_writes.back() {
            Some(open) => {
                news.number = self.number_base + open.number;
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

    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let mut peers: Vec<_> = raft
            .prs()
            .iter()
            .map(|(id, progress)| PeerStatus {
                id: *id,
                matched: progress.matched,
                next: progress.next_idx,
                state: progress.state,
                recent_active: progress.recent_active,
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        Status {
            role: super::convert::role_number(raft.state),
            leader: raft.leader_id,
            term: raft.term,
            vote: raft.vote,
            commit: log.committed,
            persisted: log.persisted,
            applied: log.applied,
            first_index: self.node.store().first(),
            last_index: log.last_index(),
            conf: self.node.store().conf().clone(),
            peers,
        }
    }
}

/// Encoded, by ascending peer, in the order of sending per peer.
fn packed(mut messages: Vec<Message>) -> Vec<(u64, Vec<u8>)> {
    messages.sort_by_key(|message| message.to);
    let encode = |message: &Message| (message.to, message.write_to_bytes().expect("encoding into memory"));
    messages.iter().map(encode).collect()
}
