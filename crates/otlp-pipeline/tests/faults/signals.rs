//! Processes that are told to end, or are stopped for a while (reliability f17, f18).
//!
//! Each test runs itself once more, as the process that is sent the signal.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio, exit},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use faults::{Answer, Collector, Export};
use otlp_pipeline::{FlushError, Pipeline, Protocol};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use crate::{LONG, config, once, provider, start_span};

/// Where the process that is started by a test sends its spans.
const ADDRESS: &str = "OTLP_PIPELINE_TEST_ADDRESS";

/// The status of a process that was told to end twice.
const IMPATIENT: i32 = 3;

/// A process that is killed with its test.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Runs that test with the address of that collector, and waits until it is at work.
    fn start(test: &str, collector: &Collector) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", test])
            .env(ADDRESS, collector.address().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output };
        process.line("ready");
        process
    }

    /// What follows `begin` on the next line that begins so.
    fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the process ended before it said {begin}");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Returns when none of its threads runs.
    fn stop(&self) {
        self.send(Signal::STOP);
        let pid = Pid::from_child(&self.child);
        let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()));
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How many spans it ended, after it was told to end itself. All were delivered.
    fn end(mut self) -> i64 {
        self.send(Signal::TERM);
        let ended = self.line("delivered ").parse().unwrap();
        assert!(self.child.wait().unwrap().success());
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, but for a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: it ends spans on several threads until it is told to end, ends those that are open, and delivers
/// all of them within five seconds. Told once more it ends at once.
fn work(address: &str, timeout: Duration) {
    let mut config = config(Protocol::Grpc, address.parse().unwrap());
    config.timeout = timeout;
    let pipeline = Pipeline::start(config).unwrap();
    let provider = provider(&pipeline);
    let (next, over) = (AtomicI64::new(0), AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut told = runtime.block_on(async { signal(SignalKind::terminate()).unwrap() });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    // As a request is, it is open for a while, and one of each thread is when the signal comes.
                    let span = start_span(&provider, next.fetch_add(1, Relaxed));
                    // About a thousand spans a second by all four.
                    thread::sleep(Duration::from_millis(4));
                    drop(span);
                }
            });
        }
        say("ready");
        runtime.block_on(told.recv());
        over.store(true, Relaxed);
    });
    let accounts = pipeline.accounts();
    assert_eq!(accounts.started, accounts.ended);
    say("stopping");
    let stopped = runtime.block_on(async {
        tokio::select! {
            stopped = pipeline.shutdown_async(Duration::from_secs(5)) => stopped,
            _ = told.recv() => exit(IMPATIENT),
        }
    });
    let accounts = pipeline.accounts();
    match stopped {
        Ok(()) => {
            assert_eq!(accounts.exported, accounts.ended);
            say(&format!("delivered {}", accounts.ended));
        }
        Err(FlushError::Undelivered(told)) => {
            assert_eq!(accounts.exported + told.total(), accounts.ended);
            say(&format!("undelivered {}", told.total()));
        }
        Err(other) => panic!("{other}"),
    }
}

/// To the test that started this process, on a line of its own: the harness has not ended its own.
#[expect(clippy::print_stdout, reason = "it is how the two processes speak")]
fn say(line: &str) {
    println!("\n{line}");
}

#[test]
fn a_process_that_is_told_to_end_delivers_all_spans() {
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, LONG);
    }
    let collector = Collector::start(|_| Answer::Accept);
    let test = "signals::a_process_that_is_told_to_end_delivers_all_spans";
    let process = Process::start(test, &collector);
    collector.wait_until(|exports| exports.len() >= 20);
    let ended = process.end();
    assert!(ended >= 20, "{ended}");
    assert_eq!(collector.taken(), once(0..ended));
}

#[test]
fn a_process_that_is_told_to_end_without_a_collector_has_ended_five_seconds_later() {
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, LONG);
    }
    let collector = Collector::start(|_| Answer::Silence);
    let test =
        "signals::a_process_that_is_told_to_end_without_a_collector_has_ended_five_seconds_later";
    let mut process = Process::start(test, &collector);
    collector.wait_until(|exports| !exports.is_empty());
    let told = Instant::now();
    process.send(Signal::TERM);
    let undelivered: u64 = process.line("undelivered ").parse().unwrap();
    let took = told.elapsed();
    assert!(undelivered >= 1, "{undelivered}");
    assert!(process.child.wait().unwrap().success());
    // Five seconds of its own, and what a busy machine adds.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_process_that_is_told_to_end_twice_ends_at_once() {
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, LONG);
    }
    let collector = Collector::start(|_| Answer::Silence);
    let test = "signals::a_process_that_is_told_to_end_twice_ends_at_once";
    let mut process = Process::start(test, &collector);
    collector.wait_until(|exports| !exports.is_empty());
    process.send(Signal::TERM);
    process.line("stopping");
    process.send(Signal::TERM);
    // It does not wait for its shutdown, which would have another status.
    assert_eq!(process.child.wait().unwrap().code(), Some(IMPATIENT));
}

#[test]
fn a_process_that_was_stopped_goes_on_where_it_was() {
    let timeout = Duration::from_millis(200);
    if let Ok(address) = env::var(ADDRESS) {
        return work(&address, timeout);
    }
    // One request is on its way when the process stops, and all its times pass meanwhile.
    let mut requests = 0;
    let collector = Collector::start(move |_| {
        requests += 1;
        match requests {
            20 => Answer::Silence,
            _ => Answer::Accept,
        }
    });
    let test = "signals::a_process_that_was_stopped_goes_on_where_it_was";
    let process = Process::start(test, &collector);
    collector.wait_until(|exports| exports.len() >= 20);
    process.stop();
    // All its times pass: this is how long it is stopped, not how long something may take.
    thread::sleep(2 * timeout);
    // What it had sent has arrived by now, and nothing else can.
    let before = collector.exports().len();
    process.send(Signal::CONT);
    collector.wait_until(|exports| exports.len() >= before + 20);
    let ended = process.end();

    let taken = collector.taken();
    assert_eq!(taken.len(), usize::try_from(ended).unwrap());
    assert!((0..ended).all(|id| taken.contains_key(&id)));
    // What was on its way was sent again.
    let exports = collector.exports();
    let same = |export: &&Export| export.test_ids().eq(exports[19].test_ids());
    assert!(exports.iter().filter(same).count() >= 2);
}
