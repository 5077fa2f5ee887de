//! What was measured, as tables.

use super::{Part, Parts};
use crate::spans::Shape;
use crate::subject::Subject;
use crate::table::Table;
use crate::{chain, edge, faults, requests, saturation, spans};

/// All tables of a run, by what they belong to.
pub(crate) fn of(parts: &Parts) -> Vec<(Part, Table)> {
    let mut tables = Vec::new();
    let mut add = |part, table| tables.push((part, table));
    if let Some(report) = &parts.spans {
        add(Part::Spans, per_span(report));
        add(Part::Spans, export(report));
        add(Part::Spans, attributes(report));
        add(Part::Spans, threads(report));
    }
    if let Some(report) = &parts.requests {
        add(Part::Requests, subjects(report.busy_rate, &report.busy));
        add(Part::Requests, subjects(report.rate, &report.subjects));
        add(Part::Requests, per_request(report));
        add(Part::Requests, connections(report));
    }
    if let Some(report) = &parts.chain {
        add(Part::Chain, chain(report));
    }
    if let Some(report) = &parts.saturation {
        add(Part::Saturation, offered(report));
        add(Part::Saturation, service(report));
    }
    if let Some(report) = &parts.faults {
        add(Part::Faults, faults(report));
    }
    if let Some(report) = &parts.edge {
        add(Part::Edge, edge(report));
    }
    tables.retain(|(_, table)| !table.is_empty());
    tables
}

fn per_span(report: &spans::Report) -> Table {
    let mut table = Table::new(
        "A span on one thread, per span",
        [
            "",
            "span",
            "ns on its thread",
            "ns in the process",
            "allocations",
            "bytes",
            "in the process",
        ],
    );
    let shown = |shape| match shape {
        Shape::Attributes(count) => spans::COMPARED.contains(&count),
        Shape::Event | Shape::Family => true,
    };
    for cost in report
        .costs
        .iter()
        .filter(|it| it.case.threads == 1 && shown(it.case.shape))
    {
        table.row([
            cost.case.subject.to_string(),
            cost.case.shape.name(),
            format!("{:.0}", cost.request_ns),
            format!("{:.0}", cost.process_ns),
            format!("{:.1}", cost.allocations),
            format!("{:.0}", cost.bytes),
            format!("{:.1}", cost.process_allocations),
        ]);
    }
    table
}

fn export(report: &spans::Report) -> Table {
    let mut table = Table::new(
        "From a finished span to its bytes, per span, and all that export adds to the process",
        ["", "span", "ns", "allocations", "ns in the process"],
    );
    let in_process = |subject, shape| {
        let case = spans::Case {
            subject,
            shape,
            threads: 1,
            own_provider: false,
        };
        Some(report.cost(case)?.process_ns.median)
    };
    for cost in &report.export {
        let all = in_process(cost.subject, cost.shape);
        let added = all.zip(in_process(Subject::Drop, cost.shape));
        table.row([
            cost.subject.to_string(),
            cost.shape.name(),
            format!("{:.0}", cost.ns),
            format!("{:.2}", cost.allocations),
            added.map_or(String::new(), |(all, floor)| format!("{:.0}", all - floor)),
        ]);
    }
    table
}

fn attributes(report: &spans::Report) -> Table {
    let mut table = Table::new(
        "How a span's cost grows with its attributes, on one thread",
        ["", "attributes", "ns on its thread", "ns in the process"],
    );
    for (subject, count, cost) in report.by_attributes() {
        table.row([
            subject.to_string(),
            count.to_string(),
            format!("{:.0}", cost.request_ns),
            format!("{:.0}", cost.process_ns),
        ]);
    }
    table
}

fn threads(report: &spans::Report) -> Table {
    let mut table = Table::new(
        "How a span's cost grows with threads that make them at once, 7 attributes",
        [
            "",
            "provider",
            "threads",
            "ns on its thread",
            "ns in the process",
        ],
    );
    for cost in report.by_threads() {
        let provider = if cost.case.own_provider {
            "one each"
        } else {
            "shared"
        };
        table.row([
            cost.case.subject.to_string(),
            provider.to_owned(),
            cost.case.threads.to_string(),
            format!("{:.0}", cost.request_ns),
            format!("{:.0}", cost.process_ns),
        ]);
    }
    table
}

fn subjects(rate: u64, costs: &[requests::Cost]) -> Table {
    let title = format!(
        "A request of a hyper service, {rate} per second over {} connections",
        requests::CONNECTIONS
    );
    let mut table = Table::new(
        title,
        [
            "",
            "spans",
            "CPU µs",
            "added µs",
            "switches",
            "resident MB",
            "slowest round/s",
            "spans arrived",
        ],
    );
    for cost in costs {
        table.row([
            cost.case.subject.to_string(),
            cost.case.spans.to_string(),
            format!("{:.2}", cost.cpu),
            format!("{:.2}", cost.added),
            format!("{:.2}", cost.switches),
            format!("{:.1}", cost.resident_mb.median),
            format!("{:.0}", cost.slowest),
            if cost.case.subject.exports() {
                percent(cost.arrived)
            } else {
                String::new()
            },
        ]);
    }
    table
}

fn per_request(report: &requests::Report) -> Table {
    let title = format!(
        "How a request's cost grows with its spans, {} per second over {} connections",
        report.gentle_rate,
        requests::CONNECTIONS
    );
    let mut table = Table::new(title, ["", "spans", "CPU µs", "added µs"]);
    for cost in &report.spans {
        table.row([
            cost.case.subject.to_string(),
            cost.case.spans.to_string(),
            format!("{:.2}", cost.cpu),
            format!("{:.2}", cost.added),
        ]);
    }
    table
}

fn connections(report: &requests::Report) -> Table {
    let title = format!(
        "How a request's cost grows with connections, {} per second, 3 spans",
        report.gentle_rate
    );
    let head = ["", "connections", "CPU µs", "added µs", "resident MB"];
    let mut table = Table::new(title, head);
    for cost in &report.connections {
        table.row([
            cost.case.subject.to_string(),
            cost.case.connections.to_string(),
            format!("{:.2}", cost.cpu),
            format!("{:.2}", cost.added),
            format!("{:.1}", cost.resident_mb.median),
        ]);
    }
    table
}

fn chain(report: &chain::Report) -> Table {
    let title = format!("A request through two services, {} per second", report.rate);
    let head = [
        "",
        "tracing",
        "CPU µs",
        "added µs",
        "resident MB",
        "spans/request",
    ];
    let mut table = Table::new(title, head);
    for chain in &report.chains {
        table.row([
            chain.services.to_owned(),
            chain.subject.to_string(),
            format!("{:.1}", chain.cpu),
            format!("{:.1}", chain.added),
            format!("{:.1}", chain.resident_mb.median),
            format!("{:.2}", chain.spans_per_request),
        ]);
    }
    table
}

fn offered(report: &saturation::Report) -> Table {
    let mut table = Table::new(
        "Spans with 7 attributes lost when one thread makes many",
        [
            "",
            "wanted/s",
            "made/s",
            "lost %",
            "lost by the accounts",
            "peak MB",
        ],
    );
    for offered in &report.offered {
        table.row([
            offered.subject.to_string(),
            offered.per_second.to_string(),
            format!("{:.0}", offered.made_per_second.median),
            format!("{:.1}", offered.lost.percent),
            lost_by_accounts(&offered.lost),
            format!("{:.1}", offered.lost.peak_mb),
        ]);
    }
    table
}

fn service(report: &saturation::Report) -> Table {
    let mut table = Table::new(
        "Spans lost by a service with 3 spans per request that is asked as fast as it answers",
        [
            "",
            "requests/s",
            "lost %",
            "lost by the accounts",
            "peak MB",
        ],
    );
    for service in &report.service {
        table.row([
            service.subject.to_string(),
            format!("{:.0}", service.per_second),
            format!("{:.1}", service.lost.percent),
            lost_by_accounts(&service.lost),
            format!("{:.1}", service.lost.peak_mb),
        ]);
    }
    table
}

fn lost_by_accounts(lost: &saturation::Lost) -> String {
    match lost.accounts {
        Some(accounts) => format!("{} of {}", accounts.dropped, accounts.ended),
        None => "does not say".to_owned(),
    }
}

fn faults(report: &faults::Report) -> Table {
    let title = format!(
        "Requests while the collector is in trouble, {} per second, 3 spans",
        report.rate
    );
    let head = [
        "",
        "collector",
        "p50 µs",
        "p99 µs",
        "p50 ratio",
        "p99 ratio",
        "p99 of all µs",
        "resident MB",
    ];
    let mut table = Table::new(title, head);
    for case in &report.cases {
        table.row([
            case.subject.to_string(),
            case.collector.name().to_owned(),
            format!("{:.0}", case.p50),
            format!("{:.0}", case.p99),
            format!("{:.2}", case.p50_ratio),
            format!("{:.2}", case.p99_ratio),
            format!("{:.0}", case.p99_of_all),
            format!("{:.1}", case.resident_mb),
        ]);
    }
    table
}

fn edge(report: &edge::Report) -> Table {
    let title = format!(
        "A traced and logged request at the edge, {} per second",
        report.rate
    );
    let head = ["", "CPU µs", "edge to this", "resident MB", "spans/request"];
    let mut table = Table::new(title, head);
    for proxy in &report.proxies {
        table.row([
            proxy.name.to_owned(),
            format!("{:.1}", proxy.cpu),
            format!("{:.2}", proxy.edge_to_this),
            format!("{:.1}", proxy.resident_mb.median),
            format!("{:.2}", proxy.spans_per_request),
        ]);
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
