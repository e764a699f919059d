//! The stream to another node: dialling, sending, listening for signs of life.
//!
//! Invariant: one stream at a time for each lane. After it ended, a pause that doubles and is drawn from a range, so that
//! nodes which lost each other together do not come back together; a stream from the other node ends it. A stream on
//! which no beat is answered for `SILENCES_MAX` times the silence that makes a node down is given up, unless a long
//! message is on its way all that time.

use std::cell::Cell;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::Request;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming as ReplyBody;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{timeout, Interval, MissedTickBehavior};

use super::hub::Hub;
use super::peer::Peer;
use super::{LaneKind, BEAT, CLUSTER_KEY, LANE_KEY, NODE_KEY, PATH, TO_KEY};
use crate::edge::address::Address;
use crate::edge::corked::Corked;
use crate::edge::executor::LocalExecutor;
use crate::edge::framing::CHUNK_BYTES;
use crate::edge::status::Status;

/// From the first segment to the other node's verdict.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const SILENCES_MAX: u32 = 3;
/// What hyper may hold of a stream beyond the other node's window.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// The other node's word why it does not take the stream, or takes no more of it; none if it was not asked.
type End = Option<String>;

/// Keeps the streams of a node open until it is gone.
pub async fn keep_linked(hub: Arc<Hub>, peer: Arc<Peer>) {
    tokio::select! {
        biased;
        () = peer.gone() => {}
        () = keep_lane(&hub, &peer, LaneKind::Small) => {}
        () = keep_lane(&hub, &peer, LaneKind::Bulk) => {}
    }
}

async fn keep_lane(hub: &Arc<Hub>, peer: &Arc<Peer>, kind: LaneKind) {
    let mut pause = PAUSE_MIN;
    loop {
        let mut was_accepted = false;
        let end = exchange(hub, peer, kind, &mut was_accepted).await;
        peer.lane(kind).close();
        peer.ended(kind, end);
        pause = if was_accepted { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        tokio::select! {
            () = tokio::time::sleep(drawn(pause)) => {}
            () = peer.nudge.notified() => {}
        }
    }
}

/// Between half of a pause and all of it.
fn drawn(pause: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0_u8) as u32;
    pause / 2 + pause.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

/// One stream, from dialling to its end.
async fn exchange(hub: &Arc<Hub>, peer: &Arc<Peer>, kind: LaneKind, was_accepted: &mut bool) -> End {
    let life = Rc::new(Cell::new(Instant::now()));
    let accepted = timeout(ACCEPT_TIMEOUT, async {
        let mut sender = connect(&peer.target).await?;
        let response = sender.send_request(request(hub, peer, kind, life.clone())?).await.ok()?;
        Some((sender, response))
    });
    let (_sender, response) = accepted.await.ok()??;
    if let Some(status) = verdict(&response) {
        return Some(status.message);
    }
    *was_accepted = true;
    life.set(Instant::now());
    peer.accepted(kind);
    peer.lane(kind).open(hub.limits.silence_max);
    listen(hub, peer, kind, response.into_body(), &life).await
}

/// None: the stream is accepted.
fn verdict(response: &Response<ReplyBody>) -> Option<Status> {
    if response.status() != http::StatusCode::OK {
        return Some(Status::from_http(response.status()));
    }
    Status::read_from(response.headers())
}

/// Reads the answers to beats until the other node ends the stream, or is silent for too long.
async fn listen(hub: &Hub, peer: &Peer, kind: LaneKind, mut body: ReplyBody, life: &Cell<Instant>) -> End {
    let patience = hub.limits.silence_max * SILENCES_MAX;
    loop {
        let Ok(frame) = tokio::time::timeout_at((life.get() + patience).into(), body.frame()).await else {
            if life.get().elapsed() < patience {
                continue; // a long message was on its way
            }
            return None;
        };
        match frame?.ok()?.into_data() {
            Ok(_) => {
                life.set(Instant::now());
                peer.answered(kind);
            }
            Err(frame) => {
                let trailers = frame.into_trailers().ok()?;
                return Status::read_from(&trailers).map(|status| status.message);
            }
        }
    }
}

async fn connect(target: &Address) -> Option<SendRequest<Outgoing>> {
    match target {
        Address::Tcp(host_port) => {
            let stream = tokio::net::TcpStream::connect(host_port).await.ok()?;
            let _ = stream.set_nodelay(true); // slower without, still right
            handshake(stream).await
        }
        #[cfg(unix)]
        Address::Unix(path) => handshake(tokio::net::UnixStream::connect(path).await.ok()?).await,
    }
}

async fn handshake<IO: AsyncRead + AsyncWrite + Unpin + 'static>(io: IO) -> Option<SendRequest<Outgoing>> {
    let (sender, connection) = Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .handshake(TokioIo::new(Corked::new(io)))
        .await
        .ok()?;
    tokio::task::spawn_local(async move {
        let _ = connection.await; // whoever waits on it is told by hyper
    });
    Some(sender)
}

fn request(hub: &Arc<Hub>, peer: &Arc<Peer>, kind: LaneKind, life: Rc<Cell<Instant>>) -> Option<Request<Outgoing>> {
    let authority = peer.target.authority();
    let mut beats = tokio::time::interval(hub.limits.beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = Outgoing { peer: peer.clone(), kind, rest: Bytes::new(), beats, life };
    Request::post(format!("http://{authority}{PATH}"))
        .header(TE, "trailers")
        .header(CONTENT_TYPE, "application/grpc")
        .header(CLUSTER_KEY, &hub.cluster)
        .header(NODE_KEY, hub.node)
        .header(TO_KEY, peer.node)
        .header(LANE_KEY, kind.name())
        .body(body)
        .ok()
}

/// What is sent; hyper pulls it as fast as the other node's flow control lets it.
struct Outgoing {
    peer: Arc<Peer>,
    kind: LaneKind,
    /// Of the message that is being sent.
    rest: Bytes,
    beats: Interval,
    /// When the stream last showed that it lives.
    life: Rc<Cell<Instant>>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let peer = self.peer.clone();
        let lane = peer.lane(self.kind);
        if !self.rest.is_empty() {
            self.life.set(Instant::now());
        } else if self.beats.poll_tick(cx).is_ready() && lane.is_open() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(BEAT)))));
        } else {
            self.rest = std::task::ready!(lane.poll_take(cx.waker()));
        }
        let size = self.rest.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }
}
