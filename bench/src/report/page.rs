//! The page for the documentation, in Org.

use std::fmt::Write as _;

use super::plots::Plot;
use super::{Part, Report, goals};
use crate::table::Table;

const HEAD: &str = "\
#+title: What tracing costs

Written by

#+begin_src sh
  cargo run --release -p bench -- --docs bench/report
#+end_src

which takes about twenty minutes, needs Linux and nothing but this machine, and is to be run while it does nothing else. Without
=--docs= the figures go to =target/bench=. =cargo run --release -p bench -- edge= and the like measure a part alone, =--quick= tries
everything out in a minute. The whole run, with all rounds, is in [[file:report.json][report.json]].

* Who is compared
  | name                    | what it is                                                                          |
  |-------------------------+-------------------------------------------------------------------------------------|
  | =none=                  | no instrumentation                                                                  |
  | =no-op=                 | OpenTelemetry's API without an SDK behind it                                        |
  | =drop=                  | the SDK with a processor that drops every span: the floor for whoever uses the SDK   |
  | =stock=                 | the SDK's =BatchSpanProcessor= and the OTLP exporter, over gRPC                      |
  | =ours=                  | =crates/otlp-pipeline= behind the same SDK, over gRPC                                |
  | =tracing-opentelemetry= | the macros of =tracing=, tracing-opentelemetry, and then as =stock=                  |
  | =fastrace=              | fastrace, fastrace-opentelemetry, and the same OTLP exporter                        |

  Every figure is the median of several rounds, in which all take turns; in brackets the lowest and the highest round. Each
  subject is a process of its own, and so is the collector, which counts the spans and forgets them. Its CPU time is nobody's.
  CPU time is what the kernel accounts to a process or a thread. Compare figures of one run with each other: those of another
  machine, or another day, differ by more than most of what is compared here.
";

/// What a reader has to know of a part.
fn about(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::All => ("Everything", ""),
        Part::Spans => (
            "A span",
            "Bursts of 2000 spans in a tight loop, all of them exported before the next. \"On its thread\" is what the one pays who \
             makes a span, and so a request; \"in the process\" includes the exporter's threads, encoding and sending. Two of seven \
             attributes are strings of their own, as what comes from a request is. Allocations are counted in a burst \
             of their own.\n\n\
             The second table is about one step, the same of both: a finished span is there, and its bytes come out, and nothing \
             is left of the span. For =stock= that is what its exporter does with a batch of 512: copy, convert, encode, drop. For \
             =ours= it is all of =on_end=, on the thread that ends the span. Its last column is everything: by how much more CPU time \
             than with =drop= the whole process takes for a span, with the queue between threads, with HTTP/2 and with the kernel's \
             part of sending.",
        ),
        Part::Requests => (
            "A request",
            "A service with one worker thread answers \"hello\". It makes a server span with seven attributes and, of three, \
             also an internal one with an event, and a client span with five attributes whose context is injected into \
             headers. The call hands on the headers of the request, and the tracer is kept by the application. The rate is \
             fixed and the same for all: first one at which the service is seldom idle, for those that goals are about, with \
             more rounds, then one that all keep up with, where much of what a request costs is that the processor has to be \
             woken and has cold caches. Each is started anew in every round and has many short turns in it, whose median \
             counts, and \"added\" is the difference to =none= in the same round. The service, its exporter included, has a \
             processor to itself, and those who ask and collect have the others: where threads move about, what a request \
             costs depends most on how often one wakes up for it, which is what \"switches\" counts. So that nothing is \
             dropped, the queue of =stock= holds 65,536 spans here.",
        ),
        Part::Chain => (
            "The chain",
            "uservice1 calls uservice2, and uservice3 calls uservice4, as built, with their mocks at zero. =ours= is the same uservice3 \
             and 4: once they listen, another tracer provider is installed in their process. They log every request, which \
             is most of what they do.",
        ),
        Part::Saturation => (
            "More than can be exported",
            "Each pipeline has its defaults: =stock= keeps 2048 spans, =ours= 10 MB. One thread makes spans at a pace, until more \
             than that is not to be had; a service is asked as fast as it answers, over 64 connections. What the \
             process made is compared with what the collector counted, and with what the pipeline says itself.",
        ),
        Part::Faults => (
            "A collector in trouble",
            "=refused= does not listen, =blackhole= accepts connections and never reads, =slow= answers two seconds later, \
             =flapping= is up and down in turns of a quarter of a second, =unavailable= refuses seven of ten requests for \
             now, =throttling= wants to be left alone for five seconds after each, =refusing= takes none for good, \
             =rejecting= takes all but one span of each, =cutting= cuts the connection amid its answer, =tls= speaks TLS, \
             which nobody told the service, and =unknown= has a name that nobody knows. A request's latency counts from when \
             it was due, not from when it was sent, so that a stall is seen in all who would have come meanwhile. The \
             services have a processor to themselves, and no memory left for spans, if none are taken, before the first turn. \
             Each takes many turns of a hundred requests, on connections that stay open, one beside the other with a service \
             of the same subject that has a good collector and is there for this alone: to that are the ratios. Figures are \
             medians of turns, and in parentheses between what they are with 95 % certainty; =well= is a second service with \
             a good collector: what two of a kind differ by. Stalls too rare for a median are in the slowest of all requests.",
        ),
        Part::Edge => (
            "The edge",
            "The proxies export two spans of each request and write a line of JSON about it; the bare one, hyper alone, does neither.",
        ),
    }
}

pub(crate) fn of(report: &Report, tables: &[(Part, Table)], plots: &[Plot]) -> String {
    let mut page = HEAD.to_owned();
    let machine = &report.machine;
    let versions = machine.versions.iter();
    let versions = versions.map(|(name, version)| format!("{name} {version}"));
    let versions: Vec<_> = machine
        .compiler
        .clone()
        .into_iter()
        .chain(versions)
        .collect();
    let text = format!(
        "{}, {} cores, {} GB, {}; {}. The run took {} minutes.",
        machine.cpu,
        machine.parallelism,
        machine.memory_gb,
        machine.system,
        versions.join(", "),
        report.took_seconds.div_ceil(60),
    );
    let _ = writeln!(page, "\n* Where\n{}", indented(&filled(&text)).trim_end());
    if report.quick {
        page.push_str("\n  *This was a quick run: its figures say nothing.*\n");
    }
    let _ = write!(
        page,
        "\n* Goals\n{}",
        indented(&goals::table(&report.goals, report.quick).org())
    );
    for part in [
        Part::Spans,
        Part::Requests,
        Part::Chain,
        Part::Saturation,
        Part::Faults,
        Part::Edge,
    ] {
        let tables: Vec<_> = tables.iter().filter(|(it, _)| *it == part).collect();
        if tables.is_empty() {
            continue;
        }
        let (heading, text) = about(part);
        let _ = write!(page, "\n* {heading}\n{}\n", indented(&filled(text)));
        for plot in plots.iter().filter(|plot| plot.part == part) {
            let _ = write!(page, "\n  [[file:{}.svg]]\n", plot.name);
        }
        for (_, table) in tables {
            let _ = write!(page, "\n  {}:\n\n{}", table.title, indented(&table.org()));
        }
    }
    let counts = report.counts.table().org();
    let _ = write!(page, "\n* Spans made and arrived\n{}", indented(&counts));
    page.push_str(LOAD);
    page
}

const LOAD: &str = "
* The load
  comes from hyper's client at fixed times, and the histograms from hdrhistogram. The libraries for load that are well kept bring a
  terminal interface (rlt, oha) or a second HTTP client and a browser (goose) along, or measure no latency (balter).
";

/// Two spaces to the right, as everything below a heading.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("  {line}\n"),
    });
    lines.collect()
}

/// In lines of no more than 125 characters.
fn filled(text: &str) -> String {
    let mut filled = String::new();
    for paragraph in text.split("\n\n") {
        let mut width = 0;
        if !filled.is_empty() {
            filled.push_str("\n\n");
        }
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if width + 1 + length > 125 {
                filled.push('\n');
                width = 0;
            } else if width > 0 {
                filled.push(' ');
                width += 1;
            }
            filled.push_str(word);
            width += length;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn paragraphs_stay_apart_and_lines_are_short() {
        let text = format!("{} end\n\nnext", "word ".repeat(60));
        let filled = filled(&text);
        assert!(filled.lines().all(|line| line.len() <= 125));
        assert!(filled.ends_with("end\n\nnext"));
        assert_eq!(filled.split_whitespace().count(), 62);
    }
}
