//! Plain HTTP/1.1 for people and tools: metrics, health, console. Bounded in connections, headers, bodies and time.
//! A reply may come in parts, for as long as its reader keeps up.
//!
//! Invariant: a slow or hostile client of this port costs one of few connections for a bounded time, and no gRPC call. A
//! server that stops waits for a reader as long as it does for the caller of a call, and no longer.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, CACHE_CONTROL, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, Notify};

use super::network::{Network, STOP_GRACE};
use super::outbox::HttpReply;
use super::socket::Socket;

const BODY_BYTES_MAX: usize = 1 << 20;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte of the reply taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const CALLS_MAX: usize = 128;
pub const CONNECTIONS_MAX: usize = 128;

type Reply = Response<Either<Full<Bytes>, Parts>>;

fn plain(code: StatusCode, text: &'static str) -> Reply {
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// An open request, which a server that stops waits for. Forgets it when its connection is dropped.
struct HttpGuard(Rc<Network>, u64);

impl HttpGuard {
    fn new(network: Rc<Network>, id: u64) -> HttpGuard {
        network.shared.open_calls.fetch_add(1, Relaxed);
        HttpGuard(network, id)
    }
}

impl Drop for HttpGuard {
    fn drop(&mut self) {
        self.0.shared.open_calls.fetch_sub(1, Relaxed);
        self.0.forget_http(self.1);
    }
}

/// A body whose parts come from Python, one after the other; hyper pulls them as fast as the reader takes them.
struct Parts {
    first: Option<Bytes>,
    rest: mpsc::Receiver<HttpReply>,
    _guard: HttpGuard,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let part = match self.first.take() {
                Some(first) => first,
                None => match self.rest.poll_recv(cx) {
                    Poll::Ready(Some(part)) => part.body,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
            };
            if !part.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
        }
    }
}

async fn serve_request(
    network: Rc<Network>,
    overrun: Rc<Notify>,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "request body is too large or broken\n")),
        Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT, "request body took too long\n")),
    };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let method = head.method.as_str().to_owned();
    let Some((id, mut parts)) = network.open_http(method, path, body, overrun, CALLS_MAX) else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait\n"));
    };
    let guard = HttpGuard::new(network, id);
    let Some(reply) = parts.recv().await else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the server is closing\n"));
    };
    let body = match reply.more {
        true => Either::Right(Parts { first: Some(reply.body), rest: parts, _guard: guard }),
        false => Either::Left(Full::from(reply.body)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::try_from(reply.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub async fn serve_connection<IO: AsyncRead + AsyncWrite + Unpin + 'static>(network: Rc<Network>, io: IO) {
    let mut stopping = network.stopping.subscribe();
    let overrun = Rc::new(Notify::new());
    let socket = Socket::new(io, WRITE_TIMEOUT);
    let watch = socket.watch();
    let service = {
        let overrun = overrun.clone();
        hyper::service::service_fn(move |request| serve_request(network.clone(), overrun.clone(), request))
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = overrun.notified() => return,
        _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = overrun.notified() => {}
        () = watch.takes_nothing_for(STOP_GRACE) => {}
    }
}
