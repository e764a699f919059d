//! The writes of one group that were handed out and are not acknowledged yet.
//!
//! Invariant: numbers are outside what they are in Raft plus `base`, the last number of the group's former life; so an
//! acknowledgement of that life is known as old, and one from the future is refused.

use std::collections::VecDeque;

/// A write handed out and not acknowledged. Both numbers are Raft's own.
struct OpenWrite {
    number: u64,
    /// The last ready behind it that wrote nothing: durable together with this one.
    covers: u64,
    bytes: usize,
}

pub struct OpenWrites {
    /// Outside, ready numbers start here instead of at 0.
    base: u64,
    /// The last ready, in Raft's numbers.
    last: u64,
    writes: VecDeque<OpenWrite>,
    bytes: usize,
}

impl OpenWrites {
    pub fn behind(base: u64) -> OpenWrites {
        OpenWrites { base, last: 0, writes: VecDeque::new(), bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Of all that are open.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last ready number, as seen outside.
    pub fn last_number(&self) -> u64 {
        self.base + self.last
    }

    /// The newest open write, as seen outside.
    pub fn newest(&self) -> Option<u64> {
        self.writes.back().map(|open| self.base + open.number)
    }

    /// A ready that has so much to write. Returns its number as seen outside.
    pub fn add(&mut self, number: u64, bytes: usize) -> u64 {
        self.last = number;
        self.bytes += bytes;
        self.writes.push_back(OpenWrite { number, covers: number, bytes });
        self.base + number
    }

    /// A ready that has nothing to write. False: no write is open that it could wait for, so it is durable now.
    pub fn cover(&mut self, number: u64) -> bool {
        self.last = number;
        let Some(open) = self.writes.back_mut() else { return false };
        open.covers = number;
        true
    }

    /// What is durable in Raft's numbers once everything up to `number`, as seen outside, is. None: nothing new. Err: it
    /// has not been handed out, and Raft would take it as "everything is durable".
    pub fn acknowledge(&mut self, number: u64) -> Result<Option<u64>, String> {
        if number <= self.base {
            return Ok(None); // of a former life of this group
        }
        let number = number - self.base;
        if number > self.last {
            return Err(format!("ready {number} has not been handed out"));
        }
        let mut durable = None;
        while self.writes.front().is_some_and(|write| write.number <= number) {
            let Some(write) = self.writes.pop_front() else { break };
            self.bytes -= write.bytes;
            durable = Some(write.covers);
        }
        Ok(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_what_is_open() {
        let mut open = OpenWrites::behind(10);
        assert_eq!([open.add(1, 100), open.add(2, 20), open.add(4, 3)], [11, 12, 14]);
        assert_eq!(open.bytes(), 123);
        assert_eq!(open.acknowledge(13), Ok(Some(2)));
        assert_eq!(open.bytes(), 3);
        assert_eq!(open.acknowledge(14), Ok(Some(4)));
        assert_eq!((open.bytes(), open.is_empty()), (0, true));
    }
}
