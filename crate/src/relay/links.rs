//! What is around a relay besides its log: the other nodes, and time. Native, or made in Python for a simulation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::outbox::Outbox;
use crate::edge::{Hub, Packer};

pub trait Links: Send + Sync {
    /// From some beginning on.
    fn now(&self) -> Duration;
    /// (node, message) that have arrived since the last call.
    fn receive(&self) -> Vec<(u64, Bytes)>;
    fn send(&self, outbox: Outbox);
}

pub struct NativeLinks {
    pub began: Instant,
    /// None: this node is alone.
    pub hub: Option<Arc<Hub>>,
}

impl Links for NativeLinks {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn receive(&self) -> Vec<(u64, Bytes)> {
        self.hub.as_ref().map(|hub| hub.inbox.take()).unwrap_or_default()
    }

    fn send(&self, outbox: Outbox) {
        let Some(hub) = &self.hub else { return };
        hub.send(outbox.into_nodes().map(|(node, messages)| {
            let mut packer = Packer::default();
            messages.iter().for_each(|message| packer.push(message));
            (node, packer)
        }));
    }
}

pub struct PythonLinks(pub Py<PyAny>);

impl PythonLinks {
    /// Calls a method. One that raises is a bug of the simulation: Python reports it, and it is as if nothing had come.
    fn call<T: Default>(&self, act: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> T {
        Python::attach(|py| {
            let links = self.0.bind(py);
            act(links).unwrap_or_else(|error| {
                error.write_unraisable(py, Some(links));
                T::default()
            })
        })
    }
}

impl Links for PythonLinks {
    fn now(&self) -> Duration {
        Duration::from_millis(self.call(|links| links.call_method0("now_ms")?.extract()))
    }

    fn receive(&self) -> Vec<(u64, Bytes)> {
        let arrived: Vec<(u64, Vec<u8>)> = self.call(|links| links.call_method0("receive")?.extract());
        arrived.into_iter().map(|(node, message)| (node, message.into())).collect()
    }

    fn send(&self, outbox: Outbox) {
        let flat = outbox.into_nodes().flat_map(|(node, each)| each.into_iter().map(move |message| (node, message)));
        self.call(|links| {
            let py = links.py();
            let messages: Vec<_> = flat.map(|(node, message)| (node, PyBytes::new(py, &message))).collect();
            links.call_method1("send", (messages,)).map(|_| ())
        });
    }
}
