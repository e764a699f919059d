//! Addresses as users write them: `host:port`, `[::1]:port`, `:port`, `unix:/path`.
//!
//! Invariant: an address is served by one process. `SO_REUSEPORT` is never set, so a second server on it is an error,
//! and a UNIX socket is replaced only when nobody listens on it.

use std::io::{Error, ErrorKind, Result};
use std::net::ToSocketAddrs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(String),
    Unix(PathBuf),
}

impl Address {
    pub fn parse(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(invalid(text, "no path after 'unix:'"));
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(invalid(text, "expected host:port or unix:/path"));
        };
        if port.parse::<u16>().is_err() {
            return Err(invalid(text, "the port must be a number from 0 to 65535"));
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(invalid(text, "write an IPv6 address in brackets"));
        }
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        Ok(Address::Tcp(format!("{host}:{port}")))
    }
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("invalid address '{text}': {why}"))
}

/// A bound, listening, non-blocking socket that no runtime owns yet.
pub enum Bound {
    Tcp(std::net::TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Binds and listens. Returns the socket and the address as bound (port 0 resolved).
pub fn bind(address: &Address) -> Result<(Bound, String)> {
    match address {
        Address::Tcp(host_port) => {
            let candidates: Vec<_> = host_port.to_socket_addrs()?.collect();
            let listener = std::net::TcpListener::bind(&candidates[..])?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?.to_string();
            Ok((Bound::Tcp(listener), bound))
        }
        Address::Unix(path) => {
            if path.exists()
                && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            {
                std::fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok((Bound::Unix(listener, path.clone()), format!("unix:{}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_name_no_port_are_refused() {
        for text in ["", "host", "host:", "host:99999", "::1:80", "unix:"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_spellings_in_use_are_understood() {
        for text in ["127.0.0.1:0", "[::1]:80", "localhost:8080", ":8080", "unix:/tmp/x", "unix:///tmp/x"] {
            assert!(Address::parse(text).is_ok(), "{text}");
        }
    }
}
