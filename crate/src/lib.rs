//! The export table of `dkv._native`: what Python sees, and nothing else. Windows has clients and servers in memory, and
//! so no log.

mod bell;
mod changes;
mod edge;
#[cfg(unix)]
mod log;
mod raft;
mod relay;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<bell::Bell>()?;
    changes::register(module)?;
    edge::register(module)?;
    raft::register(module)?;
    #[cfg(unix)]
    log::register(module)?;
    relay::register(module)?;
    Ok(())
}
