//! One other node, as long as it is known under one address.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{watch, Notify};

use super::lane::Lane;
use super::LaneKind;
use crate::edge::address::Address;

/// How it stands with a node.
///
/// Invariant: up means that each has lately heard the other on the lane of small messages. Our stream is accepted, a beat
/// on it was answered, and its own stream has brought something, all within the silence that is allowed. So it is down
/// within that time when either direction fails, however it does; and when a stream was replaced, for a moment at least,
/// so that `since` tells whether something may have been lost.
pub struct Standing {
    is_accepted: bool,
    answered_at: Option<Instant>,
    heard_at: Option<Instant>,
    pub refusal: String,
    pub is_up: bool,
    /// When that began, or was noticed.
    pub since: Instant,
    silence_max: Duration,
}

impl Standing {
    fn new(silence_max: Duration) -> Standing {
        Standing {
            is_accepted: false,
            answered_at: None,
            heard_at: None,
            refusal: String::new(),
            is_up: false,
            since: Instant::now(),
            silence_max,
        }
    }

    /// Judges by what is known now.
    pub fn look(&mut self, now: Instant) -> &Standing {
        let is_fresh = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < self.silence_max);
        let is_up = self.is_accepted && is_fresh(self.answered_at) && is_fresh(self.heard_at);
        if is_up != self.is_up {
            self.is_up = is_up;
            self.since = now;
        }
        self
    }

    /// Notes an event, between two looks: a silence that it ends is seen.
    fn note(&mut self, event: impl FnOnce(&mut Standing, Instant)) {
        let now = Instant::now();
        self.look(now);
        event(self, now);
        self.look(now);
    }
}

/// The stream that is read now, of one lane from a node.
#[derive(Default)]
struct Reading {
    number: usize,
    reader: Option<Waker>,
}

pub struct Peer {
    pub node: u64,
    pub address: String,
    pub target: Address,
    pub lanes: [Lane; 2],
    pub standing: Mutex<Standing>,
    reading: [Mutex<Reading>; 2],
    streams: AtomicUsize,
    /// There is a reason to try again now.
    pub nudge: Notify,
    is_gone: watch::Sender<bool>,
}

impl Peer {
    pub fn new(node: u64, address: String, target: Address, lanes: [Lane; 2], silence_max: Duration) -> Peer {
        Peer {
            node,
            address,
            target,
            lanes,
            standing: Mutex::new(Standing::new(silence_max)),
            reading: Default::default(),
            streams: AtomicUsize::new(0),
            nudge: Notify::new(),
            is_gone: watch::Sender::new(false),
        }
    }

    pub fn lane(&self, kind: LaneKind) -> &Lane {
        &self.lanes[kind as usize]
    }

    /// It is not known any more, or under another address: all its streams end.
    pub fn leave(&self) {
        self.is_gone.send_replace(true);
        for reading in &self.reading {
            replace(reading, 0);
        }
    }

    pub async fn gone(&self) {
        let _ = self.is_gone.subscribe().wait_for(|is_gone| *is_gone).await; // the sender lives as long as `self`
    }

    pub fn accepted(&self, kind: LaneKind) {
        if kind == LaneKind::Small {
            self.standing.lock().note(|standing, now| {
                standing.is_accepted = true;
                standing.answered_at = Some(now);
                standing.refusal.clear();
            });
        }
    }

    pub fn answered(&self, kind: LaneKind) {
        if kind == LaneKind::Small {
            self.standing.lock().note(|standing, now| standing.answered_at = Some(now));
        }
    }

    /// The stream to it has ended, or was not accepted, with a reason if it was the other node's.
    pub fn ended(&self, kind: LaneKind, refusal: Option<String>) {
        if kind == LaneKind::Small {
            self.standing.lock().note(|standing, _| {
                standing.is_accepted = false;
                standing.refusal = refusal.unwrap_or_default();
            });
        }
    }

    pub fn heard(&self, kind: LaneKind) {
        if kind == LaneKind::Small {
            self.standing.lock().note(|standing, now| standing.heard_at = Some(now));
        }
    }

    /// Begins to read a stream; the one before it ends. Returns its number.
    pub fn begin(&self, kind: LaneKind) -> usize {
        let number = self.streams.fetch_add(1, Relaxed) + 1;
        replace(&self.reading[kind as usize], number);
        self.lost(kind);
        self.heard(kind);
        number
    }

    /// A stream of that number is read no more.
    pub fn finish(&self, kind: LaneKind, number: usize) {
        if self.reads(kind, number, Waker::noop()) {
            self.lost(kind);
        }
    }

    /// What it had sent may be lost: the link is down, if only for a moment.
    fn lost(&self, kind: LaneKind) {
        if kind == LaneKind::Small {
            self.standing.lock().note(|standing, _| standing.heard_at = None);
        }
    }

    /// Is this still the stream to read? Its reader is woken when it no longer is.
    pub fn reads(&self, kind: LaneKind, number: usize, waker: &Waker) -> bool {
        let mut reading = self.reading[kind as usize].lock();
        let is_current = reading.number == number;
        if is_current && !reading.reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
            reading.reader = Some(waker.clone());
        }
        is_current
    }
}

/// No stream has the number 0.
fn replace(reading: &Mutex<Reading>, number: usize) {
    let before = std::mem::replace(&mut *reading.lock(), Reading { number, reader: None });
    if let Some(reader) = before.reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_up_while_both_directions_have_lately_been_heard() {
        let mut standing = Standing::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        standing.heard_at = Some(at(0));
        assert!(!standing.look(at(0)).is_up);
        standing.is_accepted = true;
        standing.answered_at = Some(at(500));
        assert!(standing.look(at(900)).is_up);
        assert!(!standing.look(at(1000)).is_up);
        standing.heard_at = Some(at(1200));
        assert_eq!((standing.look(at(1200)).is_up, standing.since), (true, at(1200)));
        assert_eq!((standing.look(at(1500)).is_up, standing.since), (false, at(1500)));
    }

    #[test]
    fn a_stream_that_begins_ends_the_one_before() {
        let lanes = [Lane::new(1), Lane::new(1)];
        let peer = Peer::new(1, String::new(), Address::Tcp(String::new()), lanes, Duration::ZERO);
        let (first, bulk) = (peer.begin(LaneKind::Small), peer.begin(LaneKind::Bulk));
        let second = peer.begin(LaneKind::Small);
        let reads = |kind, number| peer.reads(kind, number, Waker::noop());
        assert_eq!((reads(LaneKind::Small, first), reads(LaneKind::Small, second)), (false, true));
        assert!(reads(LaneKind::Bulk, bulk));
        peer.leave();
        assert!(!reads(LaneKind::Small, second) && !reads(LaneKind::Bulk, bulk));
    }
}
