//! The run as a whole: which parts, how much of each, and what is written about them.

mod goals;
mod page;
mod plots;
mod tables;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use self::goals::Goal;
use crate::count::Counts;
use crate::machine::Machine;
use crate::{chain, edge, faults, requests, saturation, spans};

/// Measures what tracing costs and writes a report about it: tables here, JSON and plots into a folder.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; everything unless said.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// A few seconds for each part: enough to see that everything works, too little for figures.
    #[arg(long)]
    quick: bool,
    /// Where report.json and the plots go; target/bench unless said.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Writes the page for the documentation as well, with report.json and the plots beside it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    docs: Option<PathBuf>,
    /// The Traefik to compare the edge with; else the one on PATH or in target/tools.
    #[arg(long, value_name = "PATH")]
    traefik: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Everything below.
    All,
    /// Time and allocations of a span.
    Spans,
    /// CPU time that tracing adds to a request of a service.
    Requests,
    /// The chain uservice1 and 2 against uservice3 and 4.
    Chain,
    /// Spans lost under more load than can be exported.
    Saturation,
    /// Latency of requests while the collector is in trouble.
    Faults,
    /// The edge against a bare proxy and Traefik.
    Edge,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Whether it was too short for figures.
    pub(crate) quick: bool,
    pub(crate) took_seconds: u64,
    pub(crate) goals: Vec<Goal>,
    pub(crate) counts: Counts,
    #[serde(flatten)]
    pub(crate) parts: Parts,
}

/// What was asked for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Parts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spans: Option<spans::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<requests::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<chain::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) saturation: Option<saturation::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faults: Option<faults::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edge: Option<edge::Report>,
}

/// Measures, writes, and says what was found.
///
/// # Errors
/// Something could not be measured or written, or spans are missing that have to be there.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    if cfg!(debug_assertions) && !options.quick {
        bail!("a build without --release measures nothing but itself; --quick is allowed with it");
    }
    let begun = Instant::now();
    let mut counts = Counts::default();
    let parts = measure(&options, &mut counts).await?;
    let report = Report {
        machine: Machine::look()?,
        quick: options.quick,
        took_seconds: begun.elapsed().as_secs(),
        goals: goals::judge(&parts),
        counts,
        parts,
    };
    match (&options.docs, &options.out) {
        (Some(docs), _) => report.write(docs, true)?,
        (None, Some(out)) => report.write(out, false)?,
        (None, None) => report.write(Path::new("target/bench"), false)?,
    }
    let broken = report.counts.broken();
    if !broken.is_empty() {
        bail!("{}", broken.join("; "));
    }
    Ok(())
}

async fn measure(options: &Options, counts: &mut Counts) -> anyhow::Result<Parts> {
    let all = options.parts.is_empty() || options.parts.contains(&Part::All);
    let wanted = |part| all || options.parts.contains(&part);
    let quick = options.quick;
    let pick = |quickly: u64, fully: u64| if quick { quickly } else { fully };
    let millis = |quickly, fully| Duration::from_millis(pick(quickly, fully));
    let mut parts = Parts::default();
    if wanted(Part::Spans) {
        say("spans")?;
        let effort = spans::Effort {
            rounds: pick(1, 5),
            bursts: pick(2, 15),
            spans: pick(500, 2000),
        };
        parts.spans = Some(spans::measure(effort, counts)?);
    }
    if wanted(Part::Requests) {
        say("requests")?;
        let effort = requests::Effort {
            goal_rounds: pick(1, 15),
            rounds: pick(1, 5),
            sweep_rounds: pick(1, 3),
            turns: pick(1, 8),
            duration: millis(100, 200),
            rate: pick(1000, 15_000),
            gentle_rate: pick(500, 5000),
            busy_rate: pick(2000, 40_000),
        };
        parts.requests = Some(requests::measure(effort, counts).await?);
    }
    if wanted(Part::Chain) {
        say("chain")?;
        let effort = chain::Effort {
            rounds: pick(1, 5),
            duration: millis(300, 2000),
            rate: pick(200, 1500),
        };
        parts.chain = Some(chain::measure(effort, counts).await?);
    }
    if wanted(Part::Saturation) {
        say("saturation")?;
        let effort = saturation::Effort {
            rounds: pick(1, 3),
            duration: millis(150, 2000),
        };
        parts.saturation = Some(saturation::measure(effort, counts).await?);
    }
    if wanted(Part::Faults) {
        say("faults")?;
        let effort = faults::Effort {
            turns: pick(1, 200) as usize,
            // The 99th percentile of them is the slowest but one.
            requests: pick(50, 100),
            rate: pick(500, 3000),
            before: pick(50, 20_000),
        };
        parts.faults = Some(faults::measure(effort, counts).await?);
    }
    if wanted(Part::Edge) {
        say("edge")?;
        let effort = edge::Effort {
            rounds: pick(1, 5),
            duration: millis(300, 2500),
            rate: pick(500, 4000),
        };
        let traefik = options.traefik.as_deref();
        parts.edge = Some(edge::measure(effort, traefik, counts).await?);
    }
    Ok(parts)
}

impl Report {
    /// Shows the tables, and writes everything else.
    fn write(&self, folder: &Path, page: bool) -> anyhow::Result<()> {
        let tables = tables::of(&self.parts);
        let plots = plots::of(&self.parts)?;
        let mut out = io::stdout().lock();
        for (_, table) in &tables {
            writeln!(out, "{}", table.plain())?;
        }
        writeln!(out, "{}", self.counts.table().plain())?;
        writeln!(out, "{}", goals::table(&self.goals, self.quick).plain())?;
        let mut files = vec![(
            folder.join("report.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )];
        if page {
            let page = page::of(self, &tables, &plots);
            files.push((folder.join("README.org"), page));
        }
        for plot in plots {
            files.push((folder.join(plot.name).with_extension("svg"), plot.svg));
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (file, text) in files {
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

/// What comes next, so that nobody believes that nothing happens.
fn say(part: &str) -> io::Result<()> {
    writeln!(io::stderr(), "measuring: {part}")
}
