//! The network half of `EdgeClient`: one HTTP/2 connection, made when needed and made again after it broke.
//!
//! Invariant: between two attempts that failed lies a pause that doubles up to `BACKOFF_MAX`; calls made during the
//! pause fail at once with UNAVAILABLE and the reason of the last failure. A request is sent again only if it provably
//! never left this process.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::address::Address;
use super::executor::LocalExecutor;
use super::framing::{encode, format_timeout, Decoder, FrameError};
use super::status::{Status, CANCELLED, INTERNAL, OK, RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const AGENT: &str = concat!("dkv/", env!("CARGO_PKG_VERSION"));

pub struct Target {
    pub address: Address,
    /// The address as written, for error texts.
    pub name: String,
    pub authority: String,
    pub reply_bytes_max: usize,
}

pub struct Call {
    pub path: String,
    pub message: Bytes,
    pub timeout: Option<Duration>,
    pub metadata: HeaderMap,
}

#[derive(Clone)]
struct Failure {
    text: String,
    retry_at: Instant,
    pause: Duration,
}

pub struct Channel {
    target: Arc<Target>,
    sender: RefCell<Option<SendRequest<Full<Bytes>>>>,
    failure: RefCell<Option<Failure>>,
    connecting: tokio::sync::Mutex<()>,
    is_closed: Cell<bool>,
    closing: Notify,
}

/// Where the messages of a call go. The future that `message` returns is pending while there is no room.
pub trait Sink {
    async fn message(&mut self, message: Bytes);
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
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await; // whoever waits on it is told by hyper
    });
    Ok(sender)
}

impl Channel {
    pub fn new(target: Arc<Target>) -> Channel {
        Channel {
            target,
            sender: RefCell::default(),
            failure: RefCell::default(),
            connecting: tokio::sync::Mutex::default(),
            is_closed: Cell::new(false),
            closing: Notify::new(),
        }
    }

    pub fn close(&self) {
        self.is_closed.set(true);
        self.sender.take();
        self.closing.notify_waiters();
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let attempt = async {
            match &self.target.address {
                Address::Tcp(host_port) => {
                    let stream = tokio::net::TcpStream::connect(host_port).await.map_err(|error| explain(&error))?;
                    let _ = stream.set_nodelay(true); // slower without, still right
                    handshake(stream).await.map_err(|error| explain(&error))
                }
                Address::Unix(path) => {
                    let stream = tokio::net::UnixStream::connect(path).await.map_err(|error| explain(&error))?;
                    handshake(stream).await.map_err(|error| explain(&error))
                }
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result,
            Err(_) => Err("timed out".to_owned()),
        }
    }

    fn live(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.sender.borrow().clone().filter(|sender| !sender.is_closed())
    }

    /// A live connection; at most one attempt to make one.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let _turn = self.connecting.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let failure = self.failure.borrow().clone();
        if let Some(failure) = failure.as_ref().filter(|failure| Instant::now() < failure.retry_at) {
            return Err(unavailable(&failure.text));
        }
        match self.dial().await {
            Ok(sender) => {
                self.failure.take();
                if !self.is_closed.get() {
                    *self.sender.borrow_mut() = Some(sender.clone());
                }
                Ok(sender)
            }
            Err(reason) => {
                let pause = failure.map_or(BACKOFF_MIN, |failure| (failure.pause * 2).min(BACKOFF_MAX));
                let text = format!("cannot connect to {}: {reason}", self.target.name);
                *self.failure.borrow_mut() =
                    Some(Failure { text: text.clone(), retry_at: Instant::now() + pause, pause });
                Err(unavailable(text))
            }
        }
    }

    /// Tries until a connection is up or the time is over. Returns the last reason.
    pub async fn connect(&self, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        loop {
            let reason = match tokio::time::timeout_at(deadline, self.sender()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => status.message,
                Err(_) => format!("cannot connect to {} in {} ms", self.target.name, timeout.as_millis()),
            };
            let retry_at = self.failure.borrow().as_ref().map_or_else(Instant::now, |failure| failure.retry_at);
            if self.is_closed.get() || Instant::now() >= deadline || retry_at >= deadline {
                return Err(reason);
            }
            tokio::time::sleep_until(retry_at).await;
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, Status> {
        let uri = format!("http://{}{}", self.target.authority, call.path);
        let built = Request::builder()
            .method("POST")
            .uri(uri)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .body(Full::new(encode(&call.message)));
        let mut request = built.map_err(|error| Status::new(INTERNAL, format!("cannot make the request: {error}")))?;
        if let Some(timeout) = call.timeout {
            if let Ok(value) = HeaderValue::try_from(format_timeout(timeout)) {
                request.headers_mut().insert("grpc-timeout", value);
            }
        }
        request.headers_mut().extend(call.metadata.clone());
        Ok(request)
    }

    async fn send(&self, call: &Call) -> Result<Response<Incoming>, Status> {
        let mut sender = self.sender().await?;
        let error = match sender.try_send_request(self.request(call)?).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let mut error = error;
        if let Some(request) = error.take_message() {
            let mut sender = self.sender().await?;
            return sender.send_request(request).await.map_err(|error| self.lost(&error));
        }
        Err(self.lost(&error.into_error()))
    }

    fn lost(&self, error: &hyper::Error) -> Status {
        unavailable(format!("connection to {} was lost: {}", self.target.name, explain(error)))
    }

    /// The whole call: messages go to `sink`, the outcome is returned.
    async fn exchange(&self, call: &Call, sink: &mut impl Sink) -> Result<Status, Status> {
        let response = self.send(call).await?;
        if response.status() != StatusCode::OK {
            return Err(Status::read_from(response.headers()).unwrap_or_else(|| Status::from_http(response.status())));
        }
        let mut status = Status::read_from(response.headers());
        let mut body = response.into_body();
        let mut decoder = Decoder::new(self.target.reply_bytes_max);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.lost(&error))?;
            match frame.into_data() {
                Ok(data) => {
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
    pub async fn run(&self, call: &Call, sink: &mut impl Sink, cancelled: impl Future) -> Status {
        if self.is_closed.get() {
            return Status::new(CANCELLED, "the client is closed");
        }
        let mut timer: Pin<Box<dyn Future<Output = ()>>> = match call.timeout {
            Some(timeout) => Box::pin(tokio::time::sleep(timeout)),
            None => Box::pin(std::future::pending()),
        };
        let closing = self.closing.notified();
        tokio::select! {
            biased;
            _ = cancelled => Status::new(CANCELLED, "cancelled by the caller"),
            () = closing => Status::new(CANCELLED, "the client is closed"),
            () = timer.as_mut() => Status::deadline_exceeded(),
            done = self.exchange(call, sink) => done.unwrap_or_else(|status| status),
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
