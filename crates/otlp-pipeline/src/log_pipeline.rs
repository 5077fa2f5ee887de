//! The handle of a pipeline for log records.

use std::{future::Future, time::Duration};

use crate::{Accounts, Config, FlushError, LogProcessor, Pipeline, StartError, signal::Signal};

/// Encodes, keeps and sends log records, as a [`Pipeline`] does spans. A clone is the same pipeline.
///
/// All that is said there of spans that end holds here for records that are logged. It has a thread, a connection and memory
/// of its own, so that a collector that takes the one signal and not the other keeps nothing waiting.
#[derive(Clone, Debug)]
pub struct LogPipeline(Pipeline);

impl LogPipeline {
    /// Starts the exporter's thread; see [`Pipeline::start`].
    ///
    /// Over HTTP the endpoint is the whole URL, e.g. `http://localhost:4318/v1/logs`.
    ///
    /// # Errors
    /// All that is wrong with `config`, or that there is no thread to be had.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let signal = Signal::LogRecords;
        Pipeline::start(Config { signal, ..config }).map(Self)
    }

    #[cfg(test)]
    pub(crate) fn start_with(
        config: Config,
        courier: impl crate::exporter::Courier,
    ) -> Result<Self, StartError> {
        let signal = Signal::LogRecords;
        Pipeline::start_with(Config { signal, ..config }, courier).map(Self)
    }

    /// A processor for a provider of loggers; see [`Pipeline::processor`].
    pub fn processor(&self) -> LogProcessor {
        LogProcessor::new(self.0.feed())
    }

    /// What became of every log record so far. One begins and ends when it is logged.
    pub fn accounts(&self) -> Accounts {
        self.0.accounts()
    }

    /// Sends all log records so far; see [`Pipeline::flush`].
    ///
    /// # Errors
    /// Those of [`Pipeline::flush`].
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.0.flush(timeout)
    }

    /// As [`flush`](Self::flush), for a task; see [`Pipeline::flush_async`].
    pub fn flush_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + use<> {
        self.0.flush_async(timeout)
    }

    /// Sends all log records so far and ends the pipeline; see [`Pipeline::shutdown`].
    ///
    /// # Errors
    /// Those of [`Pipeline::shutdown`].
    pub fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        self.0.shutdown(timeout)
    }

    /// As [`shutdown`](Self::shutdown), for a task; see [`Pipeline::shutdown_async`].
    pub fn shutdown_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + use<> {
        self.0.shutdown_async(timeout)
    }
}
