//! The export table of `dkv._native`: what Python sees, and nothing else.

mod bell;
mod edge;
mod log;
mod raft;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<bell::Bell>()?;
    edge::register(module)?;
    raft::register(module)?;
    log::register(module)?;
    Ok(())
}
