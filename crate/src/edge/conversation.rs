//! A call whose request is a stream too: each message goes to Python when it is whole, under one call id, in order.
//!
//! Invariant: Python owes one message for each it was given, or an end. No more is read while it owes too many, or while
//! the caller leaves too many answers unread, so what one conversation holds is bounded whatever its caller does. When
//! the caller asks no more, or the server stops, the call ends here, once everything asked is answered.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

use http_body::Body;
use hyper::body::Incoming;

use super::caller::Caller;
use super::framing::Decoder;
use super::inbox::Charge;
use super::status::{Status, CANCELLED, INTERNAL, UNAVAILABLE};

/// Where the messages of one conversation come from, and what they share.
pub struct Questions {
    pub caller: Caller,
    pub id: u64,
    pub body: Incoming,
    pub gzip: bool,
    pub deadline: Option<Instant>,
}

impl Questions {
    /// Reads until the conversation is over. Dropped when its call is closed.
    pub async fn read(self) {
        let (network, id) = (self.caller.network.clone(), self.id);
        let mut stopping = network.stopping.subscribe();
        tokio::select! {
            biased;
            read = self.deliver_all() => match read {
                Ok(()) => network.end_when_answered(id, Status::ok()),
                Err(status) => network.fail(id, status),
            },
            _ = stopping.wait_for(|stopping| *stopping) => {
                network.end_when_answered(id, Status::new(UNAVAILABLE, "server is shutting down"));
            }
        }
    }

    async fn deliver_all(self) -> Result<(), Status> {
        let Questions { caller, id, mut body, gzip, deadline } = self;
        let settings = &caller.network.shared.settings;
        let mut decoder = Decoder::new(settings.request_bytes_max);
        let mut charge = caller.charge(Charge::overhead())?;
        let mut began = None;
        loop {
            while let Some((compressed, message)) = decoder.next().map_err(|error| caller.bad_frame(error))? {
                let mut rest = charge.split(decoder.left());
                caller.grow(&mut rest, Charge::overhead())?;
                let message = caller.plain(compressed, message, gzip, &mut charge)?;
                if !charge.enter(settings.inbox_calls_max) {
                    return Err(caller.overloaded());
                }
                caller.network.deliver(id, message, deadline, charge);
                charge = rest;
                if !poll_fn(|cx| caller.network.poll_room(id, cx.waker())).await {
                    return Ok(());
                }
            }
            began = if decoder.left() > 0 { began.or_else(|| Some(Instant::now())) } else { None };
            let is_over = body.is_end_stream();
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let frame = match began {
                _ if is_over => None,
                None => next.await,
                Some(began) => {
                    let next = tokio::time::timeout_at(caller.whole_by(began).into(), next).await;
                    next.map_err(|_| caller.too_slow())?
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        caller.grow(&mut charge, data.len())?;
                        decoder.push(data);
                    }
                }
                Some(Err(error)) => return Err(Status::new(CANCELLED, format!("request was cut off: {error}"))),
                None if decoder.left() > 0 => {
                    return Err(Status::new(INTERNAL, "request ended before its message was whole"))
                }
                None => return Ok(()),
            }
        }
    }
}
