//! The handle of a pipeline.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedSender, error::SendError},
        oneshot,
    },
    time::Instant,
};

use crate::{
    Accounts, Config, FlushError, Processor, StartError, Undelivered,
    buffers::Buffers,
    config_error::Mistakes,
    exporter::{self, Command, Courier, Reply, Running},
    memory::{self, Memory},
    signal::Signal,
    transport::Transport,
};

/// Encodes, keeps and sends spans. A clone is the same pipeline.
///
/// To be kept until the end of `main`: where the last clone is dropped without a shutdown, all spans that have ended are
/// sent, for at most five seconds, and what was not delivered is logged. A provider alone does not see to this, since the
/// one that [`global`](opentelemetry::global) holds is never dropped.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

/// What processors and handles have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) buffers: Arc<Buffers>,
    signal: Signal,
    commands: UnboundedSender<Command>,
    /// Disconnected when the exporter's thread has done all it had to.
    ended: Mutex<mpsc::Receiver<Infallible>>,
    is_stopped: AtomicBool,
    /// Those without a shutdown.
    processors: AtomicUsize,
    pipelines: AtomicUsize,
}

/// For a flush that has no timeout of its own; the SDK's for a shutdown is the same.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The exporter answers at a deadline; if it has not so long after, it will not.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

impl Pipeline {
    /// Starts the exporter's thread, which connects when there is something to send.
    ///
    /// Works inside and outside of a runtime, and needs none.
    ///
    /// # Errors
    /// All that is wrong with `config`, or that there is no thread to be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let transport = Transport::new(&config);
        let mut mistakes = transport
            .as_ref()
            .err()
            .cloned()
            .map_or_else(Mistakes::default, Mistakes::from);
        memory::check(&config, &mut mistakes);
        mistakes.into_result()?;
        Self::start_with(config, transport?)
    }

    pub(crate) fn start_with(config: Config, courier: impl Courier) -> Result<Self, StartError> {
        let buffers = Arc::new(Buffers::new(Memory::new(&config)));
        let signal = config.signal;
        let Running { commands, ended } = exporter::start(config, Arc::clone(&buffers), courier)?;
        let shared = Arc::new(Shared {
            buffers,
            signal,
            commands,
            ended: Mutex::new(ended),
            is_stopped: AtomicBool::new(false),
            processors: AtomicUsize::new(0),
            pipelines: AtomicUsize::new(1),
        });
        Ok(Self { shared })
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A processor for a provider. Each provider has one of its own, for its resource.
    ///
    /// Providers may come and go: while there is a `Pipeline`, the end of a provider flushes and stops nothing. After a
    /// shutdown of the pipeline all spans of a new processor are late, which is logged as a warning.
    pub fn processor(&self) -> Processor {
        Processor::new(self.feed())
    }

    /// What a processor needs.
    pub(crate) fn feed(&self) -> Arc<Shared> {
        if self.shared.is_stopped.load(SeqCst) {
            tracing::warn!(
                target: "otlp_pipeline",
                "a processor was made after the shutdown of its pipeline, and sends nothing"
            );
        }
        Arc::clone(&self.shared)
    }

    /// What became of every span so far.
    pub fn accounts(&self) -> Accounts {
        self.shared.buffers.accounts()
    }

    /// Sends all spans that have ended, and waits for it as long as `timeout`.
    ///
    /// # Errors
    /// [`FlushError::Undelivered`] if any were not delivered in time, or were dropped and no error of this kind had told
    /// of them before this call.
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.shared.flush(timeout)
    }

    /// As [`flush`](Self::flush), for a task: what waits is the future, on whatever runtime, and a thread that looks at the
    /// clock, lest the future wait for an exporter whose thread is blocked, e.g. by a subscriber of the log.
    pub fn flush_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + use<> {
        self.shared.answer(timeout, Shared::flush_command)
    }

    /// Sends all spans that have ended, for as long as `timeout`, and ends the pipeline. Later spans are counted, and not
    /// sent.
    ///
    /// Blocks the calling thread, and yet succeeds on any thread of any runtime, since the exporter has its own.
    ///
    /// # Errors
    /// [`FlushError::Undelivered`] if any were not delivered in time, or were dropped and no error of this kind had told
    /// of them before this call.
    /// [`FlushError::AlreadyShutdown`] if there was a shutdown before.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        self.shared.stop(timeout)
    }

    /// As [`shutdown`](Self::shutdown), for a task: what waits is as in [`flush_async`](Self::flush_async). The shutdown begins with this call, and goes on if the future
    /// is dropped: the drop of the last clone then waits for its end, for at most five seconds.
    pub fn shutdown_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + use<> {
        self.shared.answer(timeout, Shared::stop_command)
    }
}

impl Clone for Pipeline {
    fn clone(&self) -> Self {
        self.shared.pipelines.fetch_add(1, SeqCst);
        let shared = Arc::clone(&self.shared);
        Self { shared }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.shared.pipelines.fetch_sub(1, SeqCst) == 1 {
            self.shared.leave();
        }
    }
}

impl Shared {
    pub(crate) fn add_processor(&self) {
        self.processors.fetch_add(1, SeqCst);
    }

    /// Whether it was the last one.
    pub(crate) fn remove_processor(&self) -> bool {
        self.processors.fetch_sub(1, SeqCst) == 1
    }

    pub(crate) fn has_pipelines(&self) -> bool {
        self.pipelines.load(SeqCst) > 0
    }

    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.ask(timeout, |reply| self.flush_command(timeout, reply))
    }

    pub(crate) fn stop(&self, timeout: Duration) -> Result<(), FlushError> {
        self.ask(timeout, |reply| self.stop_command(timeout, reply))
    }

    /// For whoever is dropped without a shutdown.
    ///
    /// With processors there may be more spans, so that the pipeline is not stopped. Nobody hears of the result, so it is
    /// logged; that of a stop the exporter logs. Of a shutdown that goes on, since its future was dropped, the end is waited
    /// for.
    pub(crate) fn leave(&self) {
        if self.is_stopped.load(SeqCst) {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            // If its time is over, so is this one's; the exporter logs what it could not send.
            let _ = ended.recv_timeout(DEFAULT_TIMEOUT);
        } else if self.processors.load(SeqCst) == 0 {
            // Its result is in the log, unless there was a shutdown before.
            let _ = self.stop(DEFAULT_TIMEOUT);
        } else if self.buffers.accounts().pending > 0
            && let Err(error @ FlushError::Undelivered(_)) = self.flush(DEFAULT_TIMEOUT)
        {
            tracing::warn!(
                target: "otlp_pipeline",
                error = error.to_string(),
                "the pipeline was dropped without a shutdown"
            );
        }
    }

    fn flush_command(&self, timeout: Duration, reply: Reply) -> Result<Command, FlushError> {
        if self.is_stopped.load(SeqCst) {
            return Err(FlushError::AlreadyShutdown);
        }
        let deadline = Instant::now().checked_add(timeout);
        Ok(Command::Flush { deadline, reply })
    }

    fn stop_command(&self, timeout: Duration, reply: Reply) -> Result<Command, FlushError> {
        if self.is_stopped.swap(true, SeqCst) {
            return Err(FlushError::AlreadyShutdown);
        }
        let deadline = Instant::now().checked_add(timeout);
        Ok(Command::Stop { deadline, reply })
    }

    fn ask(
        &self,
        timeout: Duration,
        command: impl FnOnce(Reply) -> Result<Command, FlushError>,
    ) -> Result<(), FlushError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let reply = Box::new(move |result| answer.try_send(result).is_ok());
        let sent = self.commands.send(command(reply)?);
        let result = match sent {
            Ok(()) => answered.recv_timeout(timeout.saturating_add(GRACE)).ok(),
            Err(SendError(command)) => return self.too_late(&command),
        };
        result.unwrap_or_else(|| self.no_answer())
    }

    fn answer(
        self: &Arc<Self>,
        timeout: Duration,
        command: fn(&Self, Duration, Reply) -> Result<Command, FlushError>,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let tell = move |result| {
            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
            answer.is_some_and(|answer| answer.send(result).is_ok())
        };
        let (until_answered, over) = mpsc::channel::<Infallible>();
        let reply: Reply = Box::new({
            let tell = tell.clone();
            move |result| {
                let _until_answered = until_answered;
                tell(result)
            }
        });
        let shared = Arc::clone(self);
        let sent = command(self, timeout, reply).map(|command| shared.commands.send(command));
        if let Ok(Ok(())) = sent {
            let watch = {
                let shared = Arc::clone(self);
                move || {
                    let timeout = timeout.saturating_add(GRACE);
                    if let Err(RecvTimeoutError::Timeout) = over.recv_timeout(timeout) {
                        tell(shared.no_answer());
                    }
                }
            };
            // Without a thread to be had, the clock is the exporter's.
            let _ = thread::Builder::new()
                .name("otlp-pipeline-clock".to_owned())
                .spawn(watch);
        }
        async move {
            match sent? {
                Ok(()) => answered.await.unwrap_or_else(|_| shared.no_answer()),
                Err(SendError(command)) => shared.too_late(&command),
            }
        }
    }

    /// The exporter takes no commands any more.
    fn too_late(&self, command: &Command) -> Result<(), FlushError> {
        match command {
            // The shutdown began after this flush had looked.
            Command::Flush { .. } if self.is_stopped.load(SeqCst) => {
                Err(FlushError::AlreadyShutdown)
            }
            Command::Flush { .. } | Command::Stop { .. } => self.no_answer(),
        }
    }

    /// The exporter is gone, or does not get to its work.
    fn no_answer(&self) -> Result<(), FlushError> {
        let Accounts {
            dropped, pending, ..
        } = self.buffers.accounts();
        let cause = Some("the exporter does not answer".to_owned());
        Err(FlushError::Undelivered(Undelivered {
            dropped,
            pending,
            cause,
            signal: self.signal,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_a_shutdown_overtakes_is_told_of_it() {
        let pipeline = Pipeline::start(Config::default()).unwrap();
        pipeline.shutdown(DEFAULT_TIMEOUT).unwrap();
        // As if it had looked before.
        let deadline = None;
        let told = pipeline.shared.ask(DEFAULT_TIMEOUT, |reply| {
            Ok(Command::Flush { deadline, reply })
        });
        assert_eq!(told, Err(FlushError::AlreadyShutdown));
    }
}
