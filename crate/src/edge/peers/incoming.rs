//! The stream from another node: who may send, and taking what it sends.
//!
//! Invariant: a stream is read only while it is its node's newest of the lane, and while the inbox has room for the lane.
//! Its reply says that it is accepted, and answers beats; so a node that does not read replies is not read. A node whose
//! Python stands still accepts no stream and answers no beat, though its network thread could.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use hyper::body::Incoming as RequestBody;

use super::hub::Hub;
use super::peer::Peer;
use super::{LaneKind, BEAT, CLUSTER_KEY, LANE_KEY, NODE_KEY, TO_KEY};
use crate::edge::framing::{Decoder, FrameError};
use crate::edge::status::{Status, ABORTED, CANCELLED, FAILED_PRECONDITION, INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE};

/// What is read of a stream of another node; its reply is pulled, and pulling it reads.
pub struct Incoming {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    kind: LaneKind,
    number: usize,
    body: RequestBody,
    decoder: Decoder,
    messages: Vec<Bytes>,
}

fn text<'a>(headers: &'a HeaderMap, key: &str) -> &'a str {
    headers.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn refused(text: String) -> Status {
    Status::new(FAILED_PRECONDITION, text)
}

/// Who sends, on which lane; or why it may not.
fn sender(hub: &Hub, headers: &HeaderMap) -> Result<(Arc<Peer>, LaneKind), Status> {
    let (cluster, to, node) = (text(headers, CLUSTER_KEY), text(headers, TO_KEY), text(headers, NODE_KEY));
    if cluster != hub.cluster {
        return Err(refused(format!("this node belongs to cluster {}, not to '{cluster}'", hub.cluster)));
    }
    if to.parse() != Ok(hub.node) {
        return Err(refused(format!("this is node {}, not '{to}'", hub.node)));
    }
    let peer = node.parse().ok().and_then(|node| hub.peer(node));
    let Some(peer) = peer else {
        return Err(refused(format!("node {} knows no node '{node}': it was removed, or is not added yet", hub.node)));
    };
    match LaneKind::parse(text(headers, LANE_KEY).as_bytes()) {
        Some(kind) => Ok((peer, kind)),
        None => Err(refused(format!("there is no lane '{}'", text(headers, LANE_KEY)))),
    }
}

/// Takes a stream in, or says why not.
pub fn accept(hub: &Arc<Hub>, request: Request<RequestBody>) -> Result<Incoming, Status> {
    let (peer, kind) = sender(hub, request.headers())?;
    if !hub.takes_turns() {
        return Err(Status::new(UNAVAILABLE, format!("node {} takes no turns now", hub.node)));
    }
    let number = peer.begin(kind);
    peer.nudge.notify_waiters(); // it lives: no need to wait with our own streams
    let decoder = Decoder::new(hub.limits.message_bytes_max);
    Ok(Incoming { hub: hub.clone(), peer, kind, number, body: request.into_body(), decoder, messages: Vec::new() })
}

impl Incoming {
    /// The next answer to a beat, or how the stream ended.
    pub fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        loop {
            if !self.peer.reads(self.kind, self.number, cx.waker()) {
                return Poll::Ready(Err(Status::new(ABORTED, "this stream was replaced, or its node removed")));
            }
            if !self.hub.inbox.has_room(self.kind, cx.waker()) {
                return Poll::Pending;
            }
            let data = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(Status::new(CANCELLED, error.to_string()))),
                None => return Poll::Ready(Err(Status::ok())),
            };
            self.peer.heard(self.kind);
            self.decoder.push(data);
            let taken = self.take_messages();
            if !self.messages.is_empty() && self.hub.inbox.put(self.peer.node, self.kind, &mut self.messages) {
                self.hub.bell.nudge();
            }
            if taken? && self.hub.takes_turns() {
                return Poll::Ready(Ok(Bytes::from_static(BEAT)));
            }
        }
    }

    /// Sorts what is whole into messages; returns whether there was a beat among them.
    fn take_messages(&mut self) -> Result<bool, Status> {
        let mut has_beat = false;
        while let Some((is_compressed, message)) = self.decoder.next().map_err(|error| self.bad_frame(error))? {
            match message.is_empty() {
                _ if is_compressed => return Err(Status::new(INTERNAL, "messages of nodes are not compressed")),
                true => has_beat = true,
                false => self.messages.push(message),
            }
        }
        Ok(has_beat)
    }

    fn bad_frame(&self, error: FrameError) -> Status {
        let limit = self.hub.limits.message_bytes_max;
        match error {
            FrameError::TooLarge(bytes) => {
                Status::new(RESOURCE_EXHAUSTED, format!("received message larger than max ({bytes} vs. {limit})"))
            }
            FrameError::BadFlag(flag) => Status::new(INTERNAL, format!("bad compression flag {flag}")),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.peer.finish(self.kind, self.number);
    }
}
