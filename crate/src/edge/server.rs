//! `EdgeServer`: the gRPC server as Python sees it, and the thread that serves its connections.
//!
//! Invariant: one native thread per server owns all its sockets and calls (`Network`). Python reaches it through the
//! outbox alone, and hears from it through the inbox and the bell alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use tokio::runtime::{Handle, Runtime};
use tokio::task::LocalSet;

use super::address::Address;
use super::ended::EndedCalls;
use super::framing::{encode, encode_in_chunks, Packer};
use super::inbox::News;
use super::listening::Listener;
use super::outbox::{Batch, HttpReply, Items as Packed, Order};
use super::serving::serve;
use super::shared::{Method, Settings, Shared};
use super::stats::{Stats, LATENCY_BOUNDS};
use super::status::{Status, CODES, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNKNOWN};
use super::unread::{Unread, SHORT_REPLY_BYTES_MAX, UNREAD_TEXT};
use crate::bell::Bell;

/// Modes of a method: one message and one reply, one message and a stream of replies, two streams.
const UNARY: u8 = 0;
const REPLY_STREAM: u8 = 1;
const CONVERSATION: u8 = 2;

/// How long a poll may leave a signal unhandled.
const SIGNAL_SLICE: Duration = Duration::from_millis(100);

/// A gRPC server (HTTP/2, one native thread) whose calls Python takes and answers in batches.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeServer {
    shared: Arc<Shared>,
    runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn os_error(error: &std::io::Error, address: &str) -> PyErr {
    let text = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("address {address} is in use by another process"),
        std::io::ErrorKind::InvalidInput => return PyValueError::new_err(error.to_string()),
        _ => {
            let why = error.to_string();
            format!("cannot listen on {address}: {}", why.split(" (os error").next().unwrap_or(&why))
        }
    };
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, text)),
        None => PyOSError::new_err(text),
    }
}

impl EdgeServer {
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn bind(&self, py: Python<'_>, text: &str) -> PyResult<(Listener, String)> {
        let bound = py.detach(|| {
            let _context = self.runtime.enter();
            Listener::bind(&Address::parse(text)?)
        });
        bound.map_err(|error: std::io::Error| os_error(&error, text))
    }

    /// Sleeps until there is news, the bell rings or the time is over. Signals are handled every 100 ms.
    fn wait(&self, py: Python<'_>, timeout_ms: u64) -> PyResult<()> {
        let deadline = Instant::now().checked_add(Duration::from_millis(timeout_ms));
        loop {
            if let Some(hub) = self.shared.hub.get() {
                hub.turn();
            }
            let has_news = !self.shared.inbox.lock().is_empty() || !self.shared.taker.lock().is_empty();
            let left = deadline.map_or(SIGNAL_SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if has_news || left.is_zero() {
                self.shared.bell.wait(Duration::ZERO); // what it rang for is looked at after this
                self.shared.bell.take_turn_asked();
                return Ok(());
            }
            if py.detach(|| self.wait_for_news(Instant::now() + left.min(SIGNAL_SLICE))) {
                return Ok(());
            }
            py.check_signals()?;
        }
    }

    /// Runs errands meanwhile. Returns whether there is something for Python.
    fn wait_for_news(&self, until: Instant) -> bool {
        let bell = &self.shared.bell;
        let Some(errands) = self.shared.errands.get() else {
            return bell.wait(until.saturating_duration_since(Instant::now()));
        };
        loop {
            if errands.run(self.shared.open_calls.load(Relaxed) <= 1) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            bell.wait(errands.due().map_or(left, |due| due.min(left)));
            if bell.take_turn_asked() {
                return true;
            }
            if Instant::now() >= until {
                return false; // also when there is always something to run: Python has time to tell, and signals to see
            }
        }
    }

    fn too_large(&self, bytes: usize) -> Status {
        let limit = self.shared.settings.reply_bytes_max;
        Status::new(RESOURCE_EXHAUSTED, format!("trying to send message larger than max ({bytes} vs. {limit})"))
    }
}

type CallBatch<'py> = (usize, Bound<'py, PyList>, Bound<'py, PyList>);
type HttpRequest<'py> = (u64, String, String, Bound<'py, PyBytes>);
type Polled<'py> = (Vec<CallBatch<'py>>, Vec<u64>, Vec<(u64, usize)>, Vec<HttpRequest<'py>>);
type Items<'py> = Vec<(u64, Bound<'py, PyList>)>;
type Finishes<'py> = Vec<(u64, u32, String, Bound<'py, PyBytes>, i64)>;
type HttpReplies<'py> = Vec<(u64, u16, String, Bound<'py, PyBytes>, bool)>;
type EndedCall<'py> = (u64, Bound<'py, PyString>, u32, f64, f64, f64, usize, usize, Bound<'py, PyString>);

#[pymethods]
impl EdgeServer {
    #[new]
    #[pyo3(signature = (
        bell, methods, *,
        request_bytes_max = (4 << 20) + (64 << 10),
        reply_bytes_max = (4 << 20) + (64 << 10),
        inbox_bytes_max = 64 << 20,
        inbox_bytes_max_per_connection = 16 << 20,
        inbox_calls_max = 65_536,
        streams_max_per_connection = 4096,
        stream_buffer_bytes = 1 << 20,
        unread_bytes_max = 512 << 20,
        unread_bytes_max_per_connection = 256 << 20,
        unread_timeout_ms = 60_000,
        header_bytes_max = 16 << 10,
        connections_max = 4096,
        keepalive_interval_ms = 20_000,
        keepalive_timeout_ms = 20_000,
        overload_retry_delay_ms = 100,
        request_timeout_ms = 60_000,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        bell: Bell,
        methods: Vec<(String, u8)>,
        request_bytes_max: usize,
        reply_bytes_max: usize,
        inbox_bytes_max: usize,
        inbox_bytes_max_per_connection: usize,
        inbox_calls_max: usize,
        streams_max_per_connection: u32,
        stream_buffer_bytes: usize,
        unread_bytes_max: usize,
        unread_bytes_max_per_connection: usize,
        unread_timeout_ms: u64,
        header_bytes_max: u32,
        connections_max: usize,
        keepalive_interval_ms: u64,
        keepalive_timeout_ms: u64,
        overload_retry_delay_ms: i64,
        request_timeout_ms: u64,
    ) -> PyResult<Self> {
        let settings = Settings {
            request_bytes_max: request_bytes_max.min(u32::MAX as usize),
            reply_bytes_max: reply_bytes_max.min(u32::MAX as usize),
            inbox_bytes_max,
            inbox_bytes_max_per_connection,
            inbox_calls_max,
            streams_max_per_connection,
            stream_buffer_bytes,
            unread_bytes_max,
            unread_bytes_max_per_connection,
            unread_timeout_ms: unread_timeout_ms.max(1),
            header_bytes_max,
            connections_max,
            keepalive_interval_ms,
            keepalive_timeout_ms,
            overload_retry_delay_ms,
            request_timeout_ms,
        };
        let numbers: HashMap<String, usize> = methods.iter().map(|(path, _)| path.clone()).zip(0..).collect();
        if numbers.len() != methods.len() {
            return Err(PyValueError::new_err("two methods have the same path"));
        }
        let methods = methods.into_iter().map(|(path, mode)| match mode {
            UNARY..=CONVERSATION => {
                Ok(Method { path, is_stream: mode >= REPLY_STREAM, is_conversation: mode == CONVERSATION })
            }
            _ => Err(PyValueError::new_err(format!("method {path} has mode {mode}, which is none of 0, 1, 2"))),
        });
        let methods = methods.collect::<PyResult<Vec<Method>>>()?;
        let shared = Arc::new(Shared {
            bell,
            settings,
            numbers,
            load: Arc::default(),
            inbox: Mutex::default(),
            taker: Mutex::default(),
            outbox: super::outbox::Outbox::default(),
            stats: Mutex::new(Stats::new(methods.len())),
            methods,
            connections: AtomicUsize::new(0),
            open_calls: AtomicUsize::new(0),
            open_streams: AtomicUsize::new(0),
            ended: EndedCalls::default(),
            hub: OnceLock::new(),
            errands: OnceLock::new(),
        });
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let on_thread = shared.clone();
        let thread = std::thread::Builder::new().name("dkv-edge".into()).spawn(move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, serve(on_thread));
            drop(tasks);
            runtime.shutdown_background();
        })?;
        Ok(EdgeServer { shared, runtime: handle, thread: Mutex::new(Some(thread)) })
    }

    /// Serves gRPC on `host:port` or `unix:/path`; returns the bound address. OSError if it is in use.
    fn listen(&self, py: Python<'_>, address: &str) -> PyResult<String> {
        let (listener, bound) = self.bind(py, address)?;
        self.shared.outbox.put(Order::Listen(listener));
        Ok(bound)
    }

    /// Serves HTTP/1.1 on `host:port`; returns the bound address. OSError if it is in use.
    fn listen_http(&self, py: Python<'_>, address: &str) -> PyResult<String> {
        let (listener, bound) = self.bind(py, address)?;
        self.shared.outbox.put(Order::ListenHttp(listener));
        Ok(bound)
    }

    /// Waits for the bell (unless news is at hand) and takes what arrived: (calls, closed, progress, http).
    fn poll<'py>(&self, py: Python<'py>, timeout_ms: u64, calls_max: usize) -> PyResult<Polled<'py>> {
        self.wait(py, timeout_ms)?;
        let mut taker = self.shared.taker.lock();
        let mut news = std::mem::take::<News>(&mut self.shared.inbox.lock());
        let (calls, closed) = taker.take(&mut news, calls_max, Instant::now());
        drop(taker);
        let mut groups: Vec<(Vec<u64>, Vec<Bound<'py, PyBytes>>)> = vec![Default::default(); self.shared.methods.len()];
        for call in &calls {
            let (ids, messages) = &mut groups[call.method];
            ids.push(call.id);
            messages.push(PyBytes::new(py, &call.message));
        }
        let mut batches = Vec::new();
        for (method, (ids, messages)) in groups.into_iter().enumerate() {
            if !ids.is_empty() {
                batches.push((method, PyList::new(py, ids)?, PyList::new(py, messages)?));
            }
        }
        let http = news.http.into_iter();
        let http = http.map(|call| (call.id, call.method, call.path, PyBytes::new(py, &call.body))).collect();
        Ok((batches, closed, news.progress, http))
    }

    /// Answers, in one crossing. Unknown ids are callers who left: ignored.
    fn emit(
        &self,
        call_ids: Vec<u64>,
        messages: Vec<Bound<'_, PyBytes>>,
        items: Items<'_>,
        finished: Finishes<'_>,
        http: HttpReplies<'_>,
    ) -> PyResult<()> {
        if call_ids.len() != messages.len() {
            return Err(PyValueError::new_err("call_ids and messages differ in length"));
        }
        let Settings { reply_bytes_max: limit, unread_bytes_max, .. } = self.shared.settings;
        let mut batch = Batch::default();
        batch.replies.reserve(messages.len());
        for (id, message) in call_ids.into_iter().zip(&messages) {
            let message = message.as_bytes();
            if message.len() <= SHORT_REPLY_BYTES_MAX.min(limit) {
                batch.replies.push((id, encode(message)));
            } else if message.len() > limit {
                batch.finished.push((id, self.too_large(message.len())));
            } else if let Some(unread) = Unread::new(&self.shared.load, message.len(), unread_bytes_max) {
                batch.long_replies.push((id, encode_in_chunks(message), unread));
            } else {
                batch.finished.push((id, self.shared.overloaded(UNREAD_TEXT)));
            }
        }
        for (id, messages) in &items {
            let mut packer = Packer::default();
            for message in messages {
                let message = message.cast::<PyBytes>()?.as_bytes();
                if message.len() <= limit {
                    packer.push(message);
                } else {
                    batch.failed.push((*id, self.too_large(message.len())));
                    break;
                }
            }
            packer.flush();
            let Packer { chunks, bytes, messages, .. } = packer;
            batch.items.push(Packed { id: *id, chunks, bytes, messages });
        }
        for (id, code, message, details, retry_delay_ms) in finished {
            let code = if (code as usize) < CODES { code } else { UNKNOWN };
            let details = bytes::Bytes::copy_from_slice(details.as_bytes());
            batch.finished.push((id, Status { code, message, details, retry_delay_ms }));
        }
        for (id, status, content_type, body, more) in http {
            let body = bytes::Bytes::copy_from_slice(body.as_bytes());
            batch.http.push(HttpReply { id, status, content_type, body, more });
        }
        self.shared.outbox.put(Order::Emit(batch));
        Ok(())
    }

    /// Counters for /metrics.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let shared = &self.shared;
        let (methods, unknown, overloaded) = {
            let stats = shared.stats.lock();
            (stats.methods.clone(), stats.unknown, stats.overloaded)
        };
        let calls = PyDict::new(py);
        let latency = PyDict::new(py);
        for (method, stats) in shared.methods.iter().zip(&methods) {
            for (code, count) in stats.codes.iter().enumerate().filter(|(_, count)| **count > 0) {
                calls.set_item((&method.path, code), count)?;
            }
            latency.set_item(&method.path, (stats.buckets.to_vec(), stats.seconds))?;
        }
        if unknown > 0 {
            calls.set_item(("unknown", UNIMPLEMENTED), unknown)?;
        }
        let all = PyDict::new(py);
        all.set_item("calls", calls)?;
        all.set_item("latency", latency)?;
        all.set_item("latency_bounds", LATENCY_BOUNDS.to_vec())?;
        all.set_item("connections", shared.connections.load(Relaxed))?;
        all.set_item("inbox_calls", shared.load.calls.load(Relaxed))?;
        all.set_item("inbox_bytes", shared.load.bytes.load(Relaxed))?;
        all.set_item("unread_bytes", shared.load.unread.load(Relaxed))?;
        all.set_item("overloaded", overloaded)?;
        all.set_item("streams", shared.open_streams.load(Relaxed))?;
        Ok(all)
    }

    /// Keeps every call that ends from now on and took at least `micros_min`; None: no call.
    #[pyo3(signature = (micros_min))]
    fn keep_ended_calls(&self, micros_min: Option<u64>) {
        self.shared.ended.keep(micros_min);
    }

    /// The calls kept since the last time, and how many there was no room for.
    fn take_ended_calls<'py>(&self, py: Python<'py>) -> (Vec<EndedCall<'py>>, u64) {
        let (ended, lost) = self.shared.ended.take();
        let paths: Vec<_> = match ended.is_empty() {
            true => vec![],
            false => self.shared.methods.iter().map(|method| PyString::new(py, &method.path)).collect(),
        };
        let ended = ended.into_iter().map(|call| {
            let peer = PyString::new(py, &call.peer);
            let seconds = (call.received.as_secs_f64(), call.served.as_secs_f64(), call.sent.as_secs_f64());
            let (path, bytes) = (paths[call.method].clone(), (call.request_bytes, call.reply_bytes));
            (call.unix_ms, path, call.code, seconds.0, seconds.1, seconds.2, bytes.0, bytes.1, peer)
        });
        (ended.collect(), lost)
    }

    /// Closes the listeners and sends GOAWAY; open calls go on.
    fn stop_accepting(&self) {
        self.shared.outbox.put(Order::StopAccepting);
    }

    fn open_calls(&self) -> usize {
        self.shared.open_calls.load(Relaxed)
    }

    /// Drops every connection and ends the thread. Idempotent.
    fn close(&self, py: Python<'_>) {
        self.shared.outbox.put(Order::Close);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = py.detach(|| thread.join()); // a panic has ended the process already
        }
    }
}

impl Drop for EdgeServer {
    fn drop(&mut self) {
        self.shared.outbox.put(Order::Close);
    }
}
