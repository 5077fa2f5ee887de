//! A thread with a runtime that ends with its owner.

use std::{thread, thread::JoinHandle};

use tokio::{runtime, sync::oneshot};

/// Ends what runs on the thread when dropped, and waits for it.
#[derive(Debug)]
pub(crate) struct Background {
    /// Its end is the sign to stop.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// `work` runs until it is done or the owner is dropped, together with all that it spawned.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = work() => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread.expect("a thread")),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // What panicked there has told so itself.
            let _ = thread.join();
        }
    }
}
