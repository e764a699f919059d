//! `PeerLinks`: the other nodes as Python sees them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::hub::{Hub, Limits};
use super::inbox::Inbox;
use super::lane::Lane;
use super::peer::Peer;
use super::LaneKind;
use crate::edge::address::Address;
use crate::edge::framing::{encode, Packer};
use crate::edge::outbox::Order;
use crate::edge::server::EdgeServer;
use crate::edge::shared::Shared;

/// The links of one node to the others of its cluster, on the network thread of its server.
#[pyclass(frozen, module = "dkv._native")]
pub struct PeerLinks {
    hub: Arc<Hub>,
    shared: Arc<Shared>,
}

/// (up, since in ms from the beginning of the links, refusal, queued bytes, messages dropped)
type Link = (bool, u64, String, usize, u64);

impl PeerLinks {
    /// Whether it fits. An empty message is an error of the caller.
    fn fits(&self, message: &[u8]) -> PyResult<bool> {
        match message.len() {
            0 => Err(PyValueError::new_err("an empty message says nothing")),
            bytes => Ok(bytes <= self.hub.limits.message_bytes_max),
        }
    }
}

#[pymethods]
impl PeerLinks {
    #[new]
    #[pyo3(signature = (
        server, cluster, node, *,
        queue_bytes_max = 16 << 20,
        bulk_bytes_max = 4 << 20,
        message_bytes_max = 64 << 20,
        inbox_bytes_max = 32 << 20,
        bulk_inbox_bytes_max = 8 << 20,
        beat_ms = 200,
        silence_ms = 1000,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        server: &EdgeServer,
        cluster: &[u8],
        node: u64,
        queue_bytes_max: usize,
        bulk_bytes_max: usize,
        message_bytes_max: usize,
        inbox_bytes_max: usize,
        bulk_inbox_bytes_max: usize,
        beat_ms: u64,
        silence_ms: u64,
    ) -> PyResult<Self> {
        let limits = Limits {
            queue_bytes_max,
            bulk_bytes_max,
            message_bytes_max: message_bytes_max.min(u32::MAX as usize),
            beat: Duration::from_millis(beat_ms.max(1)),
            silence_max: Duration::from_millis(silence_ms.max(1)),
        };
        let shared = server.shared().clone();
        let inbox = Inbox::new([inbox_bytes_max, bulk_inbox_bytes_max]);
        let hub = Arc::new(Hub::new(cluster, node, limits, shared.bell.clone(), inbox));
        match shared.hub.set(hub.clone()) {
            Ok(()) => Ok(PeerLinks { hub, shared }),
            Err(_) => Err(PyValueError::new_err("this server has links to other nodes already")),
        }
    }

    /// Where a node is reached. Connects, and reconnects by itself. ValueError when it is no address.
    fn know(&self, node: u64, address: String) -> PyResult<()> {
        let target = Address::parse(&address).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let mut peers = self.hub.peers.lock();
        if peers.get(&node).is_some_and(|peer| peer.address == address) {
            return Ok(());
        }
        let limits = &self.hub.limits;
        let lanes = [Lane::new(limits.queue_bytes_max), Lane::new(limits.bulk_bytes_max)];
        let peer = Arc::new(Peer::new(node, address, target, lanes, limits.silence_max));
        if let Some(before) = peers.insert(node, peer.clone()) {
            before.leave();
        }
        self.shared.outbox.put(Order::Link(self.hub.clone(), peer));
        Ok(())
    }

    /// No stream to it any more, none from it accepted.
    fn forget(&self, node: u64) {
        if let Some(peer) = self.hub.peers.lock().remove(&node) {
            peer.leave();
        }
    }

    /// Sends small messages, in one crossing and with one wake-up. Never waits.
    fn send(&self, messages: Vec<(u64, Bound<'_, PyBytes>)>) -> PyResult<()> {
        let mut packers: HashMap<u64, Packer> = HashMap::new();
        for (node, message) in &messages {
            let message = message.as_bytes();
            if self.fits(message)? {
                packers.entry(*node).or_default().push(message);
            } else if let Some(peer) = self.hub.peer(*node) {
                peer.lane(LaneKind::Small).refuse();
            }
        }
        self.hub.send(packers);
        Ok(())
    }

    /// A message on the bulk lane. False: no room now, or no such node; nothing was taken.
    fn send_bulk(&self, node: u64, message: &[u8]) -> PyResult<bool> {
        let fits = self.fits(message)?;
        let Some(peer) = self.hub.peer(node).filter(|_| fits) else {
            return Ok(false);
        };
        let put = peer.lane(LaneKind::Bulk).try_put(encode(message));
        if let Some(Some(taker)) = &put {
            taker.wake_by_ref();
        }
        Ok(put.is_some())
    }

    /// (node, message) of both lanes since the last call.
    fn receive<'py>(&self, py: Python<'py>) -> Vec<(u64, Bound<'py, PyBytes>)> {
        self.hub.turn();
        let messages = match self.shared.errands.get() {
            Some(errands) => errands.take_messages(),
            None => self.hub.inbox.take(),
        };
        let messages = messages.into_iter();
        messages.map(|(node, message): (u64, Bytes)| (node, PyBytes::new(py, &message))).collect()
    }

    /// Of every node that is known.
    fn links(&self) -> HashMap<u64, Link> {
        self.hub.turn();
        let now = Instant::now();
        let peers = self.hub.peers.lock();
        let links = peers.values().map(|peer| {
            let mut standing = peer.standing.lock();
            standing.look(now);
            let since_ms = self.hub.ms_from_beginning(standing.since);
            let (queued, dropped) = peer.lane(LaneKind::Small).bytes_and_dropped();
            (peer.node, (standing.is_up, since_ms, standing.refusal.clone(), queued, dropped))
        });
        links.collect()
    }

    /// Ends all links. Idempotent.
    fn close(&self) {
        for (_, peer) in self.hub.peers.lock().drain() {
            peer.leave();
        }
    }
}
