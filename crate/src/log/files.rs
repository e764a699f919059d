//! The file system under raft-engine: the operating system's, and two rules.
//!
//! * After the first write or sync that fails nothing is written any more (INVARIANTS 6). raft-engine would panic on a
//!   failed sync and go on after a failed write; here the reason is kept, and the owner looks at it after every call.
//! * In files that raft-engine rewrites, every write is synced before the next one, as the owner does for appended
//!   ones. So a broken batch with a valid one behind it never comes from a crash (`check.rs`).

use std::io::{Error, ErrorKind, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

/// The first thing that went wrong. Once set it stays.
#[derive(Default)]
pub struct Failure {
    reason: Mutex<Option<String>>,
}

impl Failure {
    pub fn set(&self, reason: impl Into<String>) {
        self.reason.lock().get_or_insert_with(|| reason.into());
    }

    pub fn get(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    fn check(&self) -> Result<()> {
        match &*self.reason.lock() {
            Some(reason) => Err(Error::other(format!("the log has failed: {reason}"))),
            None => Ok(()),
        }
    }

    /// Passes a result on, and remembers if it is a failure.
    fn watch<T>(&self, what: &str, path: &Path, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            if error.kind() != ErrorKind::Interrupted {
                self.set(format!("{what} {}: {error}", path.display()));
            }
        }
        result
    }
}

type SystemHandle = <DefaultFileSystem as FileSystem>::Handle;
type SystemReader = <DefaultFileSystem as FileSystem>::Reader;
type SystemWriter = <DefaultFileSystem as FileSystem>::Writer;

pub struct Files {
    pub failure: Arc<Failure>,
}

pub struct LogHandle {
    system: Arc<SystemHandle>,
    path: PathBuf,
    failure: Arc<Failure>,
}

pub struct LogWriter {
    system: SystemWriter,
    handle: Arc<LogHandle>,
    syncs_itself: bool,
}

impl Files {
    fn handle(&self, path: &Path, system: SystemHandle) -> LogHandle {
        LogHandle { system: Arc::new(system), path: path.to_owned(), failure: self.failure.clone() }
    }
}

impl FileSystem for Files {
    type Handle = LogHandle;
    type Reader = SystemReader;
    type Writer = LogWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<LogHandle> {
        self.failure.check()?;
        let path = path.as_ref();
        let created = self.failure.watch("create", path, DefaultFileSystem.create(path))?;
        Ok(self.handle(path, created))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<LogHandle> {
        let path = path.as_ref();
        Ok(self.handle(path, DefaultFileSystem.open(path, permission)?))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.failure.check()?;
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.failure.check()?;
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<LogHandle>) -> Result<SystemReader> {
        DefaultFileSystem.new_reader(handle.system.clone())
    }

    fn new_writer(&self, handle: Arc<LogHandle>) -> Result<LogWriter> {
        let system = DefaultFileSystem.new_writer(handle.system.clone())?;
        let syncs_itself = handle.path.extension().is_some_and(|extension| extension == "rewrite");
        Ok(LogWriter { system, handle, syncs_itself })
    }
}

impl Handle for LogHandle {
    fn truncate(&self, offset: usize) -> Result<()> {
        self.failure.check()?;
        self.failure.watch("shorten", &self.path, self.system.truncate(offset))
    }

    fn file_size(&self) -> Result<usize> {
        self.system.file_size()
    }

    /// Never an error, which raft-engine would panic on: who asked for the sync looks at the failure.
    fn sync(&self) -> Result<()> {
        if self.failure.check().is_ok() {
            let _ = self.failure.watch("sync", &self.path, self.system.sync());
        }
        Ok(())
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let handle = &self.handle;
        handle.failure.check()?;
        let written = handle.failure.watch("write", &handle.path, self.system.write(bytes))?;
        if self.syncs_itself && written == bytes.len() {
            handle.sync()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.system.flush()
    }
}

impl Seek for LogWriter {
    fn seek(&mut self, position: SeekFrom) -> Result<u64> {
        self.system.seek(position)
    }
}

impl WriteExt for LogWriter {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.handle.failure.check()?;
        self.handle.failure.watch("shorten", &self.handle.path, self.system.truncate(offset))
    }

    /// Only a hint: on a full disk the write itself fails.
    fn allocate(&mut self, offset: usize, bytes: usize) -> Result<()> {
        self.system.allocate(offset, bytes)
    }
}
