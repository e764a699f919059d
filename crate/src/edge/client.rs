//! `EdgeClient`: blocking gRPC calls for Python.
//!
//! Invariant: a caller drives its own call (see `reactor`), with the interpreter lock released, and looks at signals
//! every 100 ms. A process that was forked has fresh connections.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyConnectionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::oneshot;

use super::address::Address;
use super::channel::{metadata_headers, Call, Channel, Outcome, Sink, Target};
use super::reactor::{self, drive};
use super::status::{Status, INTERNAL, OK};
use super::stream::{EdgeStream, Queue, QueueSink};

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

/// A unary call: its outcome, and its reply if that is OK.
pub async fn call_unary(channel: &Channel, call: &Call) -> (Outcome, Bytes) {
    let mut single = Single::default();
    let mut outcome = channel.run(call, &mut single, std::future::pending::<()>()).await;
    if outcome.status.code == OK && single.count != 1 {
        outcome.status = Status::new(INTERNAL, format!("{} messages in a unary reply", single.count));
    }
    let reply = if outcome.status.code == OK { single.message } else { Bytes::new() };
    (outcome, reply)
}

/// Where a client's calls go. The connection belongs to the process that made it.
pub struct Client {
    target: Arc<Target>,
    channel: Mutex<Option<(u32, Arc<Channel>)>>,
    is_closed: AtomicBool,
}

impl Client {
    pub fn new(address: &str, authority: Option<String>, reply_bytes_max: usize) -> PyResult<Client> {
        let parsed = Address::parse(address).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let authority = authority.unwrap_or_else(|| parsed.authority().to_owned());
        let authority =
            authority.parse().map_err(|_| PyValueError::new_err(format!("invalid authority {authority:?}")))?;
        let target = Arc::new(Target { address: parsed, name: address.to_owned(), authority, reply_bytes_max });
        Ok(Client { target, channel: Mutex::default(), is_closed: AtomicBool::new(false) })
    }

    /// None: the client is closed.
    pub fn channel(&self) -> Option<Arc<Channel>> {
        if self.is_closed.load(Relaxed) {
            return None;
        }
        let mut place = self.channel.lock();
        let pid = std::process::id();
        if let Some((_, channel)) = place.as_ref().filter(|(owner, _)| *owner == pid) {
            return Some(channel.clone());
        }
        let channel = Arc::new(Channel::new(self.target.clone()));
        std::mem::forget(place.replace((pid, channel.clone()))); // its sockets are the parent's
        Some(channel)
    }

    pub fn close(&self) {
        self.is_closed.store(true, Relaxed);
        let held = self.channel.lock().take();
        match held {
            Some((owner, channel)) if owner == std::process::id() => channel.close(),
            inherited => std::mem::forget(inherited),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Streams in use hold the connection; it ends with the last of them.
        let held = self.channel.get_mut().take();
        if held.as_ref().is_some_and(|(owner, _)| *owner != std::process::id()) {
            std::mem::forget(held);
        }
    }
}

pub fn make_call(path: String, message: &[u8], timeout_ms: i64, metadata: &[(String, String)]) -> PyResult<Call> {
    if !path.starts_with('/') {
        return Err(PyValueError::new_err(format!("the path of a method starts with '/': {path:?}")));
    }
    let metadata = metadata_headers(metadata).map_err(PyValueError::new_err)?;
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    Ok(Call { path, message: Bytes::copy_from_slice(message), timeout, metadata })
}

type CallResult<'py> = (u32, String, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u8);

/// A gRPC client connection, reconnecting with back-off. Blocking; thread-safe.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeClient {
    client: Client,
}

#[pymethods]
impl EdgeClient {
    #[new]
    #[pyo3(signature = (address, *, authority = None, reply_bytes_max = 64 << 20))]
    fn new(address: &str, authority: Option<String>, reply_bytes_max: usize) -> PyResult<Self> {
        Ok(EdgeClient { client: Client::new(address, authority, reply_bytes_max)? })
    }

    /// Raises ConnectionError when no connection comes up in time: `refused_ms` where nobody listens, if it is given.
    #[pyo3(signature = (timeout_ms, refused_ms = None))]
    fn connect(&self, py: Python<'_>, timeout_ms: u64, refused_ms: Option<u64>) -> PyResult<()> {
        let Some(channel) = self.client.channel() else {
            return Err(PyConnectionError::new_err("the client is closed"));
        };
        let runtime = reactor::driven()?;
        let refused = Duration::from_millis(refused_ms.unwrap_or(timeout_ms));
        let connecting = channel.connect(Duration::from_millis(timeout_ms), refused);
        drive(py, &runtime, connecting)?.map_err(PyConnectionError::new_err)
    }

    /// Returns (gRPC code, status message, status details, reply message, fate). A negative `timeout_ms` is no
    /// deadline.
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
        let (outcome, reply) = match self.client.channel() {
            None => (Outcome::closed(), Bytes::new()),
            Some(channel) => {
                let runtime = reactor::driven()?;
                drive(py, &runtime, call_unary(&channel, &call))?
            }
        };
        let Outcome { status, fate } = outcome;
        let (details, reply) = (PyBytes::new(py, &status.details), PyBytes::new(py, &reply));
        Ok((status.code, status.message, details, reply, fate as u8))
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
        match self.client.channel() {
            None => queue.end(Outcome::closed()),
            Some(channel) => {
                let target = queue.clone();
                reactor::driven()?.spawn(async move {
                    let mut sink = QueueSink(target.clone());
                    target.end(channel.run(&call, &mut sink, cancelled).await);
                });
            }
        }
        Ok(EdgeStream::new(queue, cancel))
    }

    /// Ends what is under way with CANCELLED, and the connection. Idempotent.
    fn close(&self) {
        self.client.close();
    }
}
