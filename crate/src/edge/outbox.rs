//! Answers on their way to the network thread.
//!
//! Invariant: batches and commands are carried out in the order in which they were handed over.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

use super::listening::Listener;
use super::peers::{Hub, Peer};
use super::status::Status;
use super::unread::Unread;

pub struct HttpReply {
    pub id: u64,
    pub status: u16,
    pub content_type: String,
    pub body: Bytes,
    /// More parts of the body will follow, under the same id.
    pub more: bool,
}

/// Messages of one reply stream, in chunks.
pub struct Items {
    pub id: u64,
    pub chunks: Vec<Bytes>,
    pub bytes: usize,
    pub messages: usize,
}

/// What one `emit` says. Messages are framed already.
#[derive(Default)]
pub struct Batch {
    pub replies: Vec<(u64, Bytes)>,
    /// Replies that their callers may be slow to read.
    pub long_replies: Vec<(u64, Vec<Bytes>, Unread)>,
    pub items: Vec<Items>,
    /// Ends of calls that Python does not know of: it sent something too large. Told as closed.
    pub failed: Vec<(u64, Status)>,
    pub finished: Vec<(u64, Status)>,
    pub http: Vec<HttpReply>,
}

pub enum Order {
    Emit(Batch),
    Listen(Listener),
    ListenHttp(Listener),
    /// Keep the streams to another node open.
    Link(Arc<Hub>, Arc<Peer>),
    StopAccepting,
    Close,
}

#[derive(Default)]
pub struct Outbox {
    orders: Mutex<Vec<Order>>,
    news: Notify,
}

impl Outbox {
    pub fn put(&self, order: Order) {
        let mut orders = self.orders.lock();
        let wake = orders.is_empty();
        orders.push(order);
        drop(orders);
        if wake {
            self.news.notify_one();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.orders.lock().is_empty()
    }

    pub async fn take(&self) -> Vec<Order> {
        loop {
            let orders = std::mem::take(&mut *self.orders.lock());
            if !orders.is_empty() {
                return orders;
            }
            self.news.notified().await;
        }
    }
}
