//! Addresses as users write them: `host:port`, `[::1]:port`, `:port`, `unix:/path` (not on Windows).

use std::io::{Error, ErrorKind, Result};

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(String),
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

impl Address {
    pub fn parse(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(invalid(text, "no path after 'unix:'"));
            }
            return unix(path);
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

    /// What a client calls the server there, unless it was told.
    pub fn authority(&self) -> &str {
        match self {
            Address::Tcp(host_port) => host_port,
            #[cfg(unix)]
            Address::Unix(_) => "localhost",
        }
    }
}

#[cfg(unix)]
fn unix(path: &str) -> Result<Address> {
    Ok(Address::Unix(path.into()))
}

#[cfg(not(unix))]
fn unix(path: &str) -> Result<Address> {
    Err(invalid(&format!("unix:{path}"), "UNIX sockets are not available on this system"))
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("invalid address '{text}': {why}"))
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
        for text in ["127.0.0.1:0", "[::1]:80", "localhost:8080", ":8080"] {
            assert!(Address::parse(text).is_ok(), "{text}");
        }
        for text in ["unix:/tmp/x", "unix:///tmp/x"] {
            assert_eq!(Address::parse(text).is_ok(), cfg!(unix), "{text}");
        }
    }
}
