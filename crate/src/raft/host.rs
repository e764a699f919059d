//! All groups of a node, and which of them have work.
//!
//! Invariant: a group that would have something to say is in the dirty list, because every way into a group goes
//! through `with`; so a turn costs what the groups with work cost. Groups are visited in order of id, never in the
//! order of a hash: the same calls give the same messages. Time passes for those that are awake only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use raft::Config;

use super::counters::Counters;
use super::group::{Group, News, Opening, Vows};
use super::writes::GroupWrite;

pub struct Host {
    seed: u64,
    config: Config,
    heartbeat_ticks: u64,
    vows: Vows,
    /// Ticks that have passed.
    now: u64,
    groups: BTreeMap<u64, Group>,
    awake: BTreeSet<u64>,
    /// Groups with work for `ready`.
    dirty: Vec<u64>,
    /// The last ready number of groups that were closed: a reopened group goes on from there, so that late
    /// acknowledgements of its former life are recognised as old.
    numbers: HashMap<u64, u64>,
    /// See `Group::defer_commits`.
    defers_commits: bool,
    pub counters: Arc<Counters>,
}

impl Host {
    /// The election timeout is drawn from (election_ticks, election_ticks_max].
    pub fn new(
        seed: u64,
        election_ticks: usize,
        election_ticks_max: usize,
        heartbeat_ticks: usize,
        vows: Vows,
    ) -> raft::Result<Self> {
        if heartbeat_ticks == 0 || heartbeat_ticks >= election_ticks {
            let reason = format!("heartbeats every {heartbeat_ticks} ticks, elections after {election_ticks}");
            return Err(raft::Error::ConfigInvalid(reason));
        }
        let config = Config {
            election_tick: election_ticks,
            // A follower refuses to vote until `election_ticks` have passed without a leader. Its clock and that of who
            // asks first are up to a tick apart.
            min_election_tick: election_ticks + 1,
            max_election_tick: election_ticks_max + 1,
            // Every tick that Raft sees of a leader is a beat: see `tick`.
            heartbeat_tick: 1,
            check_quorum: true,
            pre_vote: true,
            // raft 0.7.0 would append entries to an empty MsgAppend that waits to leave, whatever index that one stands
            // for: a follower then acknowledges more than it has. A turn proposes one entry, so little is lost.
            batch_append: false,
            // One message carries up to 1 MiB (an entry is 1 MiB or one command, INVARIANTS 20), 12 are under way: the
            // queue to a peer, 16 MiB, holds them all, with room for heartbeats. What it drops Raft must probe for.
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 12,
            // Proposals are refused beyond this much uncommitted data: a leader without a quorum must not fill memory.
            max_uncommitted_size: 64 << 20,
            max_committed_size_per_ready: 16 << 20,
            ..Config::new(1)
        };
        config.validate()?;
        Ok(Host {
            seed,
            config,
            heartbeat_ticks: heartbeat_ticks as u64,
            vows,
            now: 0,
            groups: BTreeMap::new(),
            awake: BTreeSet::new(),
            dirty: vec![],
            numbers: HashMap::new(),
            defers_commits: false,
            counters: Arc::default(),
        })
    }

    pub fn open(&mut self, id: u64, opening: Opening) -> Result<(), String> {
        if self.groups.contains_key(&id) {
            return Err(format!("group {id} is open"));
        }
        let number = self.numbers.get(&id).copied().unwrap_or(0);
        let mut group = Group::open(id, self.seed, number, &self.config, self.vows, self.counters.clone(), opening)
            .map_err(|e| format!("group {id}: {e}"))?;
        self.numbers.remove(&id);
        if self.defers_commits {
            group.defer_commits();
        }
        self.groups.insert(id, group);
        self.awake.insert(id);
        // Committed entries that are not applied come out of the next ready.
        self.with(id, |_| ());
        Ok(())
    }

    pub fn close(&mut self, id: u64) -> bool {
        let Some(group) = self.groups.remove(&id) else { return false };
        self.awake.remove(&id);
        self.numbers.insert(id, group.last_number());
        true
    }

    pub fn get(&self, id: u64) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// Every way into a group. None: there is no such group.
    pub fn with<R>(&mut self, id: u64, act: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = self.groups.get_mut(&id)?;
        let was_asleep = group.is_asleep();
        let result = act(group);
        group.fix_election_timeout();
        if !group.queued && group.has_work() {
            group.queued = true;
            self.dirty.push(id);
        }
        match (was_asleep, group.is_asleep()) {
            (false, true) => self.awake.remove(&id),
            (true, false) => self.awake.insert(id),
            _ => false,
        };
        Some(result)
    }

    pub fn tick(&mut self, count: u64) {
        let mut due = vec![];
        for _ in 0..count {
            self.now += 1;
            let is_beat = self.now.is_multiple_of(self.heartbeat_ticks);
            for id in &self.awake {
                let Some(group) = self.groups.get_mut(id) else { continue };
                if group.acts_on_tick(is_beat) {
                    due.push(*id);
                } else {
                    group.count_tick();
                }
            }
            for id in due.drain(..) {
                self.with(id, |group| group.tick());
            }
        }
    }

    /// (group, term, last index) of leaders that have had nothing to do for so many ticks and may sleep.
    pub fn drowsy(&self, ticks: u64) -> Vec<(u64, u64, u64)> {
        let place = |id: &u64| self.groups.get(id)?.drowsy(ticks).map(|(term, index)| (*id, term, index));
        self.awake.iter().filter_map(place).collect()
    }

    /// (groups, those of them that are awake)
    pub fn counts(&self) -> (usize, usize) {
        (self.groups.len(), self.awake.len())
    }

    pub fn defer_commits(&mut self) {
        self.defers_commits = true;
        self.groups.values_mut().for_each(Group::defer_commits);
    }

    /// `ready` has something to return.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub fn ready(&mut self) -> (Vec<GroupWrite>, Vec<News>) {
        let mut ids = std::mem::take(&mut self.dirty);
        ids.sort_unstable();
        ids.dedup();
        let (mut writes, mut news) = (vec![], vec![]);
        for id in ids {
            let taken = self.with(id, |group| {
                group.queued = false;
                group.take_ready()
            });
            if let Some((write, one)) = taken.flatten() {
                writes.extend(write);
                news.push(one);
            }
        }
        (writes, news)
    }
}
