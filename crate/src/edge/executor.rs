//! Tasks of one connection stay on the thread that serves it, so nothing in them needs to be `Send`.

/// Runs hyper's futures on the local task set of the current thread.
#[derive(Clone)]
pub struct LocalExecutor;

impl<F: std::future::Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
