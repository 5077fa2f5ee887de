//! What was measured, as pictures.

use plotters::style::RGBColor;

use super::{Part, Parts};
use crate::edge::{EDGE, TRAEFIK};
use crate::figure::Figure;
use crate::plot::{Bar, Bars, Lines, Series, number};
use crate::spans::{Case, Shape};
use crate::subject::Subject;
use crate::{chain, edge, faults, requests, saturation, spans};

/// A file of its own.
pub(crate) struct Plot {
    pub(crate) part: Part,
    pub(crate) name: &'static str,
    pub(crate) svg: String,
}

/// All plots of a run.
pub(crate) fn of(parts: &Parts) -> anyhow::Result<Vec<Plot>> {
    let mut plots = Vec::new();
    let mut add = |part, name, svg: anyhow::Result<String>| -> anyhow::Result<()> {
        let svg = svg?;
        plots.push(Plot { part, name, svg });
        Ok(())
    };
    if let Some(report) = &parts.spans {
        add(Part::Spans, "per-span", per_span(report).svg())?;
        add(Part::Spans, "attributes", attributes(report).svg())?;
        add(Part::Spans, "threads", threads(report).svg())?;
    }
    if let Some(report) = &parts.requests {
        add(Part::Requests, "per-request", per_request(report).svg())?;
        add(
            Part::Requests,
            "spans-per-request",
            spans_per_request(report).svg(),
        )?;
        add(Part::Requests, "connections", connections(report).svg())?;
    }
    if let Some(report) = &parts.chain {
        add(Part::Chain, "chain", chain(report).svg())?;
    }
    if let Some(report) = &parts.saturation {
        add(Part::Saturation, "lost", lost(report).svg())?;
    }
    if let Some(report) = &parts.faults {
        add(Part::Faults, "faults", faults(report).svg())?;
    }
    if let Some(report) = &parts.edge {
        add(Part::Edge, "edge", edge(report).svg())?;
    }
    Ok(plots)
}

/// One colour for each, in every picture.
fn colour(subject: Subject) -> RGBColor {
    match subject {
        Subject::None => RGBColor(140, 149, 159),
        Subject::NoOp => RGBColor(165, 145, 122),
        Subject::Drop => RGBColor(130, 80, 223),
        Subject::Stock => RGBColor(207, 60, 68),
        Subject::Ours => RGBColor(22, 138, 122),
        Subject::TracingOpentelemetry => RGBColor(219, 138, 20),
        Subject::Fastrace => RGBColor(56, 112, 214),
    }
}

fn per_span(report: &spans::Report) -> Bars {
    let bars = Subject::ALL.into_iter().filter_map(|subject| {
        let cost = report.cost(Case {
            subject,
            shape: Shape::Attributes(7),
            threads: 1,
            own_provider: false,
        })?;
        let here = cost.request_ns.median;
        let there = (cost.process_ns.median - here).max(0.0);
        Some(Bar {
            name: subject.to_string(),
            colour: colour(subject),
            parts: vec![here, there],
            spread: Some((cost.process_ns.low, cost.process_ns.high)),
            label: match subject.exports() {
                true => format!("{} ({} here)", number(here + there), number(here)),
                false => number(here + there),
            },
            group: None,
        })
    });
    Bars {
        title: "What a span with 7 attributes costs".to_owned(),
        subtitle: "full colour and \"here\": on the thread that makes it; pale: in the rest of the process, \
                   until a collector has it"
            .to_owned(),
        unit: "ns of CPU time per span",
        bars: bars.collect(),
    }
}

fn attributes(report: &spans::Report) -> Lines {
    let by_attributes = report.by_attributes();
    let series = Subject::ALL
        .into_iter()
        .filter(|it| *it != Subject::None)
        .map(|subject| {
            let of_subject = by_attributes.iter().filter(|(it, ..)| *it == subject);
            let points = of_subject.map(|(_, count, cost)| (*count as f64, cost.process_ns));
            (subject, points.collect())
        });
    Lines {
        title: "How a span's cost grows with its attributes".to_owned(),
        subtitle: "whole process, from the start of a span until a collector has it".to_owned(),
        x: "attributes",
        y: "ns of CPU time per span",
        doubling: false,
        series: named(series),
    }
}

fn threads(report: &spans::Report) -> Lines {
    let by_threads = report.by_threads();
    let mut series = Vec::new();
    for subject in [Subject::Drop, Subject::Stock, Subject::Ours] {
        for own_provider in [false, true] {
            let of_case = by_threads.iter().filter(|cost| {
                let case = cost.case;
                case.subject == subject && (case.threads == 1 || case.own_provider == own_provider)
            });
            let points: Vec<_> = of_case
                .map(|cost| (cost.case.threads as f64, cost.request_ns))
                .collect();
            let provider = if own_provider {
                "a provider each"
            } else {
                "one provider"
            };
            if !points.is_empty() {
                series.push(Series {
                    name: format!("{subject}, {provider}"),
                    colour: colour(subject),
                    pale: own_provider,
                    points: sorted(points),
                });
            }
        }
    }
    Lines {
        title: "How a span's cost grows with threads that make spans at once".to_owned(),
        subtitle: "7 attributes, on the threads that make them; flat is linear".to_owned(),
        x: "threads",
        y: "ns of CPU time per span",
        doubling: false,
        series,
    }
}

fn per_request(report: &requests::Report) -> Bars {
    let mut bars = Vec::new();
    for spans in [1, 3] {
        for cost in report
            .subjects
            .iter()
            .filter(|cost| cost.case.spans == spans)
        {
            let title = if spans == 1 {
                "1 span per request"
            } else {
                "3 spans per request"
            };
            let first = cost.case.subject == Subject::NoOp;
            bars.push(Bar {
                name: cost.case.subject.to_string(),
                colour: colour(cost.case.subject),
                parts: vec![cost.added.median],
                spread: Some((cost.added.low, cost.added.high)),
                label: number(cost.added.median),
                group: first.then(|| title.to_owned()),
            });
        }
    }
    Bars {
        title: "What tracing adds to a request".to_owned(),
        subtitle: format!(
            "hyper service, {} requests per second; whole process, exporter included",
            report.rate
        ),
        unit: "µs of CPU time per request, above the same service without instrumentation",
        bars,
    }
}

fn spans_per_request(report: &requests::Report) -> Lines {
    let series = Subject::ALL
        .into_iter()
        .filter(|it| *it != Subject::None)
        .map(|subject| {
            let of_subject = report.spans.iter().filter(|it| it.case.subject == subject);
            (
                subject,
                of_subject
                    .map(|it| (it.case.spans as f64, it.added))
                    .collect(),
            )
        });
    Lines {
        title: "How a request's cost grows with its spans".to_owned(),
        subtitle: format!("hyper service, {} requests per second", report.gentle_rate),
        x: "spans per request",
        y: "µs of CPU time added to a request",
        doubling: false,
        series: named(series),
    }
}

fn connections(report: &requests::Report) -> Lines {
    let series = Subject::ALL.into_iter().map(|subject| {
        let of_subject = report
            .connections
            .iter()
            .filter(|it| it.case.subject == subject);
        (
            subject,
            of_subject
                .map(|it| (it.case.connections as f64, it.cpu))
                .collect(),
        )
    });
    Lines {
        title: "How a request's cost changes with the number of connections".to_owned(),
        subtitle: format!(
            "hyper service with 3 spans per request, {} requests per second",
            report.gentle_rate
        ),
        x: "connections",
        y: "µs of CPU time per request",
        doubling: true,
        series: named(series),
    }
}

fn chain(report: &chain::Report) -> Bars {
    let bars = report.chains.iter().map(|chain| Bar {
        name: match chain.subject {
            Subject::None => "1 and 2, blind".to_owned(),
            subject => format!("3 and 4, {subject}"),
        },
        colour: colour(chain.subject),
        parts: vec![chain.cpu.median],
        spread: Some((chain.cpu.low, chain.cpu.high)),
        label: number(chain.cpu.median),
        group: None,
    });
    Bars {
        title: "The chain of two services, blind and traced".to_owned(),
        subtitle: format!(
            "mocks at zero, {} requests per second, both processes",
            report.rate
        ),
        unit: "µs of CPU time per request",
        bars: bars.collect(),
    }
}

fn lost(report: &saturation::Report) -> Lines {
    let series = Subject::ALL.into_iter().map(|subject| {
        let of_subject = report.offered.iter().filter(|it| it.subject == subject);
        (
            subject,
            of_subject
                .map(|it| (it.per_second as f64 / 1e3, it.lost.percent))
                .collect(),
        )
    });
    Lines {
        title: "Spans that are lost when many are made".to_owned(),
        subtitle: "one thread, 7 attributes, each pipeline with its defaults".to_owned(),
        x: "thousand spans per second",
        y: "% of spans lost",
        doubling: false,
        series: named(series),
    }
}

fn faults(report: &faults::Report) -> Bars {
    let bars = report.cases.iter().map(|case| Bar {
        name: case.collector.name().to_owned(),
        colour: colour(case.subject),
        parts: vec![
            case.p50.median,
            (case.p99.median - case.p50.median).max(0.0),
        ],
        spread: Some((case.p99.low, case.p99.high)),
        label: format!("{}, {}", number(case.p50.median), number(case.p99.median)),
        group: (case.collector == crate::sink::Behaviour::Well).then(|| case.subject.to_string()),
    });
    Bars {
        title: "Latency of requests while the collector is in trouble".to_owned(),
        subtitle: format!(
            "3 spans per request, {} requests per second; full colour: p50, pale: p99",
            report.rate
        ),
        unit: "µs from when a request was due",
        bars: bars.collect(),
    }
}

fn edge(report: &edge::Report) -> Bars {
    let bars = report.proxies.iter().map(|proxy| Bar {
        name: proxy.name.to_owned(),
        colour: colour(match proxy.name {
            EDGE => Subject::Ours,
            TRAEFIK => Subject::Fastrace,
            _ => Subject::None,
        }),
        parts: vec![proxy.cpu.median],
        spread: Some((proxy.cpu.low, proxy.cpu.high)),
        label: format!(
            "{}, {:.0} MB",
            number(proxy.cpu.median),
            proxy.resident_mb.median
        ),
        group: None,
    });
    Bars {
        title: "A request at the edge".to_owned(),
        subtitle: format!(
            "two spans and a line of log per request but for the bare proxy, {} requests per second",
            report.rate
        ),
        unit: "µs of CPU time per request",
        bars: bars.collect(),
    }
}

fn named(series: impl Iterator<Item = (Subject, Vec<(f64, Figure)>)>) -> Vec<Series> {
    let some = series.filter(|(_, points)| !points.is_empty());
    some.map(|(subject, points)| Series {
        name: subject.to_string(),
        colour: colour(subject),
        pale: false,
        points: sorted(points),
    })
    .collect()
}

fn sorted(mut points: Vec<(f64, Figure)>) -> Vec<(f64, Figure)> {
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points
}
