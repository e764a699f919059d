//! Looks at every log file before raft-engine does, and tells an interrupted write from damage (INVARIANTS 2).
//!
//! raft-engine cuts everything behind a broken batch in the last file, whatever follows. Here every batch is durable
//! before the next one is written (`files.rs` sees to it for files that raft-engine rewrites), so a break with a valid
//! batch behind it cannot come from a crash: it is damage, and the log does not open. A break with nothing valid behind
//! it, in the last file of its queue, is the end of an interrupted write and is cut off here. A bit flipped in the very
//! last batch looks the same and is cut as well. So a batch does not stay the last one: it is sealed (`worker.rs`); and
//! where the engine's applied index is ahead of the log, the caller refuses. Afterwards raft-engine runs in a mode that
//! cuts nothing.
//!
//! And everything found is synced first (INVARIANTS 3): after a kill the page cache may hold what never reached the disk.
//!
//! The format, from the sources of raft-engine 0.4.2 (log_batch.rs, file_pipe_log/format.rs):
//!
//! | part | bytes |
//! |---|---|
//! | file header | magic, version u64 BE = 2, alignment u64 BE = 0 |
//! | batch header | length of the batch << 8 + compression, u64 BE; offset of the footer in the batch, u64 BE |
//! | entries | encoded entries and their CRC-32, u32 LE; or nothing |
//! | footer | items and their CRC-32 xor the low half of the file's number, u32 LE |

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FILE_HEADER_BYTES: usize = MAGIC.len() + 16;
const VERSION: u64 = 2;
const BATCH_HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
const COMPRESSION_MAX: u8 = 1;
const NUMBER_WIDTH: usize = 16;

/// Syncs, checks and, at the end of an interrupted write, shortens the files in `folder`.
pub fn check_folder(folder: &Path) -> Result<()> {
    for suffix in [".raftlog", ".rewrite"] {
        let files = log_files(folder, suffix)?;
        for (_, path) in &files {
            sync(path)?;
        }
        sync(folder)?;
        for pair in files.windows(2) {
            // raft-engine would drop all files before a gap without a word.
            if pair[1].0 != pair[0].0 + 1 {
                return Err(Error::damaged(
                    &pair[1].1,
                    0,
                    format!("the file before it, {}, is missing", pair[1].0 - 1),
                ));
            }
        }
        for (position, (number, path)) in files.iter().enumerate() {
            let is_last = position + 1 == files.len();
            // A file is closed, synced, before the next is created; the next one's header is synced before use.
            let may_lack_header = is_last && (position > 0 || *number == 1);
            check_file(path, *number, is_last, may_lack_header)?;
        }
    }
    Ok(())
}

/// Sum of the sizes of all log files.
pub fn disk_bytes(folder: &Path) -> u64 {
    let Ok(items) = fs::read_dir(folder) else { return 0 };
    items.flatten().filter_map(|item| item.metadata().ok()).map(|meta| meta.len()).sum()
}

fn log_files(folder: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>> {
    let mut files = vec![];
    let items = fs::read_dir(folder).map_err(|e| Error::io("list", folder, &e))?;
    for item in items {
        let path = item.map_err(|e| Error::io("list", folder, &e))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.get(..NUMBER_WIDTH).and_then(|digits| digits.parse().ok());
        if let (true, Some(number)) = (name.ends_with(suffix), number) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io("sync", path, &e))
}

fn check_file(path: &Path, number: u64, is_last: bool, may_lack_header: bool) -> Result<()> {
    let bytes = fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let (offset, reason) = match first_break(&bytes, number) {
        None => return Ok(()),
        Some(found) => found,
    };
    if let Some(later) = (offset + 1..bytes.len()).find(|at| footer_is_valid(&bytes[*at..], number).is_ok()) {
        return Err(Error::damaged(path, offset, format!("{reason}, and a valid batch follows at offset {later}")));
    }
    if !is_last {
        return Err(Error::damaged(path, offset, format!("{reason}, and a later file exists")));
    }
    if offset > 0 {
        return shorten(path, offset).map_err(|e| Error::io("shorten", path, &e));
    }
    if !may_lack_header {
        return Err(Error::damaged(path, offset, reason));
    }
    // Created and never used. Without it the log goes on in the file before.
    fs::remove_file(path).map_err(|e| Error::io("remove", path, &e))?;
    path.parent().map_or(Ok(()), sync)
}

fn shorten(path: &Path, bytes: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(bytes as u64)?;
    file.sync_all()
}

/// Where the first thing is that is not a whole batch, and why it is not; 0 stands for the header.
fn first_break(bytes: &[u8], number: u64) -> Option<(usize, String)> {
    if let Err(reason) = header_is_valid(bytes) {
        return Some((0, reason));
    }
    let mut offset = FILE_HEADER_BYTES;
    while offset < bytes.len() {
        match batch_is_valid(&bytes[offset..], number) {
            Ok(batch_bytes) => offset += batch_bytes,
            Err(reason) => return Some((offset, reason)),
        }
    }
    None
}

fn header_is_valid(bytes: &[u8]) -> std::result::Result<(), String> {
    if !bytes.starts_with(MAGIC) {
        return Err("no log file header".into());
    }
    match (be_u64(bytes, MAGIC.len()), be_u64(bytes, MAGIC.len() + 8)) {
        (Some(VERSION), Some(0)) => Ok(()),
        (Some(version), Some(alignment)) => Err(format!("unknown format {version}, alignment {alignment}")),
        _ => Err("a broken log file header".into()),
    }
}

/// The length of the batch at the start of `bytes`, all of whose checksums hold.
fn batch_is_valid(bytes: &[u8], number: u64) -> std::result::Result<usize, String> {
    let (footer, length) = footer_is_valid(bytes, number)?;
    if footer > BATCH_HEADER_BYTES && !checksum_holds(&bytes[BATCH_HEADER_BYTES..footer], 0) {
        return Err("the checksum of the entries of a batch does not hold".into());
    }
    Ok(length)
}

/// (offset of the footer, length of the batch) of the batch at the start of `bytes`, if its footer is whole.
fn footer_is_valid(bytes: &[u8], number: u64) -> std::result::Result<(usize, usize), String> {
    let (Some(head), Some(footer)) = (be_u64(bytes, 0), be_u64(bytes, 8)) else {
        return Err("a batch header is cut short".into());
    };
    let (length, compression) = ((head >> 8) as usize, head as u8);
    let footer = usize::try_from(footer).unwrap_or(usize::MAX);
    if compression > COMPRESSION_MAX || footer < BATCH_HEADER_BYTES || footer > length {
        return Err("a batch header is broken".into());
    }
    if length > bytes.len() {
        return Err("a batch is cut short".into());
    }
    // The low half of the file's number signs a batch: one of another file is never valid here.
    if !checksum_holds(&bytes[footer..length], number as u32) {
        return Err("the checksum of a batch does not hold".into());
    }
    Ok((footer, length))
}

fn checksum_holds(bytes: &[u8], signature: u32) -> bool {
    if bytes.len() <= CHECKSUM_BYTES {
        return false;
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let stored = checksum.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
    crc32fast::hash(content) == stored ^ signature
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
