//! The links between the nodes of a cluster: `/dkv.v1.Peer/Exchange` over HTTP/2, both ends of it.
//!
//! For each node that is known, this one keeps two streams to it open, one for each lane, each on a connection of its
//! own, so that no small message waits behind bulk: not in a queue, not in a window, not in a socket. The other node does
//! the same in the other direction. What arrives goes to an inbox that Python empties once a turn.
//!
//! Invariants. Nothing waits: what a slow or dead node does not take is dropped, the oldest first (small messages), or
//! refused (bulk). What waits is bounded, on both ends. Messages of one lane arrive in order, and none twice: a stream
//! that begins ends the one before it, whose messages are then lost. Nothing is sent to a node that has not accepted the
//! stream, and nothing taken from one that is not known.
//!
//! | file | noun |
//! |---|---|
//! | `links` | `PeerLinks`, as Python sees it |
//! | `hub` | the nodes that are known, and who this one is |
//! | `peer` | one of them: its lanes, and how it stands with it |
//! | `lane` | messages that wait to leave |
//! | `outgoing` | the stream to another node: dialling, sending, listening for signs of life |
//! | `incoming` | the stream from another node: who may send, and taking what it sends |
//! | `inbox` | messages that wait for Python |

mod hub;
mod inbox;
mod incoming;
mod lane;
mod links;
mod outgoing;
mod peer;

pub use hub::Hub;
pub use incoming::{accept, Incoming};
pub use links::PeerLinks;
pub use outgoing::keep_linked;
pub use peer::Peer;

/// What the streams are called on the wire, of nodes of any release.
pub const PATH: &str = "/dkv.v1.Peer/Exchange";
pub const CLUSTER_KEY: &str = "dkv-cluster";
pub const NODE_KEY: &str = "dkv-node";
pub const TO_KEY: &str = "dkv-to";
pub const LANE_KEY: &str = "dkv-lane";

/// An empty message, framed: is somebody there? Whoever gets one answers with one.
pub const BEAT: &[u8] = &[0; 5];

/// Which of the two streams to a node.
#[derive(Clone, Copy, PartialEq)]
pub enum LaneKind {
    Small = 0,
    Bulk = 1,
}

impl LaneKind {
    pub const ALL: [LaneKind; 2] = [LaneKind::Small, LaneKind::Bulk];

    pub fn name(self) -> &'static str {
        match self {
            LaneKind::Small => "small",
            LaneKind::Bulk => "bulk",
        }
    }

    pub fn parse(name: &[u8]) -> Option<LaneKind> {
        LaneKind::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}
