//! Where the edge listens, and what it accepts there.
//!
//! Invariant: an address is served by one process. `SO_REUSEPORT` is never set, so a second server on it is an error,
//! and a UNIX socket is replaced only when nobody listens on it. Its file goes with its listener.

use std::io::Result;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use super::address::Address;

pub enum Listener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix {
        listener: tokio::net::UnixListener,
        _file: SocketFile,
    },
}

pub enum Stream {
    /// With the address of the peer.
    Tcp(tokio::net::TcpStream, Arc<str>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Binds and listens, within a runtime. Returns also the address as bound (port 0 resolved).
    pub fn bind(address: &Address) -> Result<(Listener, String)> {
        match address {
            Address::Tcp(host_port) => {
                let candidates: Vec<_> = host_port.to_socket_addrs()?.collect();
                let listener = std::net::TcpListener::bind(&candidates[..])?;
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?.to_string();
                Ok((Listener::Tcp(tokio::net::TcpListener::from_std(listener)?), bound))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let listener = tokio::net::UnixListener::from_std(bind_file(path)?)?;
                let bound = format!("unix:{}", path.display());
                Ok((Listener::Unix { listener, _file: SocketFile(path.clone()) }, bound))
            }
        }
    }

    pub async fn accept(&self) -> Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true); // slower without, still right
                Ok(Stream::Tcp(stream, peer.to_string().into()))
            }
            #[cfg(unix)]
            Listener::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(unix)]
fn bind_file(path: &std::path::Path) -> Result<std::os::unix::net::UnixListener> {
    use std::io::ErrorKind::ConnectionRefused;
    use std::os::unix::net::{UnixListener, UnixStream};

    if path.exists() && UnixStream::connect(path).is_err_and(|error| error.kind() == ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The file of a UNIX socket, removed with its listener.
#[cfg(unix)]
pub struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // somebody else may have removed it
    }
}
