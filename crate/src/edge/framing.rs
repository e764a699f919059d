//! gRPC's framing of messages: a byte that says whether it is compressed, four bytes of length (big-endian), the message.
//!
//! Invariant: no more than the largest message allowed is ever gathered, and the length a peer claims is checked before
//! memory is set aside for it.

use std::io::Read;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub const HEADER_BYTES: usize = 5;
/// Small messages of a reply stream are packed into chunks of about this size: a chunk is one write towards hyper,
/// four default DATA frames on the wire.
pub const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug, PartialEq)]
pub enum FrameError {
    TooLarge(usize),
    BadFlag(u8),
}

/// Cuts messages out of the bytes of DATA frames. Messages that arrive whole in one frame are not copied.
pub struct Decoder {
    data: Bytes,
    gathered: BytesMut,
    message_bytes_max: usize,
}

impl Decoder {
    pub fn new(message_bytes_max: usize) -> Decoder {
        Decoder { data: Bytes::new(), gathered: BytesMut::new(), message_bytes_max }
    }

    pub fn push(&mut self, data: Bytes) {
        if self.gathered.is_empty() && self.data.is_empty() {
            self.data = data;
            return;
        }
        if self.gathered.is_empty() {
            self.gathered.extend_from_slice(&self.data);
            self.data.clear();
        }
        self.gathered.extend_from_slice(&data);
    }

    /// The next whole message and whether it is compressed; None when more bytes are needed.
    pub fn next(&mut self) -> Result<Option<(bool, Bytes)>, FrameError> {
        let bytes = if self.gathered.is_empty() { &self.data[..] } else { &self.gathered[..] };
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if flag > 1 {
            return Err(FrameError::BadFlag(flag));
        }
        if length > self.message_bytes_max {
            return Err(FrameError::TooLarge(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let message = if self.gathered.is_empty() {
            self.data.advance(HEADER_BYTES);
            self.data.split_to(length)
        } else {
            self.gathered.advance(HEADER_BYTES);
            self.gathered.split_to(length).freeze()
        };
        Ok(Some((flag == 1, message)))
    }

    /// Bytes that no message took yet.
    pub fn left(&self) -> usize {
        self.data.len() + self.gathered.len()
    }
}

fn put_message(target: &mut Vec<u8>, message: &[u8]) {
    target.put_u8(0);
    target.put_u32(message.len() as u32);
    target.extend_from_slice(message);
}

pub fn encode(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(HEADER_BYTES + message.len());
    put_message(&mut framed, message);
    framed.into()
}

/// A long message in chunks that can be let go of one by one.
pub fn encode_in_chunks(message: &[u8]) -> Vec<Bytes> {
    let (first, rest) = message.split_at(message.len().min(CHUNK_BYTES - HEADER_BYTES));
    let mut head = Vec::with_capacity(HEADER_BYTES + first.len());
    head.put_u8(0);
    head.put_u32(message.len() as u32);
    head.extend_from_slice(first);
    std::iter::once(head.into()).chain(rest.chunks(CHUNK_BYTES).map(Bytes::copy_from_slice)).collect()
}

/// Packs messages into chunks: small ones share a chunk, a large one has its own.
#[derive(Default)]
pub struct Packer {
    open: Vec<u8>,
    pub chunks: Vec<Bytes>,
    pub bytes: usize,
    pub messages: usize,
}

impl Packer {
    pub fn push(&mut self, message: &[u8]) {
        let size = HEADER_BYTES + message.len();
        self.bytes += size;
        self.messages += 1;
        if !self.open.is_empty() && self.open.len() + size > CHUNK_BYTES {
            self.flush();
        }
        put_message(&mut self.open, message);
    }

    pub fn flush(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push(std::mem::take(&mut self.open).into());
        }
    }
}

/// Returns None when the bytes are no gzip, Err with the size reached when they grow beyond the limit.
pub fn gunzip(compressed: &[u8], bytes_max: usize) -> Result<Option<Bytes>, usize> {
    let mut plain = Vec::new();
    let read = flate2::read::GzDecoder::new(compressed).take(bytes_max as u64 + 1).read_to_end(&mut plain);
    match read {
        Err(_) => Ok(None),
        Ok(size) if size > bytes_max => Err(size),
        Ok(_) => Ok(Some(plain.into())),
    }
}

/// `grpc-timeout`: one to eight digits and a unit. None when it is malformed.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "n" => Some(Duration::from_nanos(count)),
        "u" => Some(Duration::from_micros(count)),
        "m" => Some(Duration::from_millis(count)),
        "S" => Some(Duration::from_secs(count)),
        "M" => Some(Duration::from_secs(count * 60)),
        "H" => Some(Duration::from_secs(count * 3600)),
        _ => None,
    }
}

pub fn format_timeout(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_the_bytes_are_cut() {
        let mut packer = Packer::default();
        let messages: Vec<Vec<u8>> = vec![vec![], vec![1], vec![2; 300], vec![3; 70_000], vec![4; 5]];
        messages.iter().for_each(|message| packer.push(message));
        packer.flush();
        let wire: Vec<u8> = packer.chunks.concat();
        assert_eq!(wire.len(), packer.bytes);
        for step in [1, 2, 3, 7, 64, 4096, wire.len()] {
            let mut decoder = Decoder::new(70_000);
            let mut seen = Vec::new();
            for part in wire.chunks(step) {
                decoder.push(Bytes::copy_from_slice(part));
                while let Some((compressed, message)) = decoder.next().unwrap() {
                    assert!(!compressed);
                    seen.push(message.to_vec());
                }
            }
            assert_eq!((seen, decoder.left()), (messages.clone(), 0));
        }
    }

    #[test]
    fn a_message_in_chunks_is_the_same_message() {
        for size in [0, 1, CHUNK_BYTES - HEADER_BYTES, CHUNK_BYTES, 200_000] {
            let message = vec![9; size];
            let chunks = encode_in_chunks(&message);
            assert_eq!(chunks.concat(), encode(&message));
            assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_BYTES));
        }
    }

    #[test]
    fn a_claimed_length_over_the_limit_is_refused_from_its_header_alone() {
        let mut decoder = Decoder::new(10);
        decoder.push(Bytes::from_static(&[0, 0, 0, 0, 11]));
        assert_eq!(decoder.next(), Err(FrameError::TooLarge(11)));
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_limit() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert_eq!(gunzip(&bomb, 1000), Err(1001));
        assert_eq!(gunzip(&bomb, 1 << 20).unwrap().unwrap().len(), 1 << 20);
        assert_eq!(gunzip(b"no gzip", 1000), Ok(None));
    }

    #[test]
    fn timeouts_have_one_to_eight_digits_and_a_unit() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "m", "1", "1x", "-1m", "123456789m", "é"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
        assert_eq!(format_timeout(Duration::from_millis(1500)), "1500m");
        assert_eq!(format_timeout(Duration::from_secs(200_000)), "200000S");
    }
}
