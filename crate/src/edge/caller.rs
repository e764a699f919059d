//! Taking in what a caller sends: its share of the inbox, the limits, one message of a unary call.
//!
//! Invariant: what is held of a message is charged before it is kept, so that no caller holds more than its share.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;

use super::framing::{gunzip, Decoder, FrameError};
use super::inbox::{Charge, Load};
use super::network::Network;
use super::status::{Status, ABORTED, INTERNAL, RESOURCE_EXHAUSTED};

/// Whoever asks, with what is needed to take a request in.
pub struct Caller {
    pub network: Rc<Network>,
    pub connection: Arc<Load>,
    pub peer: Arc<str>,
}

impl Caller {
    pub fn overloaded(&self) -> Status {
        self.network.shared.overloaded("server is overloaded, try again later")
    }

    fn too_large(&self, bytes: usize) -> Status {
        let limit = self.network.shared.settings.request_bytes_max;
        Status::new(RESOURCE_EXHAUSTED, format!("received message larger than max ({bytes} vs. {limit})"))
    }

    /// When a message that began to arrive has to be whole: half of one holds its share of the inbox.
    pub fn whole_by(&self, began: Instant) -> Instant {
        began + Duration::from_millis(self.network.shared.settings.request_timeout_ms)
    }

    pub fn too_slow(&self) -> Status {
        let seconds = self.network.shared.settings.request_timeout_ms as f64 / 1e3;
        Status::new(ABORTED, format!("the request was not whole within {seconds} s"))
    }

    pub fn bad_frame(&self, error: FrameError) -> Status {
        match error {
            FrameError::TooLarge(bytes) => self.too_large(bytes),
            FrameError::BadFlag(flag) => Status::new(INTERNAL, format!("bad compression flag {flag}")),
        }
    }

    /// A first share of the inbox.
    pub fn charge(&self, bytes: usize) -> Result<Charge, Status> {
        let mut charge = Charge::new(&self.network.shared.load, &self.connection);
        self.grow(&mut charge, bytes)?;
        Ok(charge)
    }

    pub fn grow(&self, charge: &mut Charge, bytes: usize) -> Result<(), Status> {
        let settings = &self.network.shared.settings;
        match charge.grow(bytes, settings.inbox_bytes_max, settings.inbox_bytes_max_per_connection) {
            true => Ok(()),
            false => Err(self.overloaded()),
        }
    }

    /// A message as it was before it was compressed.
    pub fn plain(&self, compressed: bool, message: Bytes, gzip: bool, charge: &mut Charge) -> Result<Bytes, Status> {
        if !compressed {
            return Ok(message);
        }
        if !gzip {
            return Err(Status::new(INTERNAL, "compressed message without grpc-encoding"));
        }
        let plain = match gunzip(&message, self.network.shared.settings.request_bytes_max) {
            Ok(Some(plain)) => plain,
            Ok(None) => return Err(Status::new(INTERNAL, "message is not valid gzip")),
            Err(bytes) => return Err(self.too_large(bytes)),
        };
        self.grow(charge, plain.len().saturating_sub(message.len()))?;
        Ok(plain)
    }

    /// The one message of the request, and its share of the inbox.
    pub async fn read_message(&self, mut body: Incoming, gzip: bool) -> Result<(Bytes, Charge), Status> {
        let mut charge = self.charge(Charge::overhead())?;
        let mut decoder = Decoder::new(self.network.shared.settings.request_bytes_max);
        let mut message = None;
        while !body.is_end_stream() {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
                break;
            };
            let frame = frame.map_err(|error| Status::new(INTERNAL, format!("request was cut off: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.grow(&mut charge, data.len())?;
            decoder.push(data);
            if message.is_none() {
                message = decoder.next().map_err(|error| self.bad_frame(error))?;
            }
            if message.is_some() && decoder.left() > 0 {
                return Err(Status::new(INTERNAL, "more than one message in a unary request"));
            }
        }
        let Some((compressed, message)) = message else {
            return Err(Status::new(INTERNAL, "request ended before its message was whole"));
        };
        let plain = self.plain(compressed, message, gzip, &mut charge)?;
        Ok((plain, charge))
    }
}
