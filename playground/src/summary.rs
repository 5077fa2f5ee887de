//! What was played, what became of its spans and log records, and how to find it.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use telemetry::{Accounts, Config, Outcome, ShutdownError};

use crate::{
    queries::{Limits, MARKS, Mark},
    request::Done,
};

/// Most traces that are listed.
const LISTED: usize = 100;

/// Where the page of a trace store is, unless TRACE_URL says otherwise.
const PAGE: &str = "http://127.0.0.1:3200/trace/{trace_id}";

/// Where telemetry goes, and where people look at it.
#[derive(Debug)]
pub(crate) struct Destination {
    /// None if spans do not go out by OTLP.
    spans: Option<String>,
    logs: Option<String>,
    trace_url: String,
}

impl Destination {
    pub(crate) fn of(config: &Config, trace_url: Option<String>) -> Self {
        let settings = config.settings();
        let setting = |wanted: &str| {
            let found = settings.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.clone())
        };
        Self {
            spans: setting("OTEL_TRACES_EXPORTER")
                .filter(|exporter| exporter.contains("otlp"))
                .and_then(|_| setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
            logs: setting("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
            trace_url: trace_url
                .filter(|url| url.contains("{trace_id}"))
                .unwrap_or_else(|| PAGE.to_owned()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Summary {
    run: String,
    seed: u64,
    is_enabled: bool,
    begun: Instant,
    requests: u64,
    failed: u64,
    retried: u64,
    traced: u64,
    /// Traces with each of the marks but for `slow`.
    marked: [u64; MARKS.len()],
    limits: Limits,
    recent: VecDeque<Done>,
}

impl Summary {
    pub(crate) fn new(run: String, seed: u64, latency: f64, is_enabled: bool) -> Self {
        Self {
            run,
            seed,
            is_enabled,
            begun: Instant::now(),
            requests: 0,
            failed: 0,
            retried: 0,
            traced: 0,
            marked: [0; MARKS.len()],
            limits: Limits::new(latency),
            recent: VecDeque::new(),
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) fn add(&mut self, done: Done) {
        self.requests += 1;
        self.failed += u64::from(done.failed());
        self.retried += u64::from(done.resent > 0);
        if done.trace.is_none() {
            return;
        }
        self.traced += 1;
        self.limits.add(done.took);
        for (count, mark) in self.marked.iter_mut().zip(MARKS) {
            *count += u64::from(mark.is_of(&done, Duration::MAX));
        }
        if self.recent.len() == LISTED {
            self.recent.pop_front();
        }
        self.recent.push_back(done);
    }

    /// Says it on standard error, since standard output has the log.
    pub(crate) fn tell(
        &self,
        destination: &Destination,
        ended: Result<Outcome, ShutdownError>,
    ) -> ExitCode {
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = self.write(&mut text, destination, &ended);
        let _ = io::stderr().write_all(text.as_bytes());
        match ended {
            Ok(_) => ExitCode::SUCCESS,
            Err(lost) if lost.undelivered().is_none() && only_refused(&lost.outcome().logs) => {
                ExitCode::SUCCESS
            }
            Err(_) => ExitCode::FAILURE,
        }
    }

    fn write(
        &self,
        out: &mut String,
        destination: &Destination,
        ended: &Result<Outcome, ShutdownError>,
    ) -> fmt::Result {
        writeln!(
            out,
            "\n{} requests with seed {} in {:.1?}: {} failed, {} had calls that were repeated",
            self.requests,
            self.seed,
            self.begun.elapsed(),
            self.failed,
            self.retried,
        )?;
        let Outcome { spans, logs, .. } = match ended {
            Ok(outcome) => *outcome,
            Err(lost) => lost.outcome(),
        };
        for (what, accounts, endpoint) in [
            ("spans", &spans, &destination.spans),
            ("log records", &logs, &destination.logs),
        ] {
            match endpoint {
                Some(endpoint) => account(out, what, accounts, endpoint)?,
                None => writeln!(out, "{what} were not sent, as the environment says")?,
            }
        }
        if let Err(lost) = ended {
            writeln!(out, "{lost}")?;
            if let Some(endpoint) = &destination.spans
                && spans.exported == 0
                && spans.ended > 0
            {
                let starts = "`cargo run -p tracestore` starts what does.";
                return writeln!(out, "Nothing takes traces at {endpoint}. {starts}");
            }
            if lost.undelivered().is_none() && only_refused(&logs) {
                writeln!(out, "What takes the spans does not take log records.")?;
            }
        }
        if !self.is_enabled {
            return writeln!(out, "There are no traces: OTEL_SDK_DISABLED is true.");
        }
        if self.traced == 0 || spans.exported == 0 {
            return Ok(());
        }
        self.write_traces(out, destination)?;
        self.write_queries(out)?;
        if spans.dropped.total() > 0 {
            writeln!(out, "They find fewer, since spans were lost.")?;
        }
        Ok(())
    }

    fn write_traces(&self, out: &mut String, destination: &Destination) -> fmt::Result {
        let (slow, _) = self.limits.best();
        match self.traced - self.recent.len() as u64 {
            0 => writeln!(out, "\nTheir traces:")?,
            _ => writeln!(out, "\nThe last {LISTED} of {} traces:", self.traced)?,
        }
        for done in &self.recent {
            let Some(trace) = done.trace else { continue };
            let request = format!("{} {}", done.route.method(), done.route.template());
            let marks = MARKS.into_iter().skip(1);
            let marks: Vec<_> = marks
                .filter(|mark| mark.is_of(done, slow))
                .map(Mark::name)
                .collect();
            let url = &destination.trace_url;
            let url = url.replace("{trace_id}", &trace.to_string());
            let (status, took) = (done.status, done.took.as_secs_f64());
            let row = format!(
                "  {url}  {request:<21} {status} {took:>6.3} s  {}",
                marks.join(" ")
            );
            writeln!(out, "{}", row.trim_end())?;
        }
        Ok(())
    }

    fn write_queries(&self, out: &mut String) -> fmt::Result {
        let (limit, slow) = self.limits.best();
        writeln!(out, "\nHow many of them each query finds:")?;
        for (mark, count) in MARKS.into_iter().zip(self.marked) {
            let count = if mark == Mark::Slow { slow } else { count };
            let query = mark.query(&self.run, limit);
            writeln!(out, "  {count:>4} {:<9} {query}", mark.name())?;
        }
        Ok(())
    }
}

fn account(out: &mut String, what: &str, accounts: &Accounts, endpoint: &str) -> fmt::Result {
    let Accounts {
        ended,
        exported,
        dropped,
        ..
    } = accounts;
    write!(out, "{what}: {exported} of {ended} arrived at {endpoint}")?;
    let reasons = [
        ("for want of memory", dropped.full),
        ("too large", dropped.oversized),
        ("rejected", dropped.rejected),
        ("refused", dropped.refused),
        ("given up", dropped.gave_up),
        ("after the end", dropped.late),
        ("out of time", dropped.unflushed),
        ("lost by a panic", dropped.panicked),
    ];
    let mut separator = ", lost:";
    for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
        write!(out, "{separator} {count} {reason}")?;
        separator = ",";
    }
    out.write_char('\n')
}

/// Whoever answers so does not know log records, and spans are what this is about.
fn only_refused(logs: &Accounts) -> bool {
    logs.dropped.refused == logs.dropped.total()
}
