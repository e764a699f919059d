//! Long replies that their callers have not read yet.
//!
//! Invariant: what a peer's flow control holds back is bounded, per node and per connection, from the moment Python hands
//! it over until nobody holds a byte of it: not the call, and not HTTP/2, which may wait for a window with a chunk of it.
//! A short reply goes to HTTP/2 at once, in one piece, and only a tiny one is not counted.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use bytes::Bytes;

use super::inbox::Load;

/// Longer replies are handed to HTTP/2 in chunks, each when the peer has room for it. Large enough for a MultiGet of a
/// hundred short values, whose rate the chunks would take a third of (measured).
pub const SHORT_REPLY_BYTES_MAX: usize = 16 << 10;

/// Not counted: no more than the stream that it waits in weighs itself, and streams have a bound of their own. Replies to
/// writes are that short, so what has happened is never told as refused.
const TINY_REPLY_BYTES_MAX: usize = 1 << 10;

/// What a caller is told who is over one of the bounds.
pub const UNREAD_TEXT: &str = "too many bytes of replies are not read yet, try again later";

/// A share of the unread bytes, given back when dropped.
pub struct Unread {
    node: Arc<Load>,
    connection: Option<Arc<Load>>,
    bytes: usize,
}

impl Unread {
    /// None: the node holds too much already.
    pub fn new(node: &Arc<Load>, bytes: usize, node_bytes_max: usize) -> Option<Unread> {
        let unread = Unread { node: node.clone(), connection: None, bytes };
        (node.unread.fetch_add(bytes, Relaxed) + bytes <= node_bytes_max).then_some(unread)
    }

    /// Counts for its connection too. Returns whether that stays within the bound.
    pub fn charge(&mut self, connection: &Arc<Load>, connection_bytes_max: usize) -> bool {
        self.connection = Some(connection.clone());
        connection.unread.fetch_add(self.bytes, Relaxed) + self.bytes <= connection_bytes_max
    }

    /// The same chunk; its part of the share is given back with the last slice of it.
    pub fn hold(&mut self, chunk: Bytes) -> Bytes {
        let bytes = chunk.len().min(self.bytes);
        self.bytes -= bytes;
        let part = Unread { node: self.node.clone(), connection: self.connection.clone(), bytes };
        Bytes::from_owner(Held { chunk, _part: part })
    }
}

/// A short reply, counted until nobody holds a byte of it. None: node or connection hold too much already.
pub fn hold_short(reply: Bytes, node: (&Arc<Load>, usize), connection: (&Arc<Load>, usize)) -> Option<Bytes> {
    if reply.len() <= TINY_REPLY_BYTES_MAX {
        return Some(reply);
    }
    let mut unread = Unread::new(node.0, reply.len(), node.1)?;
    unread.charge(connection.0, connection.1).then(|| Bytes::from_owner(Held { chunk: reply, _part: unread }))
}

impl Drop for Unread {
    fn drop(&mut self) {
        for load in std::iter::once(&self.node).chain(&self.connection) {
            load.unread.fetch_sub(self.bytes, Relaxed);
            load.released.fetch_add(self.bytes, Relaxed);
        }
    }
}

struct Held {
    chunk: Bytes,
    _part: Unread,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
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

    #[test]
    fn a_short_reply_is_counted_until_it_is_gone_and_a_tiny_one_never() {
        let (node, connection) = (Arc::<Load>::default(), Arc::<Load>::default());
        let hold = |bytes| hold_short(vec![7; bytes].into(), (&node, 10_000), (&connection, 6_000));
        let first = hold(5_000).expect("fits");
        assert!(hold(5_000).is_none());
        let tiny = hold(TINY_REPLY_BYTES_MAX).expect("is not counted");
        assert_eq!((node.unread.load(Relaxed), connection.unread.load(Relaxed)), (5_000, 5_000));
        drop((first, tiny));
        assert_eq!((node.unread.load(Relaxed), connection.unread.load(Relaxed)), (0, 0));
    }

    #[test]
    fn a_share_lasts_as_long_as_anyone_holds_a_slice() {
        let node = Arc::<Load>::default();
        let mut share = Unread::new(&node, 6, 10).expect("fits");
        let (first, second) = (share.hold(Bytes::from_static(b"abcd")), share.hold(Bytes::from_static(b"ef")));
        let slice = first.slice(2..4);
        drop((share, first, second));
        assert_eq!((&slice[..], node.unread.load(Relaxed)), (&b"cd"[..], 4));
        drop(slice);
        assert_eq!((node.unread.load(Relaxed), node.released.load(Relaxed)), (0, 6));
    }
}
