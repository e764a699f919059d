//! `EdgeLoopClient`: gRPC calls for an event loop. Calls go in by the batch, outcomes come out by the batch.
//!
//! Invariant: nothing here calls Python. What has ended waits in the mailbox, and one byte is written into a socket that
//! the loop watches: as soon as `RING_AT` replies wait, else behind all tasks that are ready. Nothing more is written
//! until the mailbox was emptied. So a loop is woken once for what ended together, and when that is much, it works on
//! the first of it while the network reads the rest.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tokio::sync::{oneshot, Notify};
use tokio::task::AbortHandle;

use super::channel::Outcome;
use super::client::{call_unary, make_call, Client};
use super::loop_bell::LoopBell;
use super::reactor;
use super::status::OK;
use super::stream::{EdgeStream, Queue, QueueSink, Reader};

/// Worth a wake-up: a loop takes about 200 microseconds for so many, and a wake-up 20.
const RING_AT: usize = 32;

#[derive(Default, PartialEq)]
enum Bell {
    /// There is nothing to take.
    #[default]
    Silent,
    /// It will ring.
    Told,
    /// The loop knows.
    Rung,
}

#[derive(Default)]
struct News {
    replied: Vec<(u64, Bytes)>,
    failed: Vec<(u64, Outcome)>,
    /// Streams that were empty and have something now.
    streams: Vec<u64>,
    bell: Bell,
}

/// Where outcomes wait for their loop.
pub struct Mailbox {
    news: Mutex<News>,
    /// Of the calls under way. Touched by the network thread and by `cancel`.
    open: Mutex<HashMap<u64, AbortHandle>>,
    told: Notify,
    bell: LoopBell,
}

impl Reader for Mailbox {
    fn put_stream(&self, id: u64) {
        self.put(|news| news.streams.push(id));
    }
}

impl Mailbox {
    fn put(&self, add: impl FnOnce(&mut News)) {
        let mut news = self.news.lock();
        add(&mut news);
        if news.bell == Bell::Silent {
            news.bell = Bell::Told;
            self.told.notify_one();
        }
        if news.replied.len() >= RING_AT {
            self.ring_once(news);
        }
    }

    fn ring_once(&self, mut news: MutexGuard<'_, News>) {
        if news.bell == Bell::Told {
            news.bell = Bell::Rung;
            drop(news);
            self.bell.ring();
        }
    }

    fn put_outcome(&self, id: u64, (outcome, reply): (Outcome, Bytes)) {
        self.open.lock().remove(&id);
        self.put(|news| match outcome.status.code {
            OK => news.replied.push((id, reply)),
            _ => news.failed.push((id, outcome)),
        });
    }

    fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock())
    }

    /// Rings behind all tasks that are ready at the moment: what they put shares the ring.
    async fn ring_when_told(self: Arc<Mailbox>) {
        loop {
            self.told.notified().await;
            self.ring_once(self.news.lock());
        }
    }
}

type Failed<'py> = (u64, u32, String, Bound<'py, PyBytes>, u8);
type Taken<'py> = (Vec<u64>, Vec<Bound<'py, PyBytes>>, Vec<Failed<'py>>, Vec<u64>);

/// A gRPC client connection whose calls never block: see the mailbox.
#[pyclass(frozen, module = "dkv._native")]
pub struct EdgeLoopClient {
    client: Client,
    mailbox: Arc<Mailbox>,
    ringer: AbortHandle,
    owner: u32,
}

#[pymethods]
impl EdgeLoopClient {
    /// `bell` is the descriptor of one end of a socket pair; a duplicate of it is kept.
    #[new]
    #[pyo3(signature = (address, bell, *, authority = None, reply_bytes_max = 64 << 20))]
    fn new(address: &str, bell: i64, authority: Option<String>, reply_bytes_max: usize) -> PyResult<Self> {
        let client = Client::new(address, authority, reply_bytes_max)?;
        let bell = LoopBell::duplicate_of(bell)?;
        let mailbox = Arc::new(Mailbox { news: Mutex::default(), open: Mutex::default(), told: Notify::new(), bell });
        let ringer = reactor::spawn(mailbox.clone().ring_when_told())?;
        Ok(EdgeLoopClient { client, mailbox, ringer, owner: std::process::id() })
    }

    /// Starts calls (id, path, message, timeout in ms, negative for none), in order. Ids are the caller's, each used
    /// once.
    fn send(&self, calls: Vec<(u64, String, PyBackedBytes, i64)>) -> PyResult<()> {
        let mut batch = Vec::with_capacity(calls.len());
        for (id, path, message, timeout_ms) in calls {
            batch.push((id, make_call(path, &message, timeout_ms, &[])?));
        }
        let channel = self.client.channel();
        let mailbox = self.mailbox.clone();
        reactor::submit(Box::new(move || {
            for (id, call) in batch {
                let Some(channel) = channel.clone() else {
                    mailbox.put_outcome(id, (Outcome::closed(), Bytes::new()));
                    continue;
                };
                let target = mailbox.clone();
                let task = tokio::spawn(async move { target.put_outcome(id, call_unary(&channel, &call).await) });
                mailbox.open.lock().insert(id, task.abort_handle());
            }
        }))?;
        Ok(())
    }

    /// Ends calls here and on the wire; their ids will not be heard of again, unless they have ended already.
    fn cancel(&self, ids: Vec<u64>) -> PyResult<()> {
        let mailbox = self.mailbox.clone();
        reactor::submit(Box::new(move || {
            for id in ids {
                if let Some(task) = mailbox.open.lock().remove(&id) {
                    task.abort();
                }
            }
        }))?;
        Ok(())
    }

    /// Starts a call whose reply is a stream, told under `id` whenever there is something to take.
    fn stream(&self, id: u64, path: String, message: &[u8], timeout_ms: i64) -> PyResult<EdgeStream> {
        let call = make_call(path, message, timeout_ms, &[])?;
        let queue = Arc::new(Queue::told_to(self.mailbox.clone(), id));
        let (cancel, cancelled) = oneshot::channel::<()>();
        match self.client.channel() {
            None => queue.end(Outcome::closed()),
            Some(channel) => {
                let target = queue.clone();
                reactor::spawn(async move {
                    let mut sink = QueueSink(target.clone());
                    target.end(channel.run(&call, &mut sink, cancelled).await);
                })?;
            }
        }
        Ok(EdgeStream::new(queue, cancel))
    }

    /// Takes what has ended: (ids, replies) of the calls that went well, side by side; (id, code, message, details,
    /// fate) of the others; ids of streams with something to take.
    fn take<'py>(&self, py: Python<'py>) -> Taken<'py> {
        let News { replied, failed, streams, .. } = self.mailbox.take();
        let (ids, replies) = replied.into_iter().map(|(id, reply)| (id, PyBytes::new(py, &reply))).unzip();
        let failed = failed
            .into_iter()
            .map(|(id, Outcome { status, fate })| {
                (id, status.code, status.message, PyBytes::new(py, &status.details), fate as u8)
            })
            .collect();
        (ids, replies, failed, streams)
    }

    /// Ends what is under way with CANCELLED, and the connection. Idempotent.
    fn close(&self) {
        self.client.close();
        self.ringer.abort();
    }
}

impl Drop for EdgeLoopClient {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.ringer.abort(); // a forked child has not got it
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::edge::channel::Fate;
    use crate::edge::status::Status;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn ended() -> (Outcome, Bytes) {
        (Outcome { status: Status::ok(), fate: Fate::Answered }, Bytes::new())
    }

    /// The rings since the last look.
    fn rings(ear: &mut UnixStream) -> usize {
        ear.read(&mut [0; 64]).unwrap_or(0)
    }

    #[test]
    fn a_loop_is_woken_once_until_it_takes_what_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut ear, bell) = UnixStream::pair().unwrap();
            ear.set_nonblocking(true).unwrap();
            let bell = LoopBell::duplicate_of(bell.as_raw_fd().into()).unwrap();
            let mailbox =
                Arc::new(Mailbox { news: Mutex::default(), open: Mutex::default(), told: Notify::new(), bell });
            tokio::spawn(mailbox.clone().ring_when_told());
            (1..RING_AT as u64).for_each(|id| mailbox.put_outcome(id, ended()));
            assert_eq!(rings(&mut ear), 0); // other tasks may have more
            tokio::task::yield_now().await;
            assert_eq!(rings(&mut ear), 1);
            (0..100).for_each(|id| mailbox.put_outcome(id, ended()));
            tokio::task::yield_now().await;
            assert_eq!(rings(&mut ear), 0);
            assert_eq!(mailbox.take().replied.len(), RING_AT - 1 + 100);
            (0..RING_AT as u64).for_each(|id| mailbox.put_outcome(id, ended()));
            assert_eq!(rings(&mut ear), 1); // so many do not wait for other tasks
            tokio::task::yield_now().await;
            assert_eq!(rings(&mut ear), 0);
        });
    }
}
