//! Long replies that their callers have not read yet.
//!
//! Invariant: what a peer's flow control holds back is bounded, per node and per connection, from the moment Python hands
//! it over until HTTP/2 has taken it or the call has ended. A short reply goes to HTTP/2 at once and is not counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Instant;

use super::framing::CHUNK_BYTES;
use super::inbox::Load;

/// Longer replies are handed to HTTP/2 in chunks of this size, each when the peer has room for it.
pub const SHORT_REPLY_BYTES_MAX: usize = CHUNK_BYTES;

/// What a caller is told who is over one of the bounds.
pub const UNREAD_TEXT: &str = "too many bytes of replies are not read yet, try again later";

/// A share of the unread bytes, given back when dropped.
pub struct Unread {
    node: Arc<Load>,
    connection: Option<Arc<Load>>,
    bytes: usize,
    /// When the caller last read some of it.
    pub progress: Instant,
}

impl Unread {
    /// None: the node holds too much already.
    pub fn new(node: &Arc<Load>, bytes: usize, node_bytes_max: usize) -> Option<Unread> {
        let unread = Unread { node: node.clone(), connection: None, bytes, progress: Instant::now() };
        (node.unread.fetch_add(bytes, Relaxed) + bytes <= node_bytes_max).then_some(unread)
    }

    /// Counts for its connection too. Returns whether that stays within the bound.
    pub fn charge(&mut self, connection: &Arc<Load>, connection_bytes_max: usize) -> bool {
        self.connection = Some(connection.clone());
        connection.unread.fetch_add(self.bytes, Relaxed) + self.bytes <= connection_bytes_max
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        for load in std::iter::once(&self.node).chain(&self.connection) {
            load.unread.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_was_refused_is_given_back() {
        let (node, connection) = (Arc::<Load>::default(), Arc::<Load>::default());
        let mut first = Unread::new(&node, 6, 10).expect("fits");
        assert!(Unread::new(&node, 5, 10).is_none());
        assert!(first.charge(&connection, 6));
        assert!(!Unread::new(&node, 4, 10).expect("fits").charge(&connection, 9));
        assert_eq!((node.unread.load(Relaxed), connection.unread.load(Relaxed)), (6, 6));
        drop(first);
        assert_eq!((node.unread.load(Relaxed), connection.unread.load(Relaxed)), (0, 0));
    }
}
