//! What the network thread and Python's both see of a server.
//!
//! Invariant: locks are held for a swap or a few counters, never across work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use bytes::Bytes;

use super::ended::EndedCalls;
use super::inbox::{Load, News, Taker};
use super::outbox::Outbox;
use super::peers::Hub;
use super::stats::Stats;
use super::status::{Status, RESOURCE_EXHAUSTED};
use crate::bell::Bell;

pub struct Settings {
    pub request_bytes_max: usize,
    pub reply_bytes_max: usize,
    pub inbox_bytes_max: usize,
    pub inbox_bytes_max_per_connection: usize,
    pub inbox_calls_max: usize,
    pub streams_max_per_connection: u32,
    pub stream_buffer_bytes: usize,
    pub unread_bytes_max: usize,
    pub unread_bytes_max_per_connection: usize,
    pub unread_timeout_ms: u64,
    pub header_bytes_max: u32,
    pub connections_max: usize,
    pub keepalive_interval_ms: u64,
    pub keepalive_timeout_ms: u64,
    pub overload_retry_delay_ms: i64,
    pub request_timeout_ms: u64,
}

pub struct Method {
    pub path: String,
    /// The reply is a stream.
    pub is_stream: bool,
    /// The request is a stream too.
    pub is_conversation: bool,
}

/// What is done where Python waits for news, so that it need not take a turn for all of them.
pub trait Errands: Send + Sync {
    /// Does what can be done. Returns whether there is something for Python. `is_lone`: nobody but one caller waits.
    fn run(&self, is_lone: bool) -> bool;
    /// In how long there is, at the latest.
    fn due(&self) -> Option<Duration>;
    /// Messages of other nodes that are Python's to read.
    fn take_messages(&self) -> Vec<(u64, Bytes)>;
}

pub struct Shared {
    pub bell: Bell,
    pub settings: Settings,
    pub methods: Vec<Method>,
    pub numbers: HashMap<String, usize>,
    pub load: Arc<Load>,
    pub inbox: Mutex<News>,
    pub taker: Mutex<Taker>,
    pub outbox: Outbox,
    pub stats: Mutex<Stats>,
    pub connections: AtomicUsize,
    pub open_calls: AtomicUsize,
    pub open_streams: AtomicUsize,
    pub ended: EndedCalls,
    /// The links to other nodes, once there is a cluster.
    pub hub: OnceLock<Arc<Hub>>,
    pub errands: OnceLock<Arc<dyn Errands>>,
}

impl Shared {
    /// The status of what a bound does not let in or out.
    pub fn overloaded(&self, why: &str) -> Status {
        self.stats.lock().overloaded += 1;
        Status { retry_delay_ms: self.settings.overload_retry_delay_ms, ..Status::new(RESOURCE_EXHAUSTED, why) }
    }

    pub fn count_opened(&self, is_stream: bool) {
        self.open_calls.fetch_add(1, Relaxed);
        self.open_streams.fetch_add(usize::from(is_stream), Relaxed);
    }

    pub fn count_closed(&self, is_stream: bool) {
        self.open_calls.fetch_sub(1, Relaxed);
        self.open_streams.fetch_sub(usize::from(is_stream), Relaxed);
    }
}
