//! Where the connections of clients live: one runtime that blocking callers drive, and one with a thread of its own for
//! callers that must not block.
//!
//! A blocking call is not handed to another thread: its caller writes, waits and reads. That saves two wake-ups, a
//! quarter of the call on loopback. Of several callers one drives for all; tokio hands the role on. While nobody calls,
//! an idle thread looks in now and then, so that pings are answered and lost connections noticed.
//!
//! Invariant: nothing is inherited. A forked child starts afresh and never touches its parent's sockets, not even to
//! close them.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub type Job = Box<dyn FnOnce() + Send>;

/// Between two looks at connections that nobody drives: well below any keep-alive time-out.
const IDLE_ROUND: Duration = Duration::from_millis(250);
/// Long enough to read what has arrived, short enough for a call that begins meanwhile.
const IDLE_LOOK: Duration = Duration::from_millis(1);

/// How long a wait may leave a signal unhandled.
const SIGNAL_SLICE: Duration = Duration::from_millis(100);

/// Counts blocking waits, so that the idle thread keeps out of the way of a busy client.
static WAITS: AtomicU64 = AtomicU64::new(0);
static DRIVEN: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);
static THREAD: Mutex<Option<(u32, Thread)>> = Mutex::new(None);

/// What `start` makes, once in the life of a process.
fn of_process<T: Clone>(
    place: &Mutex<Option<(u32, T)>>,
    start: impl FnOnce() -> std::io::Result<T>,
) -> std::io::Result<T> {
    let mut place = place.lock();
    let pid = std::process::id();
    if let Some((_, value)) = place.as_ref().filter(|(owner, _)| *owner == pid) {
        return Ok(value.clone());
    }
    let value = start()?;
    std::mem::forget(place.replace((pid, value.clone()))); // its threads exist in the parent only
    Ok(value)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The runtime of blocking clients: `block_on` drives it.
pub fn driven() -> std::io::Result<Arc<Runtime>> {
    WAITS.fetch_add(1, Relaxed);
    of_process(&DRIVEN, || {
        let driven = Arc::new(runtime()?);
        let idle = driven.clone();
        std::thread::Builder::new().name("dkv-idle".into()).spawn(move || {
            let mut seen = 0;
            loop {
                std::thread::sleep(IDLE_ROUND);
                let waits = WAITS.load(Relaxed);
                if std::mem::replace(&mut seen, waits) == waits {
                    idle.block_on(async { tokio::time::sleep(IDLE_LOOK).await });
                }
            }
        })?;
        Ok(driven)
    })
}

/// Drives `work` to its end with the interpreter lock released, and lets Python handle signals. An exception of a
/// handler drops `work`, which cancels it.
pub fn drive<T: Send>(py: Python<'_>, runtime: &Runtime, work: impl Future<Output = T> + Send) -> PyResult<T> {
    let mut work = pin!(work);
    loop {
        let slice = async { tokio::time::timeout(SIGNAL_SLICE, work.as_mut()).await };
        match py.detach(|| runtime.block_on(slice)) {
            Ok(value) => return Ok(value),
            Err(_) => py.check_signals()?,
        }
    }
}

type Thread = (Handle, mpsc::UnboundedSender<Job>);

fn thread() -> std::io::Result<Thread> {
    of_process(&THREAD, || {
        let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name("dkv-client".into()).spawn(move || {
            runtime.block_on(async move {
                while let Some(job) = jobs.recv().await {
                    job();
                }
            });
        })?;
        Ok((handle, sender))
    })
}

/// Runs `job` on the thread of the clients that do not block: one wake-up, whatever number of tasks it spawns.
pub fn submit(job: Job) -> std::io::Result<()> {
    let _ = thread()?.1.send(job); // the thread ends with the process
    Ok(())
}

/// Runs one task there.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> std::io::Result<AbortHandle> {
    Ok(thread()?.0.spawn(task).abort_handle())
}
