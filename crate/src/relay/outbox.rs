//! What nodes say to each other in messages of many parts, as far as it is Raft's; see `dkv.wire.peer`.

use std::collections::BTreeMap;

/// What fills a message to a node.
const MESSAGE_BYTES: usize = 1 << 20;

/// kind:u8 | vbucket:u32 | length:u32, big endian.
const PART_HEAD_BYTES: usize = 9;

/// `dkv.wire.peer.Kind.RAFT`.
pub const RAFT_KIND: u8 = 1;

/// Messages for each node, in the order of node ids: equal calls send equal things.
#[derive(Default)]
pub struct Outbox {
    nodes: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Outbox {
    /// A message of Raft, behind what is there for the node.
    pub fn put(&mut self, node: u64, group: u64, body: &[u8]) {
        let messages = self.nodes.entry(node).or_default();
        if messages.last().is_none_or(|last| last.len() >= MESSAGE_BYTES) {
            messages.push(vec![]);
        }
        if let Some(open) = messages.last_mut() {
            put_part(open, RAFT_KIND, group as u32, body);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// (node, its messages)
    pub fn into_nodes(self) -> impl Iterator<Item = (u64, Vec<Vec<u8>>)> {
        self.nodes.into_iter()
    }
}

pub fn put_part(out: &mut Vec<u8>, kind: u8, vbucket: u32, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&vbucket.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
}

/// (kind, vBucket, body) of each part; None: it ends inside one.
pub fn parts(message: &[u8]) -> Option<Vec<(u8, u32, &[u8])>> {
    let (mut found, mut rest) = (vec![], message);
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(PART_HEAD_BYTES)?;
        let vbucket = u32::from_be_bytes(head[1..5].try_into().ok()?);
        let length = u32::from_be_bytes(head[5..9].try_into().ok()?) as usize;
        let (body, after) = behind.split_at_checked(length)?;
        found.push((head[0], vbucket, body));
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_parts_that_it_was_made_of() {
        let mut message = vec![];
        put_part(&mut message, 1, 7, b"abc");
        put_part(&mut message, 14, 0, b"");
        assert_eq!(parts(&message), Some(vec![(1, 7, &b"abc"[..]), (14, 0, &b""[..])]));
        assert_eq!(parts(&message[..message.len() - 1]), None);
        assert_eq!(parts(&[0; 3]), None);
        let mut claims = message.clone();
        claims[5] = 255;
        assert_eq!(parts(&claims), None);
    }

    #[test]
    fn a_message_that_is_full_takes_no_more() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.put(2, 1, &vec![0; MESSAGE_BYTES / 2]);
        }
        outbox.put(1, 1, b"x");
        let counts: Vec<_> = outbox.into_nodes().map(|(node, messages)| (node, messages.len())).collect();
        assert_eq!(counts, [(1, 1), (2, 2)]);
    }
}
