//! What the exporter is asked for, and what it answers.

#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Interval, sleep, sleep_until},
};

use super::report::Report;
use crate::{
    Dropped, FlushError, Undelivered,
    buffers::{Buffers, Outgoing, Settled, Take},
    memory::Memory,
    transport::Outcome,
};

/// What the exporter is asked for. Without a deadline it takes as long as it takes.
pub(crate) enum Command {
    /// To send all that has ended.
    Flush {
        deadline: Option<Instant>,
        reply: Reply,
    },
    /// To send all that has ended, take nothing more, and end.
    Stop {
        deadline: Option<Instant>,
        reply: Reply,
    },
}

/// Returns whether anybody heard. Dropped instead of called if the exporter is gone.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), FlushError>) -> bool + Send>;

/// The state of the exporter but for the transport.
pub(super) struct Desk {
    buffers: Arc<Buffers>,
    commands: UnboundedReceiver<Command>,
    flushes: Vec<Flush>,
    stop: Option<Stop>,
    /// Drops that an answer has told of.
    told: Dropped,
    /// When everything was last taken from threads.
    collected: Instant,
    report: Rc<RefCell<Report>>,
}

struct Flush {
    seal: u64,
    /// What answers had told of when it came. Whoever asks meanwhile hears of the rest too, and takes nothing from it.
    told: Dropped,
    deadline: Option<Instant>,
    reply: Reply,
}

struct Stop {
    /// As for a flush.
    told: Dropped,
    deadline: Option<Instant>,
    reply: Reply,
}

impl Desk {
    pub(super) fn new(
        buffers: Arc<Buffers>,
        commands: UnboundedReceiver<Command>,
        report: Report,
    ) -> Self {
        Self {
            buffers,
            commands,
            flushes: Vec::new(),
            stop: None,
            told: Dropped::default(),
            collected: Instant::now(),
            report: Rc::new(RefCell::new(report)),
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.buffers.memory
    }

    pub(super) fn report(&self) -> Rc<RefCell<Report>> {
        Rc::clone(&self.report)
    }

    pub(super) fn collect(&mut self, what: Take) {
        self.buffers.collect(what);
        if what == Take::Everything {
            self.collected = Instant::now();
        }
        self.report.borrow_mut().look(&self.buffers.accounts());
    }

    /// As [`collect`](Self::collect) of what is finished, or after `delay` of everything, lest threads that do little wait
    /// for a backlog that others keep up.
    pub(super) fn collect_meanwhile(&mut self, delay: Duration) {
        let is_due = self.collected.elapsed() >= delay;
        self.collect(if is_due {
            Take::Everything
        } else {
            Take::Finished
        });
    }

    /// The next request, unless the time for sending is over.
    pub(super) fn next_request(&mut self) -> Option<Outgoing> {
        let mut ledger = self.buffers.ledger();
        (!self.is_over()).then(|| ledger.next_request(self.memory()))?
    }

    pub(super) fn settle(&mut self, outcome: Outcome) {
        let count = |spans: u64| {
            let settled = Settled::default();
            match &outcome {
                Outcome::Accepted { rejected, .. } => {
                    let rejected = spans.min(*rejected);
                    let exported = spans - rejected;
                    Settled {
                        exported,
                        rejected,
                        ..settled
                    }
                }
                Outcome::Refused { .. } => Settled {
                    refused: spans,
                    ..settled
                },
                Outcome::GaveUp { .. } => Settled {
                    gave_up: spans,
                    ..settled
                },
            }
        };
        self.buffers.ledger().settle(self.memory(), count);
        let accounts = self.buffers.accounts();
        let mut report = self.report.borrow_mut();
        report.settled(outcome, &accounts);
        report.look(&accounts);
        drop(report);
        self.answer();
    }

    /// Waits for a command or a deadline, and heeds it.
    pub(super) async fn attend(&mut self) {
        let flushes = self.flushes.iter().filter_map(|flush| flush.deadline);
        let stop = self.stop.iter().filter_map(|stop| stop.deadline);
        let deadline = flushes.chain(stop).min();
        let over = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(command) = self.commands.recv() => self.obey(command),
            () = over => self.answer(),
        }
    }

    /// Waits until there is something to do.
    pub(super) async fn idle(&mut self, schedule: &mut Interval) {
        let buffers = Arc::clone(&self.buffers);
        tokio::select! {
            () = self.attend() => {}
            () = buffers.memory.rung() => {}
            _ = schedule.tick() => {}
        }
    }

    pub(super) async fn wait(&self, pause: Duration) {
        if !self.is_stopping() {
            sleep(pause).await;
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// The time for the shutdown is over.
    pub(super) fn is_over(&self) -> bool {
        let deadline = self.stop.as_ref().and_then(|stop| stop.deadline);
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The request on its way was lost by a panic.
    pub(super) fn lose_request(&mut self) {
        let count = |panicked| Settled {
            panicked,
            ..Settled::default()
        };
        self.buffers.ledger().settle(self.memory(), count);
    }

    pub(super) fn panicked(&mut self, message: &str) {
        // What waits has waited long enough.
        self.memory().attend();
        self.memory().ring();
        self.report.borrow_mut().panicked(message);
        self.answer();
    }

    /// Answers everybody, for the last time: those too whose command came while the last request was on its way. Who comes
    /// later finds the channel closed.
    pub(super) async fn finish(&mut self) {
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.obey(command);
        }
        self.buffers.ledger().abandon(self.memory());
        self.report.borrow_mut().stopped(&self.buffers.accounts());
        self.answer();
        if let Some(stop) = self.stop.take() {
            self.tell(stop.reply, &stop.told, 0);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Flush { deadline, reply } => {
                self.collect(Take::Everything);
                let seal = self.buffers.ledger().seal();
                self.flushes.push(Flush {
                    seal,
                    told: self.told,
                    deadline,
                    reply,
                });
                self.answer();
            }
            Command::Stop { deadline, reply } => {
                self.buffers.close();
                self.stop = Some(Stop {
                    told: self.told,
                    deadline,
                    reply,
                });
            }
        }
    }

    /// Answers the flushes that are done, or whose time is over.
    fn answer(&mut self) {
        let now = Instant::now();
        for flush in std::mem::take(&mut self.flushes) {
            let pending = self.buffers.ledger().pending_before(flush.seal);
            let over = flush.deadline.is_some_and(|deadline| deadline <= now);
            if pending == 0 || over {
                self.tell(flush.reply, &flush.told, pending);
            } else {
                self.flushes.push(flush);
            }
        }
    }

    /// Answers with the drops since `told`, which was when somebody asked.
    fn tell(&mut self, reply: Reply, told: &Dropped, pending: u64) {
        let all = self.buffers.accounts().dropped;
        // What ends after the shutdown is nobody's loss but its own.
        let all = Dropped { late: 0, ..all };
        let dropped = all.since(told);
        if dropped.total() + pending == 0 {
            reply(Ok(()));
            return;
        }
        let (cause, signal) = {
            let report = self.report.borrow();
            (report.cause(), report.signal())
        };
        let undelivered = Undelivered {
            dropped,
            pending,
            cause,
            signal,
        };
        // Where nobody waits any more, it is for the next one to tell.
        if reply(Err(FlushError::Undelivered(undelivered))) {
            self.told = all;
        }
    }
}
