//! The propagation matrix: whatever a client sends, what arrives behind an edge that speaks its format, behind one that
//! does not, and without one. `checks/propagation.org` is what this test found and somebody read.

mod cases;
mod parties;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::slice;

use expect_test::expect_file;

use crate::http::get;
use cases::{Case, Group, OTHER, OTHER_SPAN, SPAN, TRACE};
use parties::{Party, Peer};

/// Where `checks/propagation.org` begins; the tables follow.
const INTRODUCTION: &str = include_str!("matrix/introduction.org");

#[tokio::test]
async fn every_header_arrives_downstream_as_the_page_says() {
    let peer = Peer::start().await;
    let mut page = INTRODUCTION.to_owned();
    let mut complete = true;
    for group in cases::groups() {
        let Some(table) = table(&group, &peer).await else {
            complete = false;
            break;
        };
        page.push_str(&table);
    }
    if complete {
        expect_file!["../../propagation.org"].assert_eq(&page);
    }
}

/// The group's table, or `None` where there is no Traefik.
async fn table(group: &Group, peer: &Peer) -> Option<String> {
    let mut services = vec![Party::telemetry(group.propagators, peer.addr).await];
    services.extend(Party::uservice3(group.propagators, peer.addr).await);
    let routes = services.iter().map(|service| (service.name, service.addr));
    let routes: Vec<_> = routes.collect();
    let speaking = [
        Party::edge(group.propagators, &routes).await,
        Party::traefik(Some(group.propagators), &routes).await?,
    ];
    let silent = [
        Party::edge("none", &routes).await,
        Party::traefik(None, &routes).await?,
    ];
    let mut table = format!(
        "\n* OTEL_PROPAGATORS={}\n\n\
         | | a client sends | an edge that speaks it | an edge that does not | no edge |\n|---+---+---+---+---|\n",
        group.propagators
    );
    for case in &group.cases {
        let mut columns = [Vec::new(), Vec::new(), Vec::new()];
        for service in &services {
            let paths = [&speaking[..], &silent[..], slice::from_ref(service)];
            for (column, firsts) in columns.iter_mut().zip(paths) {
                for first in firsts {
                    column.push(Outcome {
                        first: first.name,
                        service: service.name,
                        arrived: visit(first, service, case, group, peer).await,
                    });
                }
            }
        }
        let sent = case.sent.iter().map(|(name, value)| {
            let value = by_digits(value, letter);
            header(name, &value, group)
        });
        let sent: Vec<_> = sent.collect();
        let cells = columns.map(|outcomes| cell(&outcomes)).join(" | ");
        writeln!(table, "| {} | {} | {cells} |", case.what, sent.join(" ")).unwrap();
    }
    Some(table)
}

/// What arrives at the peer when a request with the case's headers goes to `first` and on to `service`.
async fn visit(first: &Party, service: &Party, case: &Case, group: &Group, peer: &Peer) -> String {
    let sent = case.sent.iter();
    let sent = sent.map(|(name, value)| (*name, value.as_bytes()));
    let headers: Vec<_> = [("host", service.name.as_bytes())]
        .into_iter()
        .chain(sent)
        .collect();
    let answer = get(&format!("http://{}/", first.addr), &headers).await;
    let answer = answer.unwrap_or_else(|err| panic!("{}, {}: {err:#}", first.name, case.what));
    assert_eq!(answer.status, 200, "{}, {}", first.name, case.what);

    let arrived = peer.arrived();
    let known = sent_ids(case);
    let found = group.headers.iter().flat_map(|name| {
        // The SDK writes an empty `tracestate`, which says nothing.
        let values = arrived.get_all(*name).iter().filter(|it| !it.is_empty());
        values.map(|value| {
            let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if *name == "baggage" {
                // Its order is that of a hash map.
                let mut members: Vec<_> = value.split(',').map(str::trim).collect();
                members.sort_unstable();
                value = members.join(",");
            }
            let value = by_digits(&value, |digits| match digits.len() {
                32 if !known.contains(&digits.to_owned()) => "new",
                16 if !known.contains(&digits.to_owned()) => "s",
                _ => letter(digits),
            });
            header(name, &value, group)
        })
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => "nothing".to_owned(),
        false => found.join(" "),
    }
}

/// The digits that the client sent, padded to ids.
fn sent_ids(case: &Case) -> Vec<String> {
    let mut ids = Vec::new();
    for (_, value) in &case.sent {
        let decoded = value.replace("%3A", ":").replace("%3a", ":");
        for digits in decoded.split(|c: char| !c.is_ascii_hexdigit()) {
            let digits = digits.to_ascii_lowercase();
            ids.extend([format!("{digits:0>32}"), format!("{digits:0>16}")]);
        }
    }
    ids
}

/// A name for an id that occurs everywhere.
fn letter(digits: &str) -> &str {
    match digits {
        TRACE => "T",
        SPAN => "S",
        OTHER => "T2",
        OTHER_SPAN => "S2",
        digits => digits,
    }
}

/// The text with each run of hexadecimal digits replaced.
fn by_digits<'a>(text: &'a str, replace: impl Fn(&'a str) -> &'a str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_hexdigit());
        let digits = digits.unwrap_or(rest.len());
        // The digits of an escape belong to it.
        let escape = rest.get(..3).filter(|_| first == '%');
        let (copied, replaced) = match (escape, digits) {
            (Some(escape), _) => (escape, ""),
            (None, 0) => (&rest[..first.len_utf8()], ""),
            (None, digits) => ("", &rest[..digits]),
        };
        result.push_str(copied);
        result.push_str(replace(replaced));
        rest = &rest[copied.len() + replaced.len()..];
    }
    result
}

/// A header as the page shows it: without its name where it is the group's first.
fn header(name: &str, value: &str, group: &Group) -> String {
    match name == group.headers[0] {
        true => format!("={value}="),
        false => format!("={name}: {value}="),
    }
}

/// The outcome where all paths agree, else each with the parties that it takes.
fn cell(outcomes: &[Outcome]) -> String {
    let mut distinct: Vec<&str> = outcomes.iter().map(|it| it.arrived.as_str()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if let [only] = distinct[..] {
        return only.to_owned();
    }
    let parties = outcomes.iter().flat_map(|it| [it.first, it.service]);
    let parties: BTreeSet<_> = parties.collect();
    let described = distinct.into_iter().map(|arrived| {
        let here = |it: &&Outcome| it.arrived == arrived;
        let decisive = parties.iter().find(|party| {
            let through = |it: &&Outcome| it.first == **party || it.service == **party;
            let through: Vec<_> = outcomes
                .iter()
                .filter(through)
                .map(|it| it.path())
                .collect();
            let here: Vec<_> = outcomes.iter().filter(here).map(|it| it.path()).collect();
            through == here
        });
        let who = match decisive {
            Some(party) => (*party).to_owned(),
            None => {
                let paths = outcomes.iter().filter(here).map(Outcome::path);
                paths.collect::<Vec<_>>().join(", ")
            }
        };
        format!("{who}: {arrived}")
    });
    described.collect::<Vec<_>>().join("; ")
}

/// What arrived over one path.
struct Outcome {
    first: &'static str,
    service: &'static str,
    arrived: String,
}

impl Outcome {
    fn path(&self) -> String {
        match self.first == self.service {
            true => self.service.to_owned(),
            false => format!("{} and {}", self.first, self.service),
        }
    }
}
