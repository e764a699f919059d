//! Who this node is, and which others it knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::inbox::Inbox;
use super::peer::Peer;
use super::LaneKind;
use crate::bell::Bell;
use crate::edge::framing::Packer;

pub struct Limits {
    /// Small messages that wait for one node.
    pub queue_bytes_max: usize,
    pub bulk_bytes_max: usize,
    pub message_bytes_max: usize,
    /// How often a beat is sent on each stream.
    pub beat: Duration,
    /// How long nothing may be heard of a node that is up.
    pub silence_max: Duration,
}

pub struct Hub {
    /// In hexadecimal digits, as it travels.
    pub cluster: String,
    pub node: u64,
    pub limits: Limits,
    pub bell: Bell,
    pub inbox: Inbox,
    pub peers: Mutex<HashMap<u64, Arc<Peer>>>,
    began: Instant,
    /// When Python last looked for what has arrived, in ms from the beginning.
    turned_ms: AtomicU64,
}

impl Hub {
    pub fn new(cluster: &[u8], node: u64, limits: Limits, bell: Bell, inbox: Inbox) -> Hub {
        Hub {
            cluster: cluster.iter().map(|byte| format!("{byte:02x}")).collect(),
            node,
            limits,
            bell,
            inbox,
            peers: Mutex::default(),
            began: Instant::now(),
            turned_ms: AtomicU64::new(0),
        }
    }

    pub fn ms_from_beginning(&self, at: Instant) -> u64 {
        at.duration_since(self.began).as_millis() as u64
    }

    /// Python takes a turn, or waits for a reason to.
    pub fn turn(&self) {
        self.turned_ms.store(self.ms_from_beginning(Instant::now()), Relaxed);
    }

    /// This node does more than answer from its network thread. One that does not must not seem to live: the others would
    /// wait for it.
    pub fn takes_turns(&self) -> bool {
        let turned = self.began + Duration::from_millis(self.turned_ms.load(Relaxed));
        turned.elapsed() < self.limits.silence_max
    }

    /// Small messages for each node; those of whom nobody knows are dropped. One wake-up, behind the lock: who is woken may
    /// want it.
    pub fn send(&self, messages: impl IntoIterator<Item = (u64, Packer)>) {
        let mut takers = vec![];
        {
            let peers = self.peers.lock();
            for (node, mut packer) in messages {
                packer.flush();
                takers.extend(peers.get(&node).and_then(|peer| peer.lane(LaneKind::Small).put(packer.chunks)));
            }
        }
        takers.into_iter().for_each(Waker::wake);
    }

    pub fn peer(&self, node: u64) -> Option<Arc<Peer>> {
        self.peers.lock().get(&node).cloned()
    }
}
