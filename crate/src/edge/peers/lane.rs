//! Messages that wait to leave, of one lane to one node.
//!
//! Invariant: the bytes that wait stay below a bound, and what leaves leaves in order. What waited longer than `age_max`
//! for a stream is dropped when one is there: who sent it has long given it up, and says what holds now.

use std::collections::VecDeque;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::edge::framing::HEADER_BYTES;

/// What one entry of the queue costs beside its bytes.
const ENTRY_BYTES: usize = 64;

struct Waiting {
    since: Instant,
    /// Whole messages, framed.
    chunk: Bytes,
}

impl Waiting {
    /// Cut out of it, as its reader will.
    fn messages(&self) -> u64 {
        let (mut at, mut count) = (0, 0);
        while let Some(length) = self.chunk.get(at + 1..at + HEADER_BYTES).and_then(|bytes| bytes.try_into().ok()) {
            at += HEADER_BYTES + u32::from_be_bytes(length) as usize;
            count += 1;
        }
        count
    }

    fn cost(&self) -> usize {
        self.chunk.len() + ENTRY_BYTES
    }
}

#[derive(Default)]
struct Queue {
    /// The other node has accepted the stream.
    is_open: bool,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Messages that will never leave, ever.
    dropped: u64,
    /// The stream that waits for something to send, or for the right to.
    taker: Option<Waker>,
}

impl Queue {
    fn push(&mut self, chunk: Bytes) {
        let entry = Waiting { since: Instant::now(), chunk };
        self.bytes += entry.cost();
        self.waiting.push_back(entry);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let entry = self.waiting.pop_front()?;
        self.bytes -= entry.cost();
        Some(entry)
    }

    fn drop_oldest(&mut self) {
        self.dropped += self.pop().map_or(0, |entry| entry.messages());
    }
}

pub struct Lane {
    queue: Mutex<Queue>,
    bytes_max: usize,
}

impl Lane {
    pub fn new(bytes_max: usize) -> Lane {
        Lane { queue: Mutex::default(), bytes_max }
    }

    /// Adds what has to leave; beyond the bound the oldest goes. Wake who is returned, once all is said.
    pub fn put(&self, chunks: Vec<Bytes>) -> Option<Waker> {
        let mut queue = self.queue.lock();
        chunks.into_iter().for_each(|chunk| queue.push(chunk));
        while queue.bytes > self.bytes_max && queue.waiting.len() > 1 {
            queue.drop_oldest();
        }
        queue.taker.take()
    }

    /// The same, unless something waits and there is no room beside it. None: nothing was taken.
    pub fn try_put(&self, chunk: Bytes) -> Option<Option<Waker>> {
        let mut queue = self.queue.lock();
        let is_full = queue.bytes + chunk.len() + ENTRY_BYTES > self.bytes_max;
        if is_full && !queue.waiting.is_empty() {
            return None;
        }
        queue.push(chunk);
        Some(queue.taker.take())
    }

    /// The next to leave, or a promise to wake.
    pub fn poll_take(&self, waker: &Waker) -> Poll<Bytes> {
        let mut queue = self.queue.lock();
        match queue.is_open.then(|| queue.pop()).flatten() {
            Some(entry) => Poll::Ready(entry.chunk),
            None => {
                queue.taker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// The stream is accepted.
    pub fn open(&self, age_max: Duration) {
        let mut queue = self.queue.lock();
        queue.is_open = true;
        while queue.waiting.front().is_some_and(|entry| entry.since.elapsed() > age_max) {
            queue.drop_oldest();
        }
        if let Some(taker) = queue.taker.take() {
            taker.wake();
        }
    }

    /// There is no stream any more.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        queue.is_open = false;
        queue.taker = None;
    }

    pub fn is_open(&self) -> bool {
        self.queue.lock().is_open
    }

    /// (waiting now, messages dropped ever)
    pub fn bytes_and_dropped(&self) -> (usize, u64) {
        let queue = self.queue.lock();
        (queue.bytes, queue.dropped)
    }

    /// A message that cannot be sent at all.
    pub fn refuse(&self) {
        self.queue.lock().dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::framing::encode;

    const AGE: Duration = Duration::from_secs(1);

    /// Each one message of five bytes, ten in all.
    fn chunks(bytes: &[u8]) -> Vec<Bytes> {
        bytes.iter().map(|byte| encode(&[*byte; 5])).collect()
    }

    fn taken(lane: &Lane) -> Vec<u8> {
        let mut all = Vec::new();
        while let Poll::Ready(chunk) = lane.poll_take(Waker::noop()) {
            all.push(chunk[HEADER_BYTES]);
        }
        all
    }

    #[test]
    fn beyond_the_bound_the_oldest_go() {
        let lane = Lane::new(3 * (10 + ENTRY_BYTES));
        lane.put(chunks(b"ab"));
        lane.put(chunks(b"cde"));
        lane.open(AGE);
        assert_eq!(taken(&lane), b"cde");
        assert_eq!(lane.bytes_and_dropped(), (0, 2));
        lane.refuse();
        assert_eq!(lane.bytes_and_dropped(), (0, 3));
    }

    #[test]
    fn what_is_larger_than_the_bound_leaves_alone() {
        let lane = Lane::new(20);
        lane.put(chunks(b"ab"));
        lane.open(AGE);
        assert_eq!(taken(&lane), b"b");
        assert!(lane.try_put(encode(&[b'c'; 100])).is_some());
        assert!(lane.try_put(encode(b"d")).is_none());
        assert_eq!(taken(&lane), b"c");
    }

    #[test]
    fn nothing_leaves_before_the_stream_is_accepted_nor_after_its_end() {
        let lane = Lane::new(1000);
        lane.put(chunks(b"a"));
        assert_eq!(taken(&lane), b"");
        lane.open(AGE);
        assert_eq!(taken(&lane), b"a");
        lane.close();
        lane.put(chunks(b"b"));
        assert_eq!(taken(&lane), b"");
    }

    #[test]
    fn what_waited_too_long_for_a_stream_is_dropped() {
        let lane = Lane::new(1000);
        lane.put(chunks(b"ab"));
        lane.open(Duration::ZERO);
        lane.put(chunks(b"c"));
        assert_eq!(taken(&lane), b"c");
        assert_eq!(lane.bytes_and_dropped(), (0, 2));
    }

    #[test]
    fn of_a_chunk_that_is_dropped_every_message_counts() {
        let lane = Lane::new(1);
        lane.put(vec![[encode(b"a"), encode(b""), encode(b"bc")].concat().into()]);
        lane.put(chunks(b"d"));
        assert_eq!(lane.bytes_and_dropped().1, 3);
    }
}
