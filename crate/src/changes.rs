//! Puts of a log entry as changes of the feed: bytes on their way from one frame to another, with a number each.
//!
//! Python does the same with every command there is (`dkv.vbucket.entry`, `dkv.wire.feed`), at a microsecond a change.
//! That was what a reader of the history cost those who write beside it, and puts are nearly all of a history. Nothing is
//! judged here: whatever is not whole, not of this version, or not a put that stays for ever is left to Python.
//! Layouts: docs/formats/entry.md, proto/dkv/v1/feed.proto; `tests/properties/test_changes_of_puts.py` holds both to each
//! other.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Version and flags of an entry.
const HEAD: [u8; 2] = [1, 0];
const LOG_TIME_BYTES: usize = 8;
/// Kinds of command. Persisted.
const PUT: u8 = 1;
const MULTI_PUT: u8 = 6;
/// Added to the kind when a session follows it.
const WITH_SESSION: u8 = 0x80;
const SESSION_BYTES_MAX: usize = 16;

/// Tags of the feed's messages.
const CHANGE: u8 = 0x0a;
const NUMBER: u8 = 0x08;
const KIND: u8 = 0x10;
const KIND_PUT: u8 = 1;
const KEY: u8 = 0x1a;
const VALUE: u8 = 0x22;
const LOG_TIME: u8 = 0x38;

/// What is left of an entry. None: it ends too early.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Option<u64> {
        Some(self.take(BYTES)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Passes over it. None also for one that no entry has.
    fn session(&mut self) -> Option<()> {
        let name_bytes = self.number::<1>()? as usize;
        self.take(name_bytes)?;
        let (sequence, _lowest_outstanding) = (self.number::<8>()?, self.number::<8>()?);
        ((1..=SESSION_BYTES_MAX).contains(&name_bytes) && sequence > 0).then_some(())
    }
}

/// The changes of one entry, as they are framed in a message.
struct Changes {
    out: Vec<u8>,
    next_number: u64,
    log_time: Vec<u8>,
}

impl Changes {
    fn put(&mut self, entry: &mut Rest) -> Option<()> {
        let (key_bytes, value_bytes) = (entry.number::<2>()? as usize, entry.number::<4>()? as usize);
        let (key, value) = (entry.take(key_bytes)?, entry.take(value_bytes)?);
        let size = 1 + varint_bytes(self.next_number) + 2 + field_bytes(key) + field_bytes(value) + self.log_time.len();
        self.out.push(CHANGE);
        put_varint(&mut self.out, size as u64);
        self.out.push(NUMBER);
        put_varint(&mut self.out, self.next_number);
        self.out.extend([KIND, KIND_PUT]);
        put_field(&mut self.out, KEY, key);
        put_field(&mut self.out, VALUE, value);
        self.out.extend(&self.log_time);
        self.next_number += 1;
        Some(())
    }

    fn command(&mut self, entry: &mut Rest) -> Option<()> {
        let kind = entry.number::<1>()? as u8;
        if kind & WITH_SESSION != 0 {
            entry.session()?;
        }
        match kind & !WITH_SESSION {
            PUT => self.put(entry),
            MULTI_PUT => {
                for _ in 0..entry.number::<4>()? {
                    (entry.number::<1>()? as u8 == PUT).then_some(())?;
                    self.put(entry)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

fn varint_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Empty ones are left out.
fn field_bytes(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        1 + varint_bytes(bytes.len() as u64) + bytes.len()
    }
}

fn put_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// None: not all of it are puts that stay for ever, or it is damaged.
fn changes(entry: &[u8], first_number: u64, log_time: u64) -> Option<(Vec<u8>, u64)> {
    let mut rest = Rest(entry);
    (rest.take(HEAD.len())? == HEAD).then_some(())?;
    rest.take(LOG_TIME_BYTES)?; // what the leader proposed; the changes have that of the log
    let mut time = vec![LOG_TIME];
    put_varint(&mut time, log_time);
    let mut made = Changes { out: Vec::with_capacity(2 * entry.len()), next_number: first_number, log_time: time };
    for _ in 0..rest.number::<4>()? {
        made.command(&mut rest)?;
    }
    (rest.0.is_empty() && log_time > 0).then_some((made.out, made.next_number))
}

/// (the changes of an entry that is nothing but puts that stay for ever and all took effect, the number behind them).
#[pyfunction]
fn changes_of_puts<'py>(
    py: Python<'py>,
    entry: &[u8],
    first_number: u64,
    log_time: u64,
) -> Option<(Bound<'py, PyBytes>, u64)> {
    changes(entry, first_number, log_time).map(|(bytes, behind)| (PyBytes::new(py, &bytes), behind))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(changes_of_puts, module)?)
}
