//! `OTEL_TRACES_SAMPLER`: which traces are kept.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration>

use std::fmt;

use super::variables::{Problem, Variables};

/// A sampler of the specification, and what callers may demand of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// A caller's decision counts.
    pub(crate) parent_based: bool,
    pub(crate) root: Root,
    /// How many traces per second callers may have sampled; nothing is no limit.
    pub(crate) remote_per_second: Option<f64>,
}

/// Which traces are kept if nobody has decided yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Root {
    All,
    None,
    Ratio(f64),
}

/// Enough to look into what a caller wants looked into, and little enough for whatever is behind.
const REMOTE_PER_SECOND: f64 = 100.0;
const LIMIT: &str = "TELEMETRY_REMOTE_TRACES_PER_SECOND";

impl Sampling {
    pub(crate) fn parse(env: &mut Variables<'_>) -> Self {
        let (parent_based, root) = sampler(env);
        // Where all traces are kept a caller can demand nothing that it would not get anyway.
        let default = (root != Root::All).then_some(REMOTE_PER_SECOND);
        let used = default.map_or("no limit".to_owned(), |default| default.to_string());
        let limit = env.first(&[LIMIT], "a number of traces, or none", &used, |value| {
            if value.eq_ignore_ascii_case("none") {
                return Some(None);
            }
            let limit: f64 = value.parse().ok()?;
            (limit.is_finite() && limit >= 0.0).then_some(Some(limit))
        });
        Self {
            parent_based,
            root,
            remote_per_second: limit.unwrap_or(default),
        }
    }
}

fn sampler(env: &mut Variables<'_>) -> (bool, Root) {
    let (parent_based, root) = named_sampler(env);
    let argument = "OTEL_TRACES_SAMPLER_ARG";
    if !matches!(root, Root::Ratio(_))
        && let Some(value) = env.get(argument)
    {
        let used = "a sampler without an argument";
        env.report(Problem::unsupported(argument, &value, used));
    }
    (parent_based, root)
}

fn named_sampler(env: &mut Variables<'_>) -> (bool, Root) {
    let name = "OTEL_TRACES_SAMPLER";
    let default = (true, Root::All);
    let Some(value) = env.get(name) else {
        return default;
    };
    let lower = value.to_ascii_lowercase();
    let (parent_based, root) = match lower.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, lower.as_str()),
    };
    let root = match root {
        "always_on" => Root::All,
        "always_off" => Root::None,
        "traceidratio" => Root::Ratio(ratio(env)),
        other => {
            let wrong = match other {
                "jaeger_remote" | "xray" => "is not supported",
                _ => {
                    "is not always_on, always_off or traceidratio, nor one of these after parentbased_"
                }
            };
            env.report(Problem::new(name, &value, wrong, "parentbased_always_on"));
            return default;
        }
    };
    (parent_based, root)
}

fn ratio(env: &mut Variables<'_>) -> f64 {
    let name = "OTEL_TRACES_SAMPLER_ARG";
    env.read(&[name], "a number from 0 to 1", 1.0, |value| {
        value
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
    })
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent_based {
            f.write_str("parentbased_")?;
        }
        f.write_str(match self.root {
            Root::All => "always_on",
            Root::None => "always_off",
            Root::Ratio(_) => "traceidratio",
        })
    }
}
