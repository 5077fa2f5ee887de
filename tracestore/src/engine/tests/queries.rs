//! Random queries, of words that the random spans know.

use proptest::{collection::vec, prelude::*, sample::select, strategy::Union};

const CONDITIONS: &[&str] = &[
    "name = `a`",
    "name != `b`",
    "name =~ `a|c`",
    "kind = server",
    "kind != client",
    "status = error",
    "status != unset",
    "duration > 5ns",
    "duration <= 12ns",
    "duration >= 5",
    "statusMessage = ``",
    "span.x = 1",
    "span.x != 1",
    "span.x > 0.5",
    "span.x = `1`",
    "span.y =~ `1|2`",
    "span.y !~ `1`",
    "span.x = true",
    "span.x",
    "resource.x = nil",
    "resource.x != nil",
    "resource.service.name = `r1`",
    "resource.y <= 1.5",
    "instrumentation.x = 1",
    "instrumentation:name = `s1`",
    "event.x = 1",
    "event.x != 1",
    "event.y = nil",
    "event:name = `a`",
    "event:timeSinceStart >= 0",
    "link.x > 0",
    "link.y != nil",
    "link:traceID != ``",
    ".x = 1",
    ".x != 1",
    ".x > 1",
    ".x <= 1.5",
    ".y = nil",
    ".y =~ `1`",
    ".x = .y",
    "span.x + 1 = 2",
    "-span.x < 0",
    "!(.x = 1)",
    "!.x",
    "nestedSetParent < 0",
    "nestedSetParent >= 0",
    "nestedSetParent != -1",
    "nestedSetParent < 3",
    "nestedSetLeft > 2",
    "nestedSetRight < 5",
    "span:childCount > 0",
    "span:parentID = ``",
    "span:id != `0101010101010101`",
    "trace:id = `01010101010101010101010101010101`",
    "traceDuration > 10ns",
    "rootName = `a`",
    "rootServiceName = `r1`",
    "rootServiceName != `r1`",
    "true",
];

const RELATIONS: &[&str] = &[
    "&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<",
    "&<<", "&~",
];

const STAGES: &[&str] = &[
    "count() > 1",
    "count() = 1",
    "avg(duration) > 8ns",
    "max(.x) >= 1",
    "min(duration) < 10ns",
    "sum(span.x) > 1",
    "sum(duration) > 12ns",
    "by(name)",
    "by(.x)",
    "by(resource.service.name)",
    "by(nestedSetParent)",
    "coalesce()",
    "select(span.x, kind)",
    "select(.y, event:name, instrumentation:version, nestedSetLeft)",
];

const FUNCTIONS: &[&str] = &[
    "rate()",
    "count_over_time()",
    "count_over_time() by (name, status)",
    "rate() by (kind, .x)",
    "count_over_time() by (resource.service.name, span.y)",
    "count_over_time() by (event.x)",
    "count_over_time() by (rootName)",
    "count_over_time() by (nestedSetParent)",
    "count_over_time() by (instrumentation:name, duration)",
    "min_over_time(span.x)",
    "max_over_time(.x) by (name)",
    "sum_over_time(duration) by (kind)",
    "avg_over_time(duration)",
    "avg_over_time(event.x)",
    "sum_over_time(span:childCount) by (name)",
    "max_over_time(traceDuration)",
    "quantile_over_time(duration, .5, .9) by (name)",
    "quantile_over_time(.x, 0.7)",
    "histogram_over_time(duration) by (resource.service.name)",
    "histogram_over_time(traceDuration)",
    "compare({ status = error }, 1000)",
    "compare({ .x = 1 && nestedSetParent < 0 }, 1000, 3, 12)",
    "compare({ span:childCount > 0 }, 1000)",
];

/// What follows them.
const THEN: &[&str] = &[
    "| topk(1)",
    "| topk(2)",
    "| bottomk(1)",
    "| bottomk(3)",
    "> 1",
    "<= 2",
    "!= 1",
    "= 2",
    "| topk(2) > 1",
    "!= 0 | bottomk(1)",
    "| topk(3) | bottomk(1)",
];

/// Whether points that are equal are so to the last bit, however they are computed: else which of them is the greatest is
/// chance.
fn is_exact(function: &str) -> bool {
    let inexact = [
        "quantile",
        "compare",
        "sum_over_time(duration)",
        "avg_over_time(duration)",
    ];
    !inexact.iter().any(|inexact| function.starts_with(inexact))
}

fn filter() -> impl Strategy<Value = String> + Clone {
    let condition = select(CONDITIONS).prop_map(str::to_owned).boxed();
    condition.prop_recursive(2, 6, 2, |inner| {
        let pair = |op: &'static str| {
            (inner.clone(), inner.clone()).prop_map(move |(a, b)| format!("({a} {op} {b})"))
        };
        Union::new([pair("&&").boxed(), pair("||").boxed()])
    })
}

fn spansets() -> impl Strategy<Value = String> + Clone {
    let leaf = filter()
        .prop_map(|filter| format!("{{ {filter} }}"))
        .boxed();
    leaf.prop_recursive(2, 6, 2, |inner| {
        let related = (inner.clone(), select(RELATIONS), inner.clone());
        let related = related.prop_map(|(left, op, right)| format!("({left} {op} {right})"));
        let piped = (inner, select(STAGES)).prop_map(|(of, stage)| format!("({of} | {stage})"));
        prop_oneof![4 => related, 1 => piped]
    })
}

fn pipeline() -> impl Strategy<Value = String> {
    let stage = prop_oneof![
        2 => select(STAGES).prop_map(str::to_owned),
        1 => spansets(),
    ];
    (spansets(), vec(stage, 0..3)).prop_map(|(first, stages)| {
        let stages = stages.iter().map(|stage| format!(" | {stage}"));
        format!("{first}{}", stages.collect::<String>())
    })
}

/// Of the texts that are queries: few are none.
fn parsed(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    text.prop_filter("no query", |text| traceql::parse(text).is_ok())
}

pub(super) fn search() -> impl Strategy<Value = String> {
    parsed(pipeline())
}

pub(super) fn metrics() -> impl Strategy<Value = String> {
    let then = prop_oneof![
        1 => Just(""),
        1 => select(THEN),
    ];
    let text = (pipeline(), select(FUNCTIONS), then);
    parsed(text.prop_map(|(pipeline, function, then)| {
        let then = if is_exact(function) { then } else { "" };
        format!("{pipeline} | {function} {then}")
    }))
}

#[test]
fn every_word_is_of_the_language() {
    for condition in CONDITIONS {
        let query = format!("{{ {condition} }}");
        traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for stage in STAGES.iter().chain(FUNCTIONS) {
        let query = format!("{{}} | {stage}");
        traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for then in THEN {
        let query = format!("{{}} | rate() {then}");
        traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for relation in RELATIONS {
        let query = format!("{{}} {relation} {{}}");
        traceql::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}
