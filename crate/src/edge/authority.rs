//! The name by which a client calls the server, `:authority`, overwritten before h2 reads it.
//!
//! Clients of gRPC send names there that no URI allows: the path of a UNIX socket, as it is or percent-encoded, the
//! cluster of a proxy, a name with a space. h2 refuses them all, and nobody here reads them. So whatever is spelled out is
//! overwritten, and no name can be wrong.
//!
//! Invariant: neither block nor name changes in size, encoded or decoded. So the dynamic tables of both ends stay in
//! step, and later references to the name need nothing. What is not HPACK stays as it is, for h2 to refuse.

use std::ops::Range;

use super::huffman;

const NAME: &[u8] = b":authority";
const CODED_NAME: &[u8] = b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f";
/// Its index in the static table (RFC 7541, appendix A).
const NAME_INDEX: usize = 1;

/// A string of a header block, and where it is.
struct Text {
    is_coded: bool,
    bytes: Range<usize>,
}

/// Walks a header block (RFC 7541, section 6). It needs no dynamic table: where fields end is in the block.
struct Walk<'a> {
    block: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.block.get(self.at).copied()
    }

    /// An integer whose first byte has `prefix_bits`. None beyond 28 bits more, as in h2.
    fn integer(&mut self, prefix_bits: u32) -> Option<usize> {
        let prefix_max = (1 << prefix_bits) - 1;
        let mut value = usize::from(self.peek()?) & prefix_max;
        self.at += 1;
        if value < prefix_max {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.peek()?);
            self.at += 1;
            value += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Text> {
        let is_coded = self.peek()? >= 0x80;
        let size = self.integer(7)?;
        let bytes = self.at..self.at + size;
        self.at = bytes.end;
        (bytes.end <= self.block.len()).then_some(Text { is_coded, bytes })
    }

    fn is_name(&self, text: Text) -> bool {
        self.block[text.bytes] == *if text.is_coded { CODED_NAME } else { NAME }
    }

    /// The first value of `:authority` that is spelled out.
    fn authority(&mut self) -> Option<Text> {
        loop {
            let index = match self.peek()? {
                0x80.. => {
                    self.integer(7)?; // a whole field by its index
                    continue;
                }
                0x20..=0x3f => {
                    self.integer(5)?; // a new size of the dynamic table
                    continue;
                }
                0x40..=0x7f => self.integer(6)?,
                0x00..=0x1f => self.integer(4)?,
            };
            let is_authority = match index {
                0 => self.text().map(|name| self.is_name(name))?,
                _ => index == NAME_INDEX,
            };
            let value = self.text()?;
            if is_authority {
                return Some(value);
            }
        }
    }
}

/// Overwrites the name in a header block, or in the beginning of one.
pub fn overwrite(block: &mut [u8]) {
    let Some(Text { is_coded, bytes }) = (Walk { block, at: 0 }).authority() else {
        return;
    };
    if is_coded {
        huffman::overwrite(&mut block[bytes]);
    } else {
        block[bytes].fill(b'a');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as clients send them, coded, and what replaces them: letters `a`, and `~` where the code is longer.
    const CODED: [(&[u8], &[u8]); 4] = [
        (b"\x61\x34\xd6\xc4\x9d\x7b\xae\x83\x93\xaf", b"\xff\xe8\xc6\x31\x8c\x63\x18\xc6\x31\xff"), // /tmp/dkv.sock
        (b"\x2f\x94\x96\xa4\x18\xf5\x30\x36\x23", b"\x18\xc6\x31\x8c\x63\x18\xc6\x31\xff"),         // extension/a/b
        (b"\xa8\xf2\x15\x44\x15\x2a\x07", b"\x18\xc6\x31\x8c\x63\x18\xff"),                         // node set 1
        (
            b"\xeb\x51\xd2\x5a\x96\xff\xfe\x3f\xff\xee\xff", // knoten-é
            b"\xff\xef\xff\x7f\xfb\xff\xdf\xfe\x8c\x63\x1f",
        ),
    ];
    /// All ways to say that a literal `:authority` follows.
    const NAMES: [&[u8]; 7] = [
        b"\x41",
        b"\x01",
        b"\x11",
        b"\x40\x0a:authority",
        b"\x00\x0a:authority",
        b"\x10\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f",
        b"\x40\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f",
    ];
    /// A size of the table, `:method`, a name of the dynamic table, a coded `:path`, a literal field of 130 bytes.
    const BEFORE: [&[u8]; 6] =
        [b"", b"\x3f\xe1\x1f", b"\x83", b"\x7f\x23\x01x", b"\x04\x84\x61\x09\xf5\x41", b"\x00\x01x\x7f\x03"];

    fn overwritten(block: &[u8]) -> Vec<u8> {
        let mut block = block.to_vec();
        overwrite(&mut block);
        block
    }

    fn blocks() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut blocks = Vec::new();
        for name in NAMES {
            let mut before = Vec::new();
            for field in BEFORE {
                before.extend_from_slice(field);
                if field.ends_with(b"\x7f\x03") {
                    before.extend_from_slice(&[b'y'; 130]);
                }
                for (from, to) in CODED {
                    let block = |value: &[u8]| [&before, name, &[0x80 | value.len() as u8], value, b"\x86"].concat();
                    blocks.push((block(from), block(to)));
                }
                let block = |value: &[u8]| [&before, name, b"\x05", value, b"\x86"].concat();
                blocks.push((block(b"/a%\xff "), block(b"aaaaa")));
            }
        }
        blocks
    }

    #[test]
    fn every_spelling_of_the_name_is_found_and_its_value_overwritten() {
        for (from, to) in blocks() {
            assert_eq!(overwritten(&from), to);
        }
    }

    #[test]
    fn what_is_written_is_an_authority_to_the_http_crate() {
        for name in ["a", "~a", "~~", &"a".repeat(5000)] {
            assert!(http::uri::Authority::try_from(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn other_fields_and_an_empty_name_stay() {
        for block in [&b"\x44\x04/a/b"[..], b"\x40\x05:path\x02/a", b"\x81\xc0\x82", b"\x41\x00\x83", b"\x41\x80"] {
            assert_eq!(overwritten(block), block);
        }
    }

    #[test]
    fn a_block_that_ends_too_early_stays() {
        for (from, to) in blocks() {
            for end in 0..from.len() {
                let expected = if end < from.len() - 1 { &from[..end] } else { &to[..end] };
                assert_eq!(overwritten(&from[..end]), expected);
            }
        }
    }

    #[test]
    fn integers_that_h2_refuses_end_the_walk() {
        for block in [&b"\xff\xff\xff\xff\xff\x00\x41\x01/"[..], b"\x41\x7f\xff\xff\xff\x7f/", b"\x41\x7f\xff"] {
            assert_eq!(overwritten(block), block);
        }
    }
}
