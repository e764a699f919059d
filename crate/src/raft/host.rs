//! All groups of a node, and which of them have work.
//!
//! Invariant: a group that would have something to say is in the dirty list, because every way into a group goes
//! through `with`; so a turn costs what the groups with work cost. Groups are visited in order of id, never in the
//! order of a hash: the same calls give the same messages.

use std::collections::{BTreeMap, HashMap};

use raft::Config;

use super::group::{Group, News, Opening};
use super::writes::GroupWrite;

pub struct Host {
    seed: u64,
    config: Config,
    groups: BTreeMap<u64, Group>,
    /// Groups with work for `ready`.
    dirty: Vec<u64>,
    /// The last ready number of groups that were closed: a reopened group goes on from there, so that late
    /// acknowledgements of its former life are recognised as old.
    numbers: HashMap<u64, u64>,
}

impl Host {
    pub fn new(seed: u64, election_ticks: usize, heartbeat_ticks: usize) -> raft::Result<Self> {
        let config = Config {
            election_tick: election_ticks,
            heartbeat_tick: heartbeat_ticks,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            // One message carries up to 1 MiB (an entry is 1 MiB or one command, INVARIANT 20), 256 are under way.
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            // Proposals are refused beyond this much uncommitted data: a leader without a quorum must not fill memory.
            max_uncommitted_size: 64 << 20,
            max_committed_size_per_ready: 16 << 20,
            ..Config::new(1)
        };
        config.validate()?;
        Ok(Host { seed, config, groups: BTreeMap::new(), dirty: vec![], numbers: HashMap::new() })
    }

    pub fn open(&mut self, id: u64, opening: Opening) -> Result<(), String> {
        if self.groups.contains_key(&id) {
            return Err(format!("group {id} is open"));
        }
        let number = self.numbers.get(&id).copied().unwrap_or(0);
        let group =
            Group::open(id, self.seed, number, &self.config, opening).map_err(|e| format!("group {id}: {e}"))?;
        self.numbers.remove(&id);
        self.groups.insert(id, group);
        // Committed entries that are not applied come out of the next ready.
        self.with(id, |_| ());
        Ok(())
    }

    pub fn close(&mut self, id: u64) -> bool {
        let Some(group) = self.groups.remove(&id) else { return false };
        self.numbers.insert(id, group.last_number());
        true
    }

    pub fn get(&self, id: u64) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// Every way into a group. None: there is no such group.
    pub fn with<R>(&mut self, id: u64, act: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = self.groups.get_mut(&id)?;
        let result = act(group);
        group.fix_election_timeout();
        if !group.queued && group.has_work() {
            group.queued = true;
            self.dirty.push(id);
        }
        Some(result)
    }

    pub fn tick(&mut self, count: u64) {
        let mut due = vec![];
        for _ in 0..count {
            for (id, group) in self.groups.iter_mut() {
                if group.acts_on_tick() {
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
