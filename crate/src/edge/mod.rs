//! The edge: gRPC over HTTP/2 and plain HTTP/1.1, in batches towards Python.
//!
//! Invariant: the network threads never touch the interpreter, and Python never touches a connection. They meet in
//! two queues, `inbox` (news for Python) and `outbox` (answers for the network), each taken whole under one lock, so
//! that a wake-up, a lock and a crossing cost the same for one call or for a thousand.

mod address;
mod authority;
mod call;
mod call_guard;
mod caller;
mod channel;
mod client;
mod conversation;
mod corked;
mod ended;
mod executor;
mod framing;
mod http1;
mod http_calls;
mod huffman;
mod inbox;
mod listening;
mod loop_bell;
mod mailbox;
mod network;
mod open_call;
mod outbox;
mod peers;
mod reactor;
mod server;
mod serving;
mod shared;
mod socket;
mod stats;
mod status;
mod stream;
mod transport;
mod unread;

use pyo3::prelude::*;

pub use framing::Packer;
pub use peers::Hub;
pub use server::EdgeServer;
pub use shared::Errands;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<server::EdgeServer>()?;
    module.add_class::<client::EdgeClient>()?;
    module.add_class::<mailbox::EdgeLoopClient>()?;
    module.add_class::<stream::EdgeStream>()?;
    module.add_class::<peers::PeerLinks>()?;
    Ok(())
}
