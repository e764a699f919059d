//! What a relay keeps between two looks: who lives where, what waits for the disk, what Python is yet to be told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::Message;

use super::outbox::{parts, put_part, Outbox, RAFT_KIND};
use crate::raft::{decode_message, News};

/// How many bytes of entries wait at most that a follower has only to apply.
const LATE_BYTES_MAX: usize = 256 << 10;

type Messages = Vec<(u64, Vec<u8>)>;

#[derive(Default)]
pub struct State {
    /// The node of each replica that was heard, by (group, replica). Replicas never move.
    homes: HashMap<(u64, u64), u64>,
    /// By group: (number of the write, messages that wait for it).
    held: HashMap<u64, VecDeque<(u64, Messages)>>,
    /// For Python.
    news: Vec<News>,
    pub messages: Vec<(u64, Bytes)>,
    pub is_urgent: bool,
    pub late_since: Option<Duration>,
    late_bytes: usize,
    /// Groups whose followers have to be told of a commit, and since when.
    pub untold: BTreeSet<u64>,
    pub untold_since: Option<Duration>,
    pub broken: Option<String>,
}

impl State {
    /// Messages of Raft in it, and what else is; None: Python has to see it whole.
    #[allow(clippy::type_complexity)]
    pub fn sort(&mut self, node: u64, message: &Bytes) -> Option<(Vec<(u64, Message)>, Option<Bytes>)> {
        let found = parts(message)?;
        let (mut raft, mut rest, mut is_known) = (vec![], vec![], true);
        for (kind, vbucket, body) in found {
            if kind != RAFT_KIND {
                put_part(&mut rest, kind, vbucket, body);
                continue;
            }
            let one = decode_message(body).ok()?;
            let home = self.homes.entry((u64::from(vbucket), one.from)).or_default();
            is_known &= *home == node;
            *home = node;
            raft.push((u64::from(vbucket), one));
        }
        is_known.then(|| (raft, (!rest.is_empty()).then(|| Bytes::from(rest))))
    }

    /// Sends what has a known home; returns the rest.
    pub fn route(&self, group: u64, messages: Messages, out: &mut Outbox) -> Messages {
        let mut rest = vec![];
        for (replica, message) in messages {
            match self.homes.get(&(group, replica)) {
                Some(node) => out.put(*node, group, &message),
                None => rest.push((replica, message)),
            }
        }
        rest
    }

    /// These wait for the write of this number.
    pub fn hold(&mut self, group: u64, number: u64, messages: Messages) {
        self.held.entry(group).or_default().push_back((number, messages));
    }

    /// What waited for a write up to this number may leave.
    pub fn release(&mut self, group: u64, number: u64, now: Duration, out: &mut Outbox) {
        let Some(held) = self.held.get_mut(&group) else { return };
        let mut free = vec![];
        while held.front().is_some_and(|(waits_for, _)| *waits_for <= number) {
            free.extend(held.pop_front().map(|(_, messages)| messages).unwrap_or_default());
        }
        if held.is_empty() {
            self.held.remove(&group);
        }
        let messages = self.route(group, free, out);
        if !messages.is_empty() {
            self.note(News { group, messages, ..News::default() }, now, false);
        }
    }

    /// Keeps what Python is told, if there is any.
    pub fn note(&mut self, news: News, now: Duration, is_patient: bool) {
        let has_more = news.has_more_than_entries();
        if !has_more && news.committed.is_empty() {
            return;
        }
        self.late_bytes += news.committed.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.is_urgent |= has_more || news.leads || !is_patient || self.late_bytes > LATE_BYTES_MAX;
        self.late_since.get_or_insert(now);
        self.news.push(news);
    }

    /// For Python, which is up to date then.
    pub fn take_news(&mut self) -> Vec<News> {
        (self.is_urgent, self.late_since, self.late_bytes) = (false, None, 0);
        std::mem::take(&mut self.news)
    }

    /// A group was closed.
    pub fn forget(&mut self, group: u64) {
        self.held.remove(&group);
        self.news.retain(|news| news.group != group);
    }
}
