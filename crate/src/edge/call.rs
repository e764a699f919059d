//! One gRPC call, from its headers to its trailers.
//!
//! Invariant: everything that needs no decision is answered here and never reaches Python: wrong method or content
//! type, unknown path, bad framing, size limits, overload, deadlines. A call that does reach Python carries exactly one
//! whole message, decompressed; only a conversation carries more.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::call_guard::{CallGuard, Next};
use super::caller::Caller;
use super::conversation::Questions;
use super::framing::parse_timeout;
use super::inbox::Load;
use super::network::Network;
use super::peers;
use super::status::{Status, INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED};

/// A reply on its way out; hyper pulls it as fast as the peer's flow control lets it.
pub enum ReplyBody {
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap> },
    Stream(CallGuard),
    Peer(Box<peers::Incoming>),
    Ended,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            ReplyBody::Whole { data, trailers } => {
                let frame = data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                return Poll::Ready(frame.map(Ok));
            }
            ReplyBody::Stream(guard) => guard.next(cx.waker()),
            ReplyBody::Peer(incoming) => match std::task::ready!(incoming.poll_reply(cx)) {
                Ok(data) => Next::Data(data),
                Err(status) => Next::End(status),
            },
            ReplyBody::Ended => return Poll::Ready(None),
        };
        match next {
            Next::Data(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Next::Wait => Poll::Pending,
            Next::End(status) => {
                *self = ReplyBody::Ended;
                Poll::Ready(Some(Ok(Frame::trailers(status.trailers()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ReplyBody::Ended | ReplyBody::Whole { data: None, trailers: None })
    }
}

fn grpc_response(body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
    response
}

/// A status without a message goes out as one HEADERS frame.
fn trailers_only(status: &Status) -> Response<ReplyBody> {
    let mut response = grpc_response(ReplyBody::Ended);
    status.write_to(response.headers_mut());
    response
}

fn plain_http(code: StatusCode, text: &'static str) -> Response<ReplyBody> {
    let mut response =
        Response::new(ReplyBody::Whole { data: Some(Bytes::from_static(text.as_bytes())), trailers: None });
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    match value.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

type Timer = Option<Pin<Box<Sleep>>>;

/// Polls `future` until it is done or the deadline has passed.
async fn in_time<T>(timer: &mut Timer, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match (future.as_mut().poll(cx), timer.as_mut()) {
        (Poll::Ready(value), _) => Poll::Ready(Some(value)),
        (Poll::Pending, Some(timer)) => timer.as_mut().poll(cx).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}

async fn serve(
    caller: Caller,
    request: Request<Incoming>,
    method: usize,
    arrived: Instant,
) -> Result<Response<ReplyBody>, Status> {
    let shared = caller.network.shared.clone();
    let deadline = deadline(request.headers(), arrived)?;
    let gzip = uses_gzip(request.headers())?;
    if shared.methods[method].is_conversation {
        let guard = CallGuard::open(&caller.network, &caller.connection, &caller.peer, method, arrived);
        if let Some(deadline) = deadline {
            fail_later(&guard, Box::pin(tokio::time::sleep_until(deadline.into())));
        }
        let questions = Questions { caller, id: guard.id, body: request.into_body(), gzip, deadline };
        guard.own(tokio::task::spawn_local(questions.read()).abort_handle());
        return Ok(grpc_response(ReplyBody::Stream(guard)));
    }
    let mut timer: Timer = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
    let read = in_time(&mut timer, caller.read_message(request.into_body(), gzip));
    let (message, mut charge) = match tokio::time::timeout_at(caller.whole_by(arrived).into(), read).await {
        Ok(Some(read)) => read?,
        Ok(None) => return Err(Status::deadline_exceeded()),
        Err(_) => return Err(caller.too_slow()),
    };
    if !charge.enter(shared.settings.inbox_calls_max) {
        return Err(caller.overloaded());
    }
    let guard = CallGuard::open(&caller.network, &caller.connection, &caller.peer, method, arrived);
    let id = guard.id;
    caller.network.deliver(id, message, deadline, charge);
    if shared.methods[method].is_stream {
        if let Some(timer) = timer.take() {
            fail_later(&guard, timer);
        }
    }
    let ready = poll_fn(|cx| if guard.is_ready(cx.waker()) { Poll::Ready(()) } else { Poll::Pending });
    if in_time(&mut timer, ready).await.is_none() {
        caller.network.fail(id, Status::deadline_exceeded());
    }
    Ok(respond(guard))
}

/// Ends a stream at its deadline.
fn fail_later(guard: &CallGuard, timer: Pin<Box<Sleep>>) {
    let (network, id) = (guard.network.clone(), guard.id);
    let task = tokio::task::spawn_local(async move {
        timer.await;
        network.fail(id, Status::deadline_exceeded());
    });
    guard.own(task.abort_handle());
}

/// Turns what is ready into a response: the body of a stream or a long reply pulls the rest, a short reply is all there.
fn respond(guard: CallGuard) -> Response<ReplyBody> {
    if guard.has_chunks() {
        return grpc_response(ReplyBody::Stream(guard));
    }
    let waker = std::task::Waker::noop();
    let mut data = None;
    loop {
        match guard.next(waker) {
            Next::Data(chunk) => data = Some(chunk),
            Next::Wait => return grpc_response(ReplyBody::Stream(guard)),
            Next::End(status) if data.is_none() => return trailers_only(&status),
            Next::End(status) => return grpc_response(ReplyBody::Whole { data, trailers: Some(status.trailers()) }),
        }
    }
}

fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(parse_timeout) {
        Some(timeout) => Ok(arrived.checked_add(timeout)),
        None => Err(Status::new(INTERNAL, "malformed grpc-timeout")),
    }
}

fn uses_gzip(headers: &HeaderMap) -> Result<bool, Status> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(other) => {
            let name = String::from_utf8_lossy(other);
            Err(Status::new(UNIMPLEMENTED, format!("unsupported grpc-encoding {name}, use identity or gzip")))
        }
    }
}

/// Whether a connection that is one too many still has to show that it is another node's.
#[derive(Clone)]
pub struct Trial(Rc<Cell<bool>>);

impl Trial {
    pub fn new(is_on: bool) -> Trial {
        Trial(Rc::new(Cell::new(is_on)))
    }

    pub fn is_on(&self) -> bool {
        self.0.get()
    }

    pub fn pass(&self) {
        self.0.set(false);
    }
}

/// Serves one request of a gRPC connection. Dropped when its stream is reset.
pub async fn serve_call(
    network: Rc<Network>,
    connection: Arc<Load>,
    peer: Arc<str>,
    trial: Trial,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    if request.method() != Method::POST {
        return Ok(plain_http(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls use POST\n"));
    }
    if !is_grpc(request.headers()) {
        return Ok(plain_http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this port speaks gRPC (application/grpc)\n"));
    }
    let is_peers = request.uri().path() == peers::PATH;
    if trial.is_on() && !is_peers {
        network.shared.stats.lock().overloaded += 1;
        return Ok(trailers_only(&Status::new(RESOURCE_EXHAUSTED, "too many connections, try again later")));
    }
    let Some(method) = network.shared.numbers.get(request.uri().path()).copied() else {
        if let Some(hub) = network.shared.hub.get().filter(|_| is_peers) {
            return Ok(match peers::accept(hub, request) {
                Ok(incoming) => {
                    trial.pass();
                    grpc_response(ReplyBody::Peer(Box::new(incoming)))
                }
                Err(status) => trailers_only(&status),
            });
        }
        network.shared.stats.lock().unknown += 1;
        let status = Status::new(UNIMPLEMENTED, format!("unknown method {}", request.uri().path()));
        return Ok(trailers_only(&status));
    };
    let arrived = Instant::now();
    let caller = Caller { network: network.clone(), connection, peer: peer.clone() };
    Ok(match serve(caller, request, method, arrived).await {
        Ok(response) => response,
        Err(status) => {
            network.note_refused(method, status.code, &peer, arrived.elapsed());
            trailers_only(&status)
        }
    })
}
