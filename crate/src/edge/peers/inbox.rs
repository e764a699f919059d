//! Messages of other nodes that wait for Python.
//!
//! Invariant: each lane has a bound of its own. While it is reached, no stream of that lane is read, and HTTP/2's flow
//! control makes the senders wait. It can be passed by what a stream had read already: a frame, or one long message.

use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;

use super::LaneKind;

/// What a message costs beside its bytes.
const MESSAGE_BYTES: usize = 64;

#[derive(Default)]
struct State {
    messages: Vec<(u64, Bytes)>,
    bytes: [usize; 2],
    /// Streams that wait for room.
    readers: Vec<Waker>,
}

pub struct Inbox {
    state: Mutex<State>,
    bytes_max: [usize; 2],
}

impl Inbox {
    pub fn new(bytes_max: [usize; 2]) -> Inbox {
        Inbox { state: Mutex::default(), bytes_max }
    }

    /// False: full, and `waker` is woken when it is not.
    pub fn has_room(&self, kind: LaneKind, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let has_room = state.bytes[kind as usize] < self.bytes_max[kind as usize];
        if !has_room {
            state.readers.push(waker.clone());
        }
        has_room
    }

    /// Returns whether it was empty, so that somebody may sleep.
    pub fn put(&self, node: u64, kind: LaneKind, messages: &mut Vec<Bytes>) -> bool {
        let mut state = self.state.lock();
        let was_empty = state.messages.is_empty();
        for message in messages.drain(..) {
            state.bytes[kind as usize] += message.len() + MESSAGE_BYTES;
            state.messages.push((node, message));
        }
        was_empty
    }

    pub fn take(&self) -> Vec<(u64, Bytes)> {
        let mut state = self.state.lock();
        state.bytes = [0; 2];
        state.readers.drain(..).for_each(Waker::wake);
        std::mem::take(&mut state.messages)
    }
}
