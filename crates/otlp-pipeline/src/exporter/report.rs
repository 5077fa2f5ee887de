//! One line in the log for each change of state.
//!
//! The states are: the collector takes requests or fails; spans are dropped for a reason or not. However often they
//! change, the lines are few.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Accounts, Dropped,
    accounts::REFUSED,
    signal::Signal,
    transport::{Event, Outcome},
};

/// What the log was told.
#[derive(Debug)]
pub(super) struct Report {
    endpoint: String,
    signal: Signal,
    /// What the collector, or the network, last said.
    cause: Option<String>,
    failing: Option<Failing>,
    failure_told: Option<Instant>,
    warning: Option<(String, Instant)>,
    accepted: Option<Instant>,
    dropped: Dropped,
    /// Since when there was a drop for each of the reasons, in their order, and the count before.
    dropping: [Option<Dropping>; 8],
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    /// There was a line, so there is another one when it is over.
    told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Dropping {
    before: u64,
    last: Instant,
}

const TARGET: &str = "otlp_pipeline";

/// A collector that fails again sooner after the last line is not worth another one.
const FAILURE_AGAIN: Duration = Duration::from_secs(10);
/// Drops for the same reason are over when there was none for so long. Refusals need a request that was taken, too: a
/// collector that does not know log records does not learn to while there are none.
const DROPS_OVER: Duration = Duration::from_secs(60);

impl Report {
    pub(super) fn new(endpoint: &str, signal: Signal) -> Self {
        Self {
            endpoint: without_password(endpoint),
            signal,
            cause: None,
            failing: None,
            failure_told: None,
            warning: None,
            accepted: None,
            dropped: Dropped::default(),
            dropping: [None; 8],
        }
    }

    /// What the collector, or the network, last said.
    pub(super) fn cause(&self) -> Option<String> {
        self.cause.clone()
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Failed { cause, again_in } => {
                let now = Instant::now();
                let failing = self.failing.get_or_insert(Failing {
                    since: now,
                    told: false,
                });
                // What began too soon after the last line has one once it has lasted.
                if !failing.told && is_due(self.failure_told, FAILURE_AGAIN) {
                    failing.told = true;
                    self.failure_told = Some(now);
                    tracing::warn!(
                        target: TARGET,
                        endpoint = self.endpoint,
                        cause,
                        again_in_ms = milliseconds(again_in),
                        "{} cannot be sent, and wait", self.signal.many()
                    );
                }
                self.cause = Some(cause);
            }
        }
    }

    pub(super) fn settled(&mut self, outcome: Outcome, accounts: &Accounts) {
        match outcome {
            Outcome::Accepted { rejected, message } => {
                self.accepted = Some(Instant::now());
                if rejected > 0 {
                    self.cause = Some(message);
                } else {
                    self.cause = None;
                    self.warn(message);
                }
                self.recovered(accounts);
            }
            // The lines about drops tell why; and who refuses has been reached.
            Outcome::Refused { cause } => {
                self.cause = Some(cause);
                self.recovered(accounts);
            }
            Outcome::GaveUp { cause } => self.cause = Some(cause),
        }
    }

    /// Notices drops, and their end.
    pub(super) fn look(&mut self, accounts: &Accounts) {
        let before = self.dropped.reasons();
        let now = Instant::now();
        for (i, (reason, count)) in accounts.dropped.reasons().into_iter().enumerate() {
            let more = count - before[i].1;
            match &mut self.dropping[i] {
                Some(dropping) if more > 0 => dropping.last = now,
                Some(dropping)
                    if now - dropping.last >= DROPS_OVER
                        && (reason != REFUSED || self.accepted > Some(dropping.last)) =>
                {
                    tracing::info!(
                        target: TARGET,
                        endpoint = self.endpoint,
                        reason,
                        dropped = count - dropping.before,
                        "{} are not dropped any more", self.signal.many()
                    );
                    self.dropping[i] = None;
                }
                Some(_) => {}
                None if more > 0 => {
                    tracing::warn!(
                        target: TARGET,
                        endpoint = self.endpoint,
                        reason,
                        cause = self.cause.as_deref(),
                        dropped = more,
                        "{} are dropped", self.signal.many()
                    );
                    let before = before[i].1;
                    self.dropping[i] = Some(Dropping { before, last: now });
                }
                None => {}
            }
        }
        self.dropped = accounts.dropped;
    }

    pub(super) fn panicked(&mut self, message: &str) {
        self.cause = Some(format!("the exporter panicked: {message}"));
        tracing::error!(
            target: TARGET,
            endpoint = self.endpoint,
            message,
            "the exporter panicked, and goes on"
        );
    }

    pub(super) fn stopped(&mut self, accounts: &Accounts) {
        let Accounts {
            started,
            ended,
            exported,
            dropped,
            ..
        } = *accounts;
        let lost = dropped.total();
        if lost == 0 {
            tracing::info!(
                target: TARGET,
                endpoint = self.endpoint,
                started,
                ended,
                exported,
                "all {} were delivered", self.ended()
            );
            return;
        }
        tracing::warn!(
            target: TARGET,
            endpoint = self.endpoint,
            started,
            ended,
            exported,
            dropped = lost,
            full = dropped.full,
            oversized = dropped.oversized,
            rejected = dropped.rejected,
            refused = dropped.refused,
            gave_up = dropped.gave_up,
            unflushed = dropped.unflushed,
            panicked = dropped.panicked,
            cause = self.cause.as_deref(),
            "not all {} were delivered", self.ended()
        );
    }

    /// Of what the last line tells.
    fn ended(&self) -> &'static str {
        match self.signal {
            Signal::Spans => "spans that ended",
            Signal::LogRecords => "log records",
        }
    }

    fn recovered(&mut self, accounts: &Accounts) {
        if let Some(Failing { since, told: true }) = self.failing.take() {
            tracing::info!(
                target: TARGET,
                endpoint = self.endpoint,
                after_ms = milliseconds(since.elapsed()),
                waiting = accounts.pending,
                "{} are sent again", self.signal.many()
            );
        }
    }

    /// Passes on what the collector says though it took everything.
    fn warn(&mut self, message: String) {
        let said = |(before, at): &(String, Instant)| {
            *before == message || !is_due(Some(*at), FAILURE_AGAIN)
        };
        if message.is_empty() || self.warning.as_ref().is_some_and(said) {
            return;
        }
        tracing::warn!(
            target: TARGET,
            endpoint = self.endpoint,
            warning = message,
            "the collector took {}, with a warning", self.signal.many()
        );
        self.warning = Some((message, Instant::now()));
    }
}

fn is_due(last: Option<Instant>, after: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= after)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The endpoint as it may be logged.
fn without_password(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host = rest[..host].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => endpoint.to_owned(),
    }
}
