//! The outcome of a call, and its spelling in HTTP headers (gRPC over HTTP/2, "Responses").
//!
//! Invariant: whatever text a status carries, its headers are valid and small enough for a default client: the message
//! is percent-encoded and cut, details that would not fit are left out.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{percent_decode_str, percent_encode, AsciiSet, CONTROLS};

pub const OK: u32 = 0;
pub const CANCELLED: u32 = 1;
pub const UNKNOWN: u32 = 2;
pub const DEADLINE_EXCEEDED: u32 = 4;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const FAILED_PRECONDITION: u32 = 9;
pub const ABORTED: u32 = 10;
pub const UNIMPLEMENTED: u32 = 12;
pub const INTERNAL: u32 = 13;
pub const UNAVAILABLE: u32 = 14;
/// Codes run from 0 to 16.
pub const CODES: usize = 17;

pub const DEADLINE_TEXT: &str = "context deadline exceeded";

/// Everything outside printable ASCII, and the percent sign itself.
const NOT_IN_GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');
/// Clients accept 8 KiB of headers by default; message and details share it.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
const DETAILS_BYTES_MAX: usize = 4 << 10;

/// Writes without padding, as the specification asks; reads both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
static GRPC_RETRY: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

#[derive(Clone, Debug)]
pub struct Status {
    pub code: u32,
    pub message: String,
    /// A serialised google.rpc.Status, or empty.
    pub details: Bytes,
    /// Negative: none.
    pub retry_delay_ms: i64,
}

impl Status {
    pub const fn ok() -> Status {
        Status { code: OK, message: String::new(), details: Bytes::new(), retry_delay_ms: -1 }
    }

    pub fn new(code: u32, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), ..Status::ok() }
    }

    pub fn deadline_exceeded() -> Status {
        Status::new(DEADLINE_EXCEEDED, DEADLINE_TEXT)
    }

    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.insert(&GRPC_STATUS, HeaderValue::from(self.code));
        if !self.message.is_empty() {
            let mut end = self.message.len().min(MESSAGE_BYTES_MAX);
            while !self.message.is_char_boundary(end) {
                end -= 1;
            }
            let text = percent_encode(&self.message.as_bytes()[..end], NOT_IN_GRPC_MESSAGE).to_string();
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(&GRPC_MESSAGE, value);
            }
        }
        if !self.details.is_empty() && self.details.len() <= DETAILS_BYTES_MAX {
            if let Ok(value) = HeaderValue::try_from(BASE64.encode(&self.details)) {
                headers.insert(&GRPC_DETAILS, value);
            }
        }
        if self.retry_delay_ms >= 0 {
            headers.insert(&GRPC_RETRY, HeaderValue::from(self.retry_delay_ms));
        }
    }

    pub fn trailers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(1);
        self.write_to(&mut headers);
        headers
    }

    /// What a peer said, or None when these headers carry no status.
    pub fn read_from(headers: &HeaderMap) -> Option<Status> {
        let code = headers.get(&GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN);
        let text =
            |name| headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let message = text(&GRPC_MESSAGE).map(|message| percent_decode_str(&message).decode_utf8_lossy().into_owned());
        let details = text(&GRPC_DETAILS).and_then(|details| BASE64.decode(details.trim()).ok());
        let retry_delay_ms = text(&GRPC_RETRY).and_then(|delay| delay.parse().ok()).unwrap_or(-1);
        Some(Status {
            code,
            message: message.unwrap_or_default(),
            details: details.unwrap_or_default().into(),
            retry_delay_ms,
        })
    }

    /// What a reply means that is not gRPC at all (gRPC's "HTTP to gRPC status code mapping").
    pub fn from_http(code: http::StatusCode) -> Status {
        let grpc = match code.as_u16() {
            400 => INTERNAL,
            401 => 16,
            403 => 7,
            404 => UNIMPLEMENTED,
            429 | 502 | 503 | 504 => UNAVAILABLE,
            _ => UNKNOWN,
        };
        Status::new(grpc, format!("unexpected HTTP status {code}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_headers() {
        let status = Status {
            code: 9,
            message: "100% naïve\nline".into(),
            details: Bytes::from_static(b"\x00\x01\xff\xfe"),
            retry_delay_ms: 250,
        };
        let headers = status.trailers();
        assert_eq!(headers[&GRPC_MESSAGE], "100%25 na%C3%AFve%0Aline");
        let back = Status::read_from(&headers).unwrap();
        assert_eq!(
            (back.code, back.message, back.details, back.retry_delay_ms),
            (9, status.message, status.details, 250)
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let headers = Status::new(2, "é".repeat(MESSAGE_BYTES_MAX)).trailers();
        assert!(Status::read_from(&headers).unwrap().message.chars().all(|c| c == 'é'));
    }
}
