//! What a relay keeps between two looks: who lives where, what waits for the disk, what Python is yet to be told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Entry, Message};

use super::outbox::{parts, put_part, Outbox, RAFT_KIND};
use crate::raft::{decode_message, News};

/// What a follower has only to apply waits for more of it, as several entries of a vBucket cost little more than one, and
/// so that it need not have a turn of its own: at least for so long, ...
pub const LATE: Duration = Duration::from_millis(5);
/// ... for as long as so many of the last turns took, as whoever is busy answers no sooner to writes, ...
const LATE_TURNS: u32 = 8;
/// ... and for so long and so many bytes at most.
const LATE_MAX: Duration = Duration::from_millis(200);
const LATE_BYTES_MAX: usize = 512 << 10;
/// How many turns the average looks back at, more or less.
const RECENT_TURNS: u32 = 8;

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
    /// By group: entries that a follower has only to apply, behind all that is in `news`. Since when, and how many bytes.
    late: BTreeMap<u64, Vec<Entry>>,
    pub late_since: Option<Duration>,
    late_bytes: usize,
    /// When Python was told last, in a turn that is not over yet, and what turns take from there on, on average.
    told_at: Option<Duration>,
    turn_takes: Duration,
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
            self.note(News { group, messages, ..News::default() }, now);
        }
    }

    /// Keeps what Python is told, if there is any.
    pub fn note(&mut self, mut news: News, now: Duration) {
        if news.may_wait() {
            if !news.committed.is_empty() {
                self.late_since.get_or_insert(now);
                self.late_bytes += news.committed.iter().map(|entry| entry.data.len()).sum::<usize>();
                self.late.entry(news.group).or_default().append(&mut news.committed);
            }
            return;
        }
        if let Some(mut earlier) = self.take_late(news.group) {
            earlier.append(&mut news.committed);
            news.committed = earlier;
        }
        self.is_urgent = true;
        self.news.push(news);
    }

    fn take_late(&mut self, group: u64) -> Option<Vec<Entry>> {
        let entries = self.late.remove(&group)?;
        self.late_bytes -= entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        if self.late.is_empty() {
            self.late_since = None;
        }
        Some(entries)
    }

    /// A turn is over, or the next one has begun.
    pub fn note_turn(&mut self, now: Duration) {
        if let Some(told_at) = self.told_at.take() {
            self.turn_takes -= self.turn_takes / RECENT_TURNS;
            self.turn_takes += now.saturating_sub(told_at) / RECENT_TURNS;
        }
    }

    /// When Python has to take a turn for what followers have only to apply, if there is any.
    pub fn late_due(&self, is_patient: bool) -> Option<Duration> {
        let is_much = !is_patient || self.late_bytes > LATE_BYTES_MAX;
        let patience = if is_much { Duration::ZERO } else { (self.turn_takes * LATE_TURNS).clamp(LATE, LATE_MAX) };
        self.late_since.map(|since| since + patience)
    }

    /// Whether Python has to take a turn. `is_patient`: nobody waits for what followers have yet to apply.
    pub fn asks_for_turn(&self, now: Duration, is_patient: bool) -> bool {
        self.is_urgent || !self.messages.is_empty() || self.late_due(is_patient).is_some_and(|due| now >= due)
    }

    /// For Python, in a turn. What followers have only to apply stays until it is due.
    pub fn take_news(&mut self, now: Duration, is_patient: bool) -> Vec<News> {
        self.is_urgent = false;
        self.told_at = Some(now);
        let mut news = std::mem::take(&mut self.news);
        if self.late_due(is_patient).is_some_and(|due| now >= due) {
            (self.late_since, self.late_bytes) = (None, 0);
            let late = std::mem::take(&mut self.late).into_iter();
            news.extend(late.map(|(group, committed)| News { group, committed, ..News::default() }));
        }
        news
    }

    /// A group was closed.
    pub fn forget(&mut self, group: u64) {
        self.held.remove(&group);
        self.take_late(group);
        self.news.retain(|news| news.group != group);
    }
}
