//! What was promised, and whether the figures hold it.

use serde::Serialize;

use super::Parts;
use crate::edge::TRAEFIK;
use crate::faults;
use crate::figure::Figure;
use crate::sink::Behaviour;
use crate::spans::{Case, Shape};
use crate::subject::Subject;
use crate::table::Table;

/// No figure of a bench decides whether a build is good: a goal is held on a machine, or not.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) goal: String,
    pub(crate) held: bool,
}

pub(crate) fn table(goals: &[Goal], quick: bool) -> Table {
    let title = match quick {
        true => "Goals (a quick run: its figures say nothing)",
        false => "Goals",
    };
    let mut table = Table::new(title, ["goal", "figure", "wanted", "held"]);
    for goal in goals {
        table.row([
            goal.what.clone(),
            goal.figure.clone(),
            goal.goal.clone(),
            if goal.held { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

/// Of those parts that were measured.
pub(crate) fn judge(parts: &Parts) -> Vec<Goal> {
    let mut goals = Vec::new();
    let found = [
        span(parts),
        request(parts),
        lost(parts),
        memory(parts),
        in_trouble(parts),
        edge(parts),
    ];
    goals.extend(found.into_iter().flatten().flatten());
    goals
}

fn at_most(what: &str, figure: f64, limit: f64, unit: &str) -> Goal {
    // So many digits that a figure near its limit is seen to be above or below.
    let digits = if limit < 10.0 { 2 } else { 0 };
    Goal {
        what: what.to_owned(),
        figure: format!("{figure:.digits$}{unit}"),
        goal: format!("at most {limit}{unit}"),
        held: figure <= limit,
    }
}

fn span(parts: &Parts) -> Option<Vec<Goal>> {
    let spans = parts.spans.as_ref()?;
    let export = |subject| {
        let of = |it: &&crate::spans::ExportCost| {
            it.subject == subject && it.shape == Shape::Attributes(7)
        };
        spans.export.iter().find(of)
    };
    let (stock, ours) = (export(Subject::Stock)?, export(Subject::Ours)?);
    let ratio = stock.ns.median / ours.ns.median;
    let mut goals = vec![
        at_most(
            "export of a span with 7 attributes, from its end to its bytes",
            ours.ns.median,
            200.0,
            " ns",
        ),
        at_most("its allocations", ours.allocations, 0.0, ""),
        Goal {
            what: "how much cheaper that is than with stock".to_owned(),
            figure: format!("{ratio:.1} times"),
            goal: "at least 10 times".to_owned(),
            held: ratio >= 10.0,
        },
    ];
    let per_span = |subject, threads, own_provider| {
        let shape = Shape::Attributes(7);
        let cost = spans.cost(Case {
            subject,
            shape,
            threads,
            own_provider,
        })?;
        Some(cost.request_ns.median)
    };
    for (what, own_provider) in [("a provider each", true), ("one provider", false)] {
        let threads = spans.max_threads;
        let many = per_span(Subject::Ours, threads, own_provider)?;
        let floor = per_span(Subject::Drop, threads, own_provider)?;
        let one = per_span(Subject::Ours, 1, false)? - per_span(Subject::Drop, 1, false)?;
        goals.push(at_most(
            &format!(
                "what export adds to a span with {threads} threads and {what}, to that with one"
            ),
            (many - floor) / one,
            1.25,
            "",
        ));
    }
    Some(goals)
}

fn request(parts: &Parts) -> Option<Vec<Goal>> {
    let requests = parts.requests.as_ref()?;
    let added = |subject| {
        let of_three =
            |it: &&crate::requests::Cost| it.case.subject == subject && it.case.spans == 3;
        Some(requests.busy.iter().find(of_three)?.added.median)
    };
    let (ours, stock, dropped) = (
        added(Subject::Ours)?,
        added(Subject::Stock)?,
        added(Subject::Drop)?,
    );
    Some(vec![
        at_most("CPU that three spans add to a request", ours, 3.5, " µs"),
        Goal {
            what: "the same, to that of stock".to_owned(),
            // Which no exporter takes less than.
            figure: format!(
                "{:.2}; of spans that are dropped {:.2}",
                ours / stock,
                dropped / stock
            ),
            goal: "at most 0.334".to_owned(),
            held: ours / stock <= 0.334,
        },
        at_most(
            "the same, to that of spans that are dropped",
            ours / dropped,
            1.3,
            "",
        ),
    ])
}

fn lost(parts: &Parts) -> Option<Vec<Goal>> {
    let saturation = parts.saturation.as_ref()?;
    let stock = saturation
        .offered
        .iter()
        .find(|it| it.subject == Subject::Stock && it.lost.percent.median > 10.0);
    let ours = |per_second| {
        saturation
            .offered
            .iter()
            .find(|it| it.subject == Subject::Ours && it.per_second == per_second)
    };
    let lost = |lost: &crate::saturation::Lost| lost.made - lost.arrived;
    let what = "spans lost where stock loses more than 10 %".to_owned();
    let goal = "none".to_owned();
    let Some(stock) = stock else {
        return Some(vec![Goal {
            what,
            figure: "stock lost less at every load".to_owned(),
            goal,
            held: false,
        }]);
    };
    let ours = ours(stock.per_second)?;
    let by_accounts = ours.lost.accounts.map_or(u64::MAX, |it| it.dropped);
    let mut goals = vec![Goal {
        what,
        figure: format!(
            "{} of {} at {} per second, {by_accounts} by its accounts; stock: {:.0} %",
            lost(&ours.lost),
            ours.lost.made,
            stock.per_second,
            stock.lost.percent.median
        ),
        goal: goal.clone(),
        held: lost(&ours.lost) == 0 && by_accounts == 0,
    }];
    let full = saturation
        .service
        .iter()
        .find(|it| it.subject == Subject::Ours)?;
    let by_stock = saturation
        .service
        .iter()
        .find(|it| it.subject == Subject::Stock)?;
    goals.push(Goal {
        what: "spans lost by a service that is asked as fast as it answers".to_owned(),
        figure: format!(
            "{} of {}; stock: {:.1} %",
            lost(&full.lost),
            full.lost.made,
            by_stock.lost.percent.median
        ),
        goal,
        held: lost(&full.lost) == 0,
    });
    Some(goals)
}

/// How much a service has without a pipeline that keeps anything is measured with `drop`.
fn memory(parts: &Parts) -> Option<Vec<Goal>> {
    let requests = parts.requests.as_ref()?;
    let of = |subject| {
        let costs = requests.subjects.iter();
        let of_subject = costs.filter(move |it| it.case.subject == subject);
        of_subject.map(|it| it.resident_mb.high).reduce(f64::max)
    };
    let floor = of(Subject::Drop)?;
    let faults = parts.faults.as_ref()?.cases.iter();
    let ours = faults.filter(|it| it.subject == Subject::Ours);
    let most = ours.map(|it| it.resident_mb).reduce(f64::max)?;
    Some(vec![at_most(
        "memory above a service that drops its spans, whatever the collector does",
        most - floor,
        // Its 10 MB of spans, and its thread, runtime and connection.
        16.0,
        " MB",
    )])
}

fn in_trouble(parts: &Parts) -> Option<Vec<Goal>> {
    let cases = &parts.faults.as_ref()?.cases;
    let ours = || cases.iter().filter(|it| it.subject == Subject::Ours);
    let goal = |quantile: &str, ratio: fn(&faults::Case) -> Figure| {
        let good = ours().find(|it| it.collector == Behaviour::Well)?;
        let troubled = ours().filter(|it| it.collector != Behaviour::Well);
        let worst = troubled.max_by(|a, b| ratio(a).median.total_cmp(&ratio(b).median))?;
        Some(Goal {
            what: format!("{quantile} with the worst collector, to that with a good one"),
            figure: format!(
                "{:.2} of {}; of two good ones {:.2}",
                ratio(worst),
                worst.collector.name(),
                ratio(good)
            ),
            goal: "at most 1.1".to_owned(),
            held: ratio(worst).median <= 1.1,
        })
    };
    Some(vec![
        goal("p50", |it| it.p50_ratio)?,
        goal("p99", |it| it.p99_ratio)?,
    ])
}

fn edge(parts: &Parts) -> Option<Vec<Goal>> {
    let proxies = &parts.edge.as_ref()?.proxies;
    let traefik = proxies.iter().find(|it| it.name == TRAEFIK)?;
    let ratio = traefik.edge_to_this.median;
    Some(vec![at_most(
        "the edge's CPU per request, to Traefik's",
        ratio,
        0.25,
        "",
    )])
}
