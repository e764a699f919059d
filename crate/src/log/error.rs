//! Why a log could not be opened or used, and what Python raises for it: damage and misuse are ValueError, a file
//! system that fails is OSError.

use std::io;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::PyErr;

#[derive(Debug)]
pub enum Error {
    /// Something behind `offset` is not what was written there, and it is not just the end of an interrupted write.
    Damaged { file: PathBuf, offset: u64, reason: String },
    /// The folder is in use, or its parts contradict each other, or the caller asked for what cannot be.
    Refused(String),
    /// The operating system refused.
    Io(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Error::Io(format!("{what} {}: {error}", path.display()))
    }

    pub fn damaged(file: &Path, offset: usize, reason: impl Into<String>) -> Self {
        Error::Damaged { file: file.to_owned(), offset: offset as u64, reason: reason.into() }
    }
}

impl From<raft_engine::Error> for Error {
    fn from(error: raft_engine::Error) -> Self {
        match error {
            raft_engine::Error::Io(error) => Error::Io(error.to_string()),
            other => Error::Refused(other.to_string()),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Damaged { file, offset, reason } => {
                write!(out, "{} is damaged at offset {offset}: {reason}", file.display())
            }
            Error::Refused(reason) | Error::Io(reason) => out.write_str(reason),
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(reason) => PyOSError::new_err(reason),
            other => PyValueError::new_err(other.to_string()),
        }
    }
}
