//! When the process stops, and by when.

use std::{
    io, process, thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;

/// How long requests in flight may take once the server stops.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);

/// How long all of a stop may take after its delay, the last sync to the disk included.
const PATIENCE: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the process does not just end at a signal.
    ///
    /// # Errors
    /// Says what was attempted.
    pub(crate) fn listen() -> Result<Signals, (&'static str, io::Error)> {
        let listen = |kind, doing| signal(kind).map_err(|error| (doing, error));
        // Whoever wants to write beyond a limit on the size of files (`ulimit -f`) then gets an error, as of a full disk,
        // and not the end of the process.
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(listen(too_large, "listening for SIGXFSZ")?);
        Ok(Signals {
            terminate: listen(SignalKind::terminate(), "listening for SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "listening for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the first signal. From then on, the second one and the end of 5 seconds after the delay end the
    /// process wherever it is: what was acknowledged has been written, if there is a disk.
    pub(crate) async fn first(mut self, delay: Duration) -> Instant {
        self.next().await;
        let begun = Instant::now();
        if delay.is_zero() {
            output::info(
                "stopping: open requests have 3 s, a second signal ends at once",
                json!({}),
            );
        } else {
            output::info(
                &format!(
                    "stopping in {delay:?}: not ready from now on, a second signal ends at once"
                ),
                json!({ "milliseconds": delay.as_millis() as u64 }),
            );
        }
        // Not a task: the runtime may be stuck, or gone while its last work is waited for.
        thread::spawn(move || {
            thread::sleep(delay.saturating_add(PATIENCE));
            output::error("did not stop within 5 s: ending without a last sync to the disk");
            process::exit(1);
        });
        tokio::spawn(async move {
            self.next().await;
            output::error("a second signal: ending at once");
            process::exit(1);
        });
        begun
    }
}
