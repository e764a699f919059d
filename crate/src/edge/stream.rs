//! `EdgeStream`: the reply stream of a call, between the network, which fills it, and Python, which empties it.
//!
//! Invariant: a stream holds a bounded number of bytes that Python has not taken; beyond it the connection's flow
//! control holds the server back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::{oneshot, Notify};

use super::channel::{Outcome, Sink};
use super::reactor::{self, drive};

const STREAM_BUFFER_BYTES: usize = 1 << 20;
/// What a message costs beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

#[derive(Default)]
struct QueueState {
    messages: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Outcome>,
}

/// Who waits for several streams at once.
pub trait Reader: Send + Sync {
    /// There is something to take from the stream of this number.
    fn put_stream(&self, id: u64);
}

#[derive(Default)]
pub struct Queue {
    state: Mutex<QueueState>,
    arrived: Notify,
    room: Notify,
    /// Who else is told that there is something to take, and under which number.
    reader: Option<(Arc<dyn Reader>, u64)>,
}

fn cost(message: &Bytes) -> usize {
    message.len() + MESSAGE_OVERHEAD_BYTES
}

impl Queue {
    pub fn told_to(reader: Arc<dyn Reader>, id: u64) -> Queue {
        Queue { reader: Some((reader, id)), ..Queue::default() }
    }

    fn tell(&self) {
        self.arrived.notify_one();
        if let Some((reader, id)) = &self.reader {
            reader.put_stream(*id);
        }
    }

    pub fn end(&self, outcome: Outcome) {
        self.state.lock().end = Some(outcome);
        self.tell();
    }

    /// Gives the message back when there is no room.
    fn try_put(&self, message: Bytes) -> Option<Bytes> {
        let mut state = self.state.lock();
        if state.bytes >= STREAM_BUFFER_BYTES {
            return Some(message);
        }
        state.bytes += cost(&message);
        state.messages.push_back(message);
        let is_first = state.messages.len() == 1;
        drop(state);
        if is_first {
            self.tell();
        }
        None
    }

    /// What is there; the outcome once nothing follows. None: nothing yet.
    fn try_take(&self, messages_max: usize) -> Option<(Vec<Bytes>, Option<Outcome>)> {
        let mut state = self.state.lock();
        if state.messages.is_empty() && state.end.is_none() {
            return None;
        }
        let count = state.messages.len().min(messages_max);
        let messages: Vec<Bytes> = state.messages.drain(..count).collect();
        state.bytes -= messages.iter().map(cost).sum::<usize>();
        let end = if state.messages.is_empty() { state.end.clone() } else { None };
        let has_room = state.bytes < STREAM_BUFFER_BYTES / 2;
        drop(state);
        if has_room {
            self.room.notify_one();
        }
        Some((messages, end))
    }

    async fn take(&self, messages_max: usize) -> (Vec<Bytes>, Option<Outcome>) {
        loop {
            if let Some(taken) = self.try_take(messages_max) {
                return taken;
            }
            self.arrived.notified().await;
        }
    }
}

pub struct QueueSink(pub Arc<Queue>);

impl Sink for QueueSink {
    async fn message(&mut self, message: Bytes) {
        let mut left = self.0.try_put(message);
        while let Some(message) = left {
            self.0.room.notified().await;
            left = self.0.try_put(message);
        }
    }
}

/// The reply stream of a call. One reader at a time.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeStream {
    queue: Arc<Queue>,
    /// Dropped to cancel.
    cancel: Mutex<Option<oneshot::Sender<()>>>,
}

impl EdgeStream {
    pub fn new(queue: Arc<Queue>, cancel: oneshot::Sender<()>) -> EdgeStream {
        EdgeStream { queue, cancel: Mutex::new(Some(cancel)) }
    }
}

type End<'py> = Option<(u32, String, Bound<'py, PyBytes>, u8)>;
type Taken<'py> = (Vec<Bound<'py, PyBytes>>, End<'py>);

fn taken<'py>(py: Python<'py>, (messages, end): (Vec<Bytes>, Option<Outcome>)) -> Taken<'py> {
    let messages = messages.iter().map(|message| PyBytes::new(py, message)).collect();
    let end = end
        .map(|Outcome { status, fate }| (status.code, status.message, PyBytes::new(py, &status.details), fate as u8));
    (messages, end)
}

#[pymethods]
impl EdgeStream {
    /// Waits for messages, at most `timeout_ms` (negative: for ever). Returns (messages, None), with none when the time
    /// was over first, or (last messages, (code, message, details, fate)) at the end.
    #[pyo3(signature = (messages_max, timeout_ms = -1))]
    fn next<'py>(&self, py: Python<'py>, messages_max: usize, timeout_ms: i64) -> PyResult<Taken<'py>> {
        let messages_max = messages_max.max(1);
        let runtime = reactor::driven()?;
        let found = match u64::try_from(timeout_ms) {
            Err(_) => drive(py, &runtime, self.queue.take(messages_max))?,
            Ok(ms) => {
                let in_time =
                    async { tokio::time::timeout(Duration::from_millis(ms), self.queue.take(messages_max)).await };
                drive(py, &runtime, in_time)?.unwrap_or_default()
            }
        };
        Ok(taken(py, found))
    }

    /// What is there now, as from `next`; does not wait.
    fn take<'py>(&self, py: Python<'py>, messages_max: usize) -> Taken<'py> {
        taken(py, self.queue.try_take(messages_max.max(1)).unwrap_or_default())
    }

    /// Ends the stream with CANCELLED. What arrived already can still be taken.
    fn cancel(&self) {
        self.cancel.lock().take();
    }
}
