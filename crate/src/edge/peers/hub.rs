//! Who this node is, and which others it knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::inbox::Inbox;
use super::peer::Peer;
use crate::bell::Bell;

pub struct Limits {
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
    pub began: Instant,
}

impl Hub {
    pub fn peer(&self, node: u64) -> Option<Arc<Peer>> {
        self.peers.lock().get(&node).cloned()
    }
}
