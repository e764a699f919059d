//! `EdgeClient` and `EdgeStream`: blocking gRPC calls for Python.
//!
//! Invariant: all clients of a process share one native thread, which owns their connections. A process that was
//! forked starts its own thread, so its clients have fresh connections. Waits release the interpreter lock and look at
//! signals every 100 ms.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::{PyConnectionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::{mpsc, oneshot, Notify};

use super::address::Address;
use super::channel::{metadata_headers, Call, Channel, Sink, Target};
use super::status::{Status, CANCELLED, INTERNAL, OK};

const SIGNAL_SLICE: Duration = Duration::from_millis(100);
/// What a stream may hold that Python has not taken; beyond it the connection's flow control holds the server back.
const STREAM_BUFFER_BYTES: usize = 1 << 20;
/// What a message costs beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// The connections of this process, by client.
#[derive(Default)]
struct Hub {
    channels: RefCell<HashMap<u64, Rc<Channel>>>,
}

impl Hub {
    fn channel(&self, client: u64, target: &Arc<Target>) -> Rc<Channel> {
        let mut channels = self.channels.borrow_mut();
        channels.entry(client).or_insert_with(|| Rc::new(Channel::new(target.clone()))).clone()
    }
}

type Job = Box<dyn FnOnce(&Hub) + Send>;

/// The thread's queue, and the process it belongs to.
static THREAD: Mutex<Option<(u32, mpsc::UnboundedSender<Job>)>> = Mutex::new(None);
static CLIENTS_SEEN: AtomicU64 = AtomicU64::new(0);

fn start_thread() -> std::io::Result<mpsc::UnboundedSender<Job>> {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("dkv-client".into()).spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let hub = Hub::default();
            while let Some(job) = jobs.recv().await {
                job(&hub);
            }
        });
    })?;
    Ok(sender)
}

fn submit(job: Job) -> std::io::Result<()> {
    let mut thread = THREAD.lock();
    let pid = std::process::id();
    if thread.as_ref().is_none_or(|(owner, _)| *owner != pid) {
        let inherited = thread.replace((pid, start_thread()?));
        std::mem::forget(inherited); // its other end is a thread that exists in the parent only
    }
    if let Some((_, sender)) = thread.as_ref() {
        let _ = sender.send(job); // the thread ends with the process
    }
    Ok(())
}

/// A value that one thread waits for, and its arrival.
struct Slot<T> {
    value: Mutex<Option<T>>,
    arrived: Condvar,
}

impl<T> Slot<T> {
    fn new() -> Arc<Slot<T>> {
        Arc::new(Slot { value: Mutex::new(None), arrived: Condvar::new() })
    }

    fn put(&self, value: T) {
        *self.value.lock() = Some(value);
        self.arrived.notify_one();
    }

    fn take(&self, timeout: Duration) -> Option<T> {
        let mut value = self.value.lock();
        if value.is_none() {
            self.arrived.wait_for(&mut value, timeout);
        }
        value.take()
    }
}

/// Waits with the interpreter lock released, and lets Python handle signals.
fn wait_for<T: Send>(py: Python<'_>, take: impl Fn(Duration) -> Option<T> + Sync) -> PyResult<T> {
    loop {
        if let Some(value) = py.detach(|| take(SIGNAL_SLICE)) {
            return Ok(value);
        }
        py.check_signals()?;
    }
}

/// The one message of a unary reply.
#[derive(Default)]
struct Single {
    message: Bytes,
    count: usize,
}

impl Sink for Single {
    async fn message(&mut self, message: Bytes) {
        self.message = message;
        self.count += 1;
    }
}

fn timeout(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// A gRPC client connection, reconnecting with back-off. Blocking; thread-safe.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeClient {
    id: u64,
    target: Arc<Target>,
    is_closed: AtomicBool,
}

impl EdgeClient {
    /// Runs `work` on the client's connection, on the network thread.
    fn spawn<F: std::future::Future<Output = ()> + 'static>(
        &self,
        work: impl FnOnce(Rc<Channel>) -> F + Send + 'static,
    ) -> PyResult<()> {
        let (id, target) = (self.id, self.target.clone());
        submit(Box::new(move |hub| {
            tokio::task::spawn_local(work(hub.channel(id, &target)));
        }))?;
        Ok(())
    }

    fn check_open(&self) -> Result<(), Status> {
        if self.is_closed.load(Relaxed) {
            return Err(Status::new(CANCELLED, "the client is closed"));
        }
        Ok(())
    }
}

type CallResult<'py> = (u32, String, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn make_call(path: String, message: &[u8], timeout_ms: i64, metadata: &[(String, String)]) -> PyResult<Call> {
    if !path.starts_with('/') {
        return Err(PyValueError::new_err(format!("the path of a method starts with '/': {path:?}")));
    }
    let metadata = metadata_headers(metadata).map_err(PyValueError::new_err)?;
    Ok(Call { path, message: Bytes::copy_from_slice(message), timeout: timeout(timeout_ms), metadata })
}

#[pymethods]
impl EdgeClient {
    #[new]
    #[pyo3(signature = (address, *, authority = None, reply_bytes_max = 64 << 20))]
    fn new(address: &str, authority: Option<String>, reply_bytes_max: usize) -> PyResult<Self> {
        let parsed = Address::parse(address).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let authority = authority.unwrap_or_else(|| match &parsed {
            Address::Tcp(host_port) => host_port.clone(),
            Address::Unix(_) => "localhost".to_owned(),
        });
        if authority.parse::<http::uri::Authority>().is_err() {
            return Err(PyValueError::new_err(format!("invalid authority {authority:?}")));
        }
        let target = Arc::new(Target { address: parsed, name: address.to_owned(), authority, reply_bytes_max });
        Ok(EdgeClient { id: CLIENTS_SEEN.fetch_add(1, Relaxed), target, is_closed: AtomicBool::new(false) })
    }

    /// Raises ConnectionError when no connection comes up in time.
    fn connect(&self, py: Python<'_>, timeout_ms: u64) -> PyResult<()> {
        self.check_open().map_err(|status| PyConnectionError::new_err(status.message))?;
        let slot = Slot::new();
        let (cancel, cancelled) = oneshot::channel::<()>();
        let answer = slot.clone();
        self.spawn(move |channel| async move {
            tokio::select! {
                result = channel.connect(Duration::from_millis(timeout_ms)) => answer.put(result),
                _ = cancelled => {}
            }
        })?;
        let result = wait_for(py, |slice| slot.take(slice));
        drop(cancel);
        result?.map_err(PyConnectionError::new_err)
    }

    /// Returns (gRPC code, status message, status details, reply message). A negative `timeout_ms` is no deadline.
    #[pyo3(signature = (path, message, timeout_ms, metadata = Vec::new()))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        path: String,
        message: &[u8],
        timeout_ms: i64,
        metadata: Vec<(String, String)>,
    ) -> PyResult<CallResult<'py>> {
        let call = make_call(path, message, timeout_ms, &metadata)?;
        let (status, reply) = match self.check_open() {
            Err(status) => (status, Bytes::new()),
            Ok(()) => {
                let slot = Slot::new();
                let (cancel, cancelled) = oneshot::channel::<()>();
                let answer = slot.clone();
                self.spawn(move |channel| async move {
                    let mut single = Single::default();
                    let mut status = channel.run(&call, &mut single, cancelled).await;
                    if status.code == OK && single.count != 1 {
                        status = Status::new(INTERNAL, format!("{} messages in a unary reply", single.count));
                    }
                    let message = if status.code == OK { single.message } else { Bytes::new() };
                    answer.put((status, message));
                })?;
                let result = wait_for(py, |slice| slot.take(slice));
                drop(cancel);
                result?
            }
        };
        Ok((status.code, status.message, PyBytes::new(py, &status.details), PyBytes::new(py, &reply)))
    }

    /// Starts a call whose reply is a stream. A negative `timeout_ms` is no deadline.
    #[pyo3(signature = (path, message, timeout_ms, metadata = Vec::new()))]
    fn stream(
        &self,
        path: String,
        message: &[u8],
        timeout_ms: i64,
        metadata: Vec<(String, String)>,
    ) -> PyResult<EdgeStream> {
        let call = make_call(path, message, timeout_ms, &metadata)?;
        let queue = Arc::new(Queue::default());
        let (cancel, cancelled) = oneshot::channel::<()>();
        match self.check_open() {
            Err(status) => queue.end(status),
            Ok(()) => {
                let mut target = QueueSink(queue.clone());
                self.spawn(move |channel| async move {
                    let status = channel.run(&call, &mut target, cancelled).await;
                    target.0.end(status);
                })?;
            }
        }
        Ok(EdgeStream { queue, cancel: Mutex::new(Some(cancel)) })
    }

    /// Ends what is under way with CANCELLED, and the connection.
    fn close(&self) -> PyResult<()> {
        if self.is_closed.swap(true, Relaxed) {
            return Ok(());
        }
        let id = self.id;
        submit(Box::new(move |hub| {
            if let Some(channel) = hub.channels.borrow_mut().remove(&id) {
                channel.close();
            }
        }))?;
        Ok(())
    }
}

impl Drop for EdgeClient {
    fn drop(&mut self) {
        let id = self.id;
        if !self.is_closed.load(Relaxed) {
            // Streams in use hold the connection; it ends with the last of them.
            let _ = submit(Box::new(move |hub| drop(hub.channels.borrow_mut().remove(&id))));
        }
    }
}

#[derive(Default)]
struct QueueState {
    messages: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Status>,
}

/// Between the network thread, which fills it, and Python, which empties it.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    room: Notify,
}

impl Queue {
    fn end(&self, status: Status) {
        self.state.lock().end = Some(status);
        self.arrived.notify_all();
    }

    /// What is there, or None when the time is over before anything is.
    fn take(&self, messages_max: usize, timeout: Duration) -> Option<(Vec<Bytes>, Option<Status>)> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.messages.is_empty() && state.end.is_none() {
            if self.arrived.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
        let count = state.messages.len().min(messages_max);
        let messages: Vec<Bytes> = state.messages.drain(..count).collect();
        state.bytes -= messages.iter().map(cost).sum::<usize>();
        let end = if state.messages.is_empty() { state.end.clone() } else { None };
        let wake = state.bytes < STREAM_BUFFER_BYTES / 2;
        drop(state);
        if wake {
            self.room.notify_one();
        }
        Some((messages, end))
    }
}

fn cost(message: &Bytes) -> usize {
    message.len() + MESSAGE_OVERHEAD_BYTES
}

struct QueueSink(Arc<Queue>);

impl Queue {
    /// Gives the message back when there is no room.
    fn try_put(&self, message: Bytes) -> Option<Bytes> {
        let mut state = self.state.lock();
        if state.bytes >= STREAM_BUFFER_BYTES {
            return Some(message);
        }
        state.bytes += cost(&message);
        state.messages.push_back(message);
        if state.messages.len() == 1 {
            self.arrived.notify_one();
        }
        None
    }
}

impl Sink for QueueSink {
    async fn message(&mut self, message: Bytes) {
        let mut left = self.0.try_put(message);
        while let Some(message) = left {
            self.0.room.notified().await;
            left = self.0.try_put(message);
        }
    }
}

/// The reply stream of a call.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeStream {
    queue: Arc<Queue>,
    /// Dropped to cancel.
    cancel: Mutex<Option<oneshot::Sender<()>>>,
}

type End<'py> = Option<(u32, String, Bound<'py, PyBytes>)>;

#[pymethods]
impl EdgeStream {
    /// Waits for messages. Returns (messages, None) or (last messages, (code, message, details)) at the end.
    fn next<'py>(&self, py: Python<'py>, messages_max: usize) -> PyResult<(Vec<Bound<'py, PyBytes>>, End<'py>)> {
        let messages_max = messages_max.max(1);
        let (messages, end) = wait_for(py, |slice| self.queue.take(messages_max, slice))?;
        let messages = messages.iter().map(|message| PyBytes::new(py, message)).collect();
        let end = end.map(|status| (status.code, status.message, PyBytes::new(py, &status.details)));
        Ok((messages, end))
    }

    /// Ends the stream with CANCELLED. What arrived already can still be taken.
    fn cancel(&self) {
        self.cancel.lock().take();
    }
}
