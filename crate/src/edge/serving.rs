//! The network thread: listeners, the connections they accept, and the orders of `EdgeServer`.
//!
//! Invariant: everything here runs on the one thread that owns `Network`; it ends when it is ordered to, and with it every
//! connection.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::call::{serve_call, Trial};
use super::executor::LocalExecutor;
use super::http1;
use super::inbox::Load;
use super::listening::{Listener, Stream};
use super::network::Network;
use super::outbox::Order;
use super::peers::keep_linked;
use super::shared::{Settings, Shared};
use super::socket::Socket;
use super::transport::{Transport, PREFACE_BYTES};

/// A connection that has not even sent HTTP/2's preface by then is dropped.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `close` lets the last answers leave.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Pause after `accept` failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams a client may reset before they were looked at, against "rapid reset" floods.
const RESET_STREAMS_MAX: usize = 256;
/// What a client may send ahead of our reading, per stream and per connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A connection that stands still with this part of what it may leave unread is dropped: the node's share is finite.
const UNREAD_SHARE: usize = 16;
/// Beyond the most connections, so many more may show that they are another node's: a flood of clients keeps none out.
const GUESTS_MAX: usize = 64;
/// For that a guest has so long.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// What hyper may hold per stream beyond the peer's window.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Serves one gRPC connection until it ends. Generic over the transport, so that TLS is a wrapper at the caller.
async fn serve_connection<IO: AsyncRead + AsyncWrite + Unpin + 'static>(
    network: Rc<Network>,
    peer: Arc<str>,
    trial: Trial,
    io: IO,
) {
    let settings = &network.shared.settings;
    let io = Socket::new(io, Duration::from_millis(settings.keepalive_timeout_ms));
    let read = io.bytes_read();
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(settings.streams_max_per_connection)
        .max_header_list_size(settings.header_bytes_max)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_timeout(Duration::from_millis(settings.keepalive_timeout_ms));
    if settings.keepalive_interval_ms > 0 {
        builder.keep_alive_interval(Duration::from_millis(settings.keepalive_interval_ms));
    }
    let load = Arc::new(Load::default());
    let mut stopping = network.stopping.subscribe();
    let service = {
        let (network, load, trial) = (network.clone(), load.clone(), trial.clone());
        hyper::service::service_fn(move |request| {
            serve_call(network.clone(), load.clone(), peer.clone(), trial.clone(), request)
        })
    };
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(Transport::new(io)), service));
    let mut stop = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
    let mut preface = std::pin::pin!(tokio::time::sleep(PREFACE_TIMEOUT));
    let mut unread = std::pin::pin!(stands_still(settings, &load));
    let mut judgement = std::pin::pin!(tokio::time::sleep(TRIAL_TIMEOUT));
    let mut is_on_trial = trial.is_on();
    let (mut told, mut checked) = (false, false);
    loop {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = unread.as_mut() => return,
            () = judgement.as_mut(), if is_on_trial => {
                is_on_trial = false;
                if trial.is_on() {
                    return;
                }
            }
            _ = stop.as_mut(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = preface.as_mut(), if !checked => {
                checked = true;
                if read.get() < PREFACE_BYTES {
                    return;
                }
            }
        }
    }
}

/// Returns when the peer of a connection left many replies unread, and took none of them, from one look to the next.
async fn stands_still(settings: &Settings, load: &Load) {
    let unread_bytes_min = settings.unread_bytes_max_per_connection / UNREAD_SHARE;
    let mut before = (false, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(settings.unread_timeout_ms)).await;
        let now = (load.unread.load(Relaxed) > unread_bytes_min, load.released.load(Relaxed));
        if now.0 && now == before {
            return;
        }
        before = now;
    }
}

/// Counts a connection while it lives.
struct ConnectionGuard(Arc<Shared>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

async fn accept_grpc(network: Rc<Network>, listener: Listener) {
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = &network.shared;
        let before = shared.connections.fetch_add(1, Relaxed);
        let connections_max = shared.settings.connections_max;
        let guests_max = if shared.hub.get().is_some() { GUESTS_MAX } else { 0 };
        if before >= connections_max + guests_max {
            shared.connections.fetch_sub(1, Relaxed);
            shared.stats.lock().overloaded += 1;
            continue;
        }
        let guard = ConnectionGuard(shared.clone());
        let trial = Trial::new(before >= connections_max);
        let network = network.clone();
        tokio::task::spawn_local(async move {
            let _guard = guard;
            match stream {
                Stream::Tcp(stream, peer) => serve_connection(network, peer, trial, stream).await,
                #[cfg(unix)]
                Stream::Unix(stream) => serve_connection(network, "unix".into(), trial, stream).await,
            }
        });
    }
}

async fn accept_http(network: Rc<Network>, listener: Listener) {
    let connections = Arc::new(tokio::sync::Semaphore::new(http1::CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let Ok(stream) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let network = network.clone();
        tokio::task::spawn_local(async move {
            let _permit = permit;
            match stream {
                Stream::Tcp(stream, _) => http1::serve_connection(network, stream).await,
                #[cfg(unix)]
                Stream::Unix(stream) => http1::serve_connection(network, stream).await,
            }
        });
    }
}

/// Carries out orders until the last, `Close`.
pub async fn serve(shared: Arc<Shared>) {
    let network = Rc::new(Network::new(shared.clone()));
    tokio::task::spawn_local(network.clone().hand_over_news());
    tokio::task::spawn_local(network.clone().drop_unread_replies());
    let mut listeners: Vec<AbortHandle> = Vec::new();
    loop {
        for order in shared.outbox.take().await {
            match order {
                Order::Emit(batch) => network.carry_out(batch),
                Order::Listen(listener) => {
                    listeners.push(tokio::task::spawn_local(accept_grpc(network.clone(), listener)).abort_handle());
                }
                Order::ListenHttp(listener) => {
                    listeners.push(tokio::task::spawn_local(accept_http(network.clone(), listener)).abort_handle());
                }
                Order::Link(hub, peer) => {
                    tokio::task::spawn_local(keep_linked(hub, peer));
                }
                Order::StopAccepting => {
                    listeners.drain(..).for_each(|listener| listener.abort());
                    if !network.stopping.send_replace(true) {
                        tokio::task::spawn_local(network.clone().give_up_unread());
                    }
                }
                Order::Close => {
                    // What was answered last leaves before its connection goes: it may say why the server ends.
                    if shared.open_calls.load(Relaxed) > 0 {
                        tokio::time::sleep(LAST_WORDS).await;
                    }
                    return;
                }
            }
        }
    }
}
