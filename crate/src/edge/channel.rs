//! The network half of `EdgeClient`: one HTTP/2 connection, made when needed and made again after it broke.
//!
//! Invariant: between two attempts that failed lies a pause that doubles up to `BACKOFF_MAX`; calls made during the
//! pause fail at once with UNAVAILABLE and the reason of the last failure. A request is sent again only if it provably
//! never left this process. A connection on which nothing came during a whole call that ran out of time is not used
//! again: its other end may have vanished without a word.

use std::future::Future;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::address::Address;
use super::corked::Corked;
use super::framing::{encode, format_timeout, Decoder, FrameError};
use super::status::{Status, CANCELLED, INTERNAL, OK, RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
const KEEPALIVE: Duration = Duration::from_secs(20);
/// A call that lasted less and got no answer says nothing about its connection.
const SILENCE_MIN: Duration = Duration::from_millis(500);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const AGENT: &str = concat!("dkv/", env!("CARGO_PKG_VERSION"));

pub struct Target {
    pub address: Address,
    /// The address as written, for error texts.
    pub name: String,
    pub authority: Authority,
    pub reply_bytes_max: usize,
}

pub struct Call {
    pub path: String,
    pub message: Bytes,
    pub timeout: Option<Duration>,
    pub metadata: HeaderMap,
}

/// Why no connection came up.
struct Reason {
    text: String,
    /// Somebody said so: waiting for an answer is in vain.
    nobody_listens: bool,
}

impl From<std::io::Error> for Reason {
    fn from(error: std::io::Error) -> Reason {
        let nobody_listens = matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        Reason { text: explain(&error), nobody_listens }
    }
}

impl From<hyper::Error> for Reason {
    fn from(error: hyper::Error) -> Reason {
        Reason { text: explain(&error), nobody_listens: false }
    }
}

#[derive(Clone)]
struct Failure {
    text: String,
    nobody_listens: bool,
    retry_at: Instant,
    pause: Duration,
}

/// What a caller may conclude from a status about the request.
#[derive(Clone, Copy, PartialEq)]
pub enum Fate {
    /// The status is the server's.
    Answered = 0,
    /// The status is ours, and the request never left this process.
    NotSent = 1,
    /// The status is ours; the server may have the request.
    Lost = 2,
}

#[derive(Clone)]
pub struct Outcome {
    pub status: Status,
    pub fate: Fate,
}

impl Outcome {
    fn ours(status: Status, is_sent: bool) -> Outcome {
        Outcome { status, fate: if is_sent { Fate::Lost } else { Fate::NotSent } }
    }

    /// Of a call on a client that is closed.
    pub fn closed() -> Outcome {
        Outcome::ours(Status::new(CANCELLED, "the client is closed"), false)
    }
}

#[derive(Default)]
struct State {
    sender: Option<SendRequest<Full<Bytes>>>,
    failure: Option<Failure>,
    /// When the server last said anything.
    heard_at: Option<Instant>,
}

pub struct Channel {
    target: Arc<Target>,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
    is_closed: AtomicBool,
    closing: Notify,
}

/// Where the messages of a call go. The future that `message` returns is pending while there is no room.
pub trait Sink: Send {
    fn message(&mut self, message: Bytes) -> impl Future<Output = ()> + Send;
}

fn unavailable(text: impl std::fmt::Display) -> Status {
    Status::new(UNAVAILABLE, text.to_string())
}

/// An error with its causes, which hyper leaves out of its own text.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn handshake<IO>(io: IO) -> hyper::Result<SendRequest<Full<Bytes>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .handshake(TokioIo::new(Corked::new(io)))
        .await?;
    tokio::spawn(async move {
        let _ = connection.await; // whoever waits on it is told by hyper
    });
    Ok(sender)
}

impl Channel {
    pub fn new(target: Arc<Target>) -> Channel {
        Channel {
            target,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            is_closed: AtomicBool::new(false),
            closing: Notify::new(),
        }
    }

    pub fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.state.lock().sender.take();
        self.closing.notify_waiters();
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, Reason> {
        let attempt = async {
            match &self.target.address {
                Address::Tcp(host_port) => {
                    let stream = tokio::net::TcpStream::connect(host_port).await?;
                    let _ = stream.set_nodelay(true); // slower without, still right
                    Ok(handshake(stream).await?)
                }
                #[cfg(unix)]
                Address::Unix(path) => Ok(handshake(tokio::net::UnixStream::connect(path).await?).await?),
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Reason { text: "timed out".to_owned(), nobody_listens: false }),
        }
    }

    fn live(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.state.lock().sender.clone().filter(|sender| !sender.is_closed())
    }

    /// A live connection; at most one attempt to make one. In a box: what connecting keeps is not to be part of every
    /// call, which is moved and thrown away as a whole.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        match self.live() {
            Some(sender) => Ok(sender),
            None => Box::pin(self.connected()).await,
        }
    }

    async fn connected(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        let _turn = self.connecting.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let failure = self.state.lock().failure.clone();
        if let Some(failure) = failure.as_ref().filter(|failure| Instant::now() < failure.retry_at) {
            return Err(unavailable(&failure.text));
        }
        match self.dial().await {
            Ok(sender) => {
                let mut state = self.state.lock();
                state.failure = None;
                if !self.is_closed.load(Relaxed) {
                    state.sender = Some(sender.clone());
                }
                Ok(sender)
            }
            Err(reason) => {
                let pause = failure.map_or(BACKOFF_MIN, |failure| (failure.pause * 2).min(BACKOFF_MAX));
                let Reason { text, nobody_listens } = reason;
                let text = format!("cannot connect to {}: {text}", self.target.name);
                self.state.lock().failure =
                    Some(Failure { text: text.clone(), nobody_listens, retry_at: Instant::now() + pause, pause });
                Err(unavailable(text))
            }
        }
    }

    /// Tries until a connection is up or the time is over: `refused` where nobody listens. Returns the last reason.
    pub async fn connect(&self, timeout: Duration, refused: Duration) -> Result<(), String> {
        let began = Instant::now();
        let deadline = began + timeout;
        loop {
            let reason = match tokio::time::timeout_at(deadline, self.sender()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => status.message,
                Err(_) => format!("cannot connect to {} in {} ms", self.target.name, timeout.as_millis()),
            };
            let (retry_at, is_refused) = match &self.state.lock().failure {
                Some(failure) => (failure.retry_at, failure.nobody_listens),
                None => (Instant::now(), false),
            };
            let end = if is_refused { deadline.min(began + refused) } else { deadline };
            if self.is_closed.load(Relaxed) || Instant::now() >= end || retry_at >= end {
                return Err(reason);
            }
            tokio::time::sleep_until(retry_at).await;
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Status> {
        let uri =
            Uri::builder().scheme("http").authority(self.target.authority.clone()).path_and_query(call.path.clone());
        let uri = uri.build().map_err(|error| Status::new(INTERNAL, format!("cannot make the request: {error}")))?;
        let mut request = Request::new(Full::new(encode(&call.message)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(timeout) = call.timeout {
            if let Ok(value) = HeaderValue::try_from(format_timeout(timeout)) {
                headers.insert("grpc-timeout", value);
            }
        }
        headers.extend(call.metadata.clone());
        Ok(request)
    }

    async fn send(&self, call: &Call, is_sent: &AtomicBool) -> Result<Response<Incoming>, Status> {
        let mut sender = self.sender().await?;
        let request = self.request(call)?;
        is_sent.store(true, Relaxed);
        let mut error = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(request) = error.take_message() else {
            return Err(self.lost(&error.into_error()));
        };
        is_sent.store(false, Relaxed);
        let mut sender = self.sender().await?;
        is_sent.store(true, Relaxed);
        sender.send_request(request).await.map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &hyper::Error) -> Status {
        unavailable(format!("connection to {} was lost: {}", self.target.name, explain(error)))
    }

    /// The whole call: messages go to `sink`; what the server said in the end is returned, or what we say instead.
    async fn exchange(&self, call: &Call, sink: &mut impl Sink, is_sent: &AtomicBool) -> Result<Status, Status> {
        let response = self.send(call, is_sent).await?;
        self.state.lock().heard_at = Some(Instant::now());
        if response.status() != StatusCode::OK {
            return Status::read_from(response.headers()).ok_or_else(|| Status::from_http(response.status()));
        }
        let mut status = Status::read_from(response.headers());
        let mut body = response.into_body();
        let mut decoder = Decoder::new(self.target.reply_bytes_max);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.lost(&error))?;
            match frame.into_data() {
                Ok(data) => {
                    self.state.lock().heard_at = Some(Instant::now());
                    decoder.push(data);
                    while let Some((compressed, message)) = decoder.next().map_err(|error| self.bad_frame(error))? {
                        if compressed {
                            return Err(Status::new(INTERNAL, "compressed message, though none was asked for"));
                        }
                        sink.message(message).await;
                    }
                }
                Err(frame) => {
                    status = frame.into_trailers().ok().and_then(|trailers| Status::read_from(&trailers)).or(status)
                }
            }
        }
        match status {
            Some(status) if status.code == OK && decoder.left() > 0 => Err(Status::new(INTERNAL, "reply was cut off")),
            Some(status) => Ok(status),
            None => Err(Status::new(UNKNOWN, "the server sent no grpc-status")),
        }
    }

    fn bad_frame(&self, error: FrameError) -> Status {
        let limit = self.target.reply_bytes_max;
        match error {
            FrameError::TooLarge(bytes) => {
                Status::new(RESOURCE_EXHAUSTED, format!("received message larger than max ({bytes} vs. {limit})"))
            }
            FrameError::BadFlag(flag) => Status::new(INTERNAL, format!("bad compression flag {flag}")),
        }
    }

    /// Runs a call until it ends, its time is over, `cancelled` is ready or the client is closed.
    pub async fn run(&self, call: &Call, sink: &mut impl Sink, cancelled: impl Future + Send) -> Outcome {
        if self.is_closed.load(Relaxed) {
            return Outcome::closed();
        }
        let (started, is_sent) = (Instant::now(), AtomicBool::new(false));
        let out_of_time = async {
            match call.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let closing = self.closing.notified();
        let ours = tokio::select! {
            biased;
            _ = cancelled => Status::new(CANCELLED, "cancelled by the caller"),
            () = closing => Status::new(CANCELLED, "the client is closed"),
            () = out_of_time => {
                self.distrust(started);
                Status::deadline_exceeded()
            }
            done = self.exchange(call, sink, &is_sent) => match done {
                Ok(status) => return Outcome { status, fate: Fate::Answered },
                Err(status) => status,
            }
        };
        Outcome::ours(ours, is_sent.load(Relaxed))
    }

    /// A call that began at `since` ran out of time. Calls that are under way stay where they are.
    fn distrust(&self, since: Instant) {
        let mut state = self.state.lock();
        if since.elapsed() >= SILENCE_MIN && state.heard_at.is_none_or(|heard_at| heard_at < since) {
            state.sender = None;
        }
    }
}

/// Metadata as headers. Keys that belong to HTTP or gRPC itself, and invalid ones, are refused.
pub fn metadata_headers(metadata: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(metadata.len());
    for (key, value) in metadata {
        let is_reserved =
            key.starts_with("grpc-") || ["te", "content-type", "connection", "host"].contains(&key.as_str());
        let name = HeaderName::from_bytes(key.as_bytes()).ok().filter(|_| !is_reserved);
        match (name, HeaderValue::from_str(value)) {
            (Some(name), Ok(value)) => headers.append(name, value),
            _ => return Err(format!("invalid metadata {key:?}")),
        };
    }
    Ok(headers)
}
