//! The socket that wakes an event loop.
//!
//! A loop can watch a socket or read from one on every platform, and nothing native has to call it.

use std::io::{Error, ErrorKind, Result, Write};

#[cfg(unix)]
type Socket = std::os::unix::net::UnixStream;
/// Windows has no socket pairs; Python makes one of two TCP sockets.
#[cfg(windows)]
type Socket = std::net::TcpStream;

pub struct LoopBell(Socket);

impl LoopBell {
    /// A duplicate of the socket that Python holds open during this call.
    pub fn duplicate_of(descriptor: i64) -> Result<LoopBell> {
        let socket = duplicate(descriptor)?;
        socket.set_nonblocking(true)?;
        Ok(LoopBell(socket))
    }

    pub fn ring(&self) {
        let _ = (&self.0).write(&[1]); // full: the loop has not even begun to look
    }
}

#[cfg(unix)]
fn duplicate(descriptor: i64) -> Result<Socket> {
    let descriptor = i32::try_from(descriptor).ok().filter(|number| *number >= 0).ok_or_else(not_open)?;
    // SAFETY: the caller holds the socket open.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    Ok(socket.try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn duplicate(descriptor: i64) -> Result<Socket> {
    let descriptor = u64::try_from(descriptor).map_err(|_| not_open())?;
    // SAFETY: the caller holds the socket open.
    let socket = unsafe { std::os::windows::io::BorrowedSocket::borrow_raw(descriptor) };
    Ok(socket.try_clone_to_owned()?.into())
}

fn not_open() -> Error {
    Error::new(ErrorKind::InvalidInput, "the bell is no open descriptor")
}
