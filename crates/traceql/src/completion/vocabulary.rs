//! The words of the language, as they are offered.

/// A word of the language, or a mark, or the beginning of a call.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is written. What ends with `(` or `.` goes on.
    pub text: &'static str,
    /// What it is.
    pub kind: WordKind,
    /// What it does, in a few words; may be empty.
    pub about: &'static str,
    /// What might follow it: it fits where the parser takes it with one of these.
    pub(super) tails: &'static [&'static str],
}

impl Word {
    pub(super) fn is_field(&self) -> bool {
        matches!(self.kind, WordKind::Intrinsic | WordKind::Scope)
    }
}

/// What a word of the language is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordKind {
    /// `duration` and its like.
    Intrinsic,
    /// The beginning of an attribute, `span.`.
    Scope,
    /// `=`, `>>`.
    Operator,
    /// A bracket, comma or `|`.
    Mark,
    /// `count()`, `by (`: makes spansets of spansets.
    Stage,
    /// `rate()` and its like.
    Metrics,
    /// `true`, `false`, `nil`, a number.
    Literal,
    /// `error` and its like.
    Status,
    /// `server` and its like.
    Kind,
    /// `100ms`: as good as any other.
    Duration,
    /// What stands in `with (`.
    Hint,
}

impl WordKind {
    /// Whether what follows it closes the brackets around it.
    pub(super) fn is_within_brackets(self) -> bool {
        !matches!(
            self,
            WordKind::Mark | WordKind::Stage | WordKind::Metrics | WordKind::Hint
        )
    }

    /// Lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            WordKind::Intrinsic => "intrinsic",
            WordKind::Scope => "scope",
            WordKind::Operator => "operator",
            WordKind::Mark => "mark",
            WordKind::Stage => "stage",
            WordKind::Metrics => "metrics",
            WordKind::Literal => "literal",
            WordKind::Status => "status",
            WordKind::Kind => "kind",
            WordKind::Duration => "duration",
            WordKind::Hint => "hint",
        }
    }
}

/// What might follow a field: nothing, or another argument.
pub(super) const AFTER_FIELD: &[&str] = &["", ", 0.5"];

const fn word(
    text: &'static str,
    kind: WordKind,
    about: &'static str,
    tails: &'static [&'static str],
) -> Word {
    Word {
        text,
        kind,
        about,
        tails,
    }
}

const fn intrinsic(text: &'static str, about: &'static str) -> Word {
    word(text, WordKind::Intrinsic, about, AFTER_FIELD)
}

const fn scope(text: &'static str, about: &'static str) -> Word {
    word(text, WordKind::Scope, about, &["x", "x, 0.5"])
}

/// Between values: each tail suits other operators and types.
const fn operator(text: &'static str, about: &'static str) -> Word {
    word(
        text,
        WordKind::Operator,
        about,
        &[" \"\"", " .x", " .x = 1", " 1"],
    )
}

/// Between spansets.
const fn relation(text: &'static str, about: &'static str) -> Word {
    word(text, WordKind::Operator, about, &[" { }"])
}

const fn stage(text: &'static str, about: &'static str, tails: &'static [&'static str]) -> Word {
    word(text, WordKind::Stage, about, tails)
}

const fn metrics(text: &'static str, about: &'static str, tails: &'static [&'static str]) -> Word {
    word(text, WordKind::Metrics, about, tails)
}

const fn mark(text: &'static str, about: &'static str, tails: &'static [&'static str]) -> Word {
    word(text, WordKind::Mark, about, tails)
}

const fn literal(text: &'static str, kind: WordKind) -> Word {
    word(text, kind, "", &[""])
}

/// Those that are likely at a place come before others that fit there too.
pub(super) const VOCABULARY: &[Word] = &[
    mark("{", "spans with…", &[" }"]),
    literal("error", WordKind::Status),
    literal("ok", WordKind::Status),
    literal("unset", WordKind::Status),
    literal("server", WordKind::Kind),
    literal("client", WordKind::Kind),
    literal("internal", WordKind::Kind),
    literal("producer", WordKind::Kind),
    literal("consumer", WordKind::Kind),
    literal("unspecified", WordKind::Kind),
    literal("10ms", WordKind::Duration),
    literal("100ms", WordKind::Duration),
    literal("1s", WordKind::Duration),
    literal("10s", WordKind::Duration),
    intrinsic("name", "of the span"),
    intrinsic("status", "error, ok or unset"),
    intrinsic("duration", "of the span"),
    intrinsic("kind", "server, client, …"),
    scope("span.", "attributes of the span"),
    scope("resource.", "attributes of the service"),
    scope("event.", "attributes of events"),
    scope("link.", "attributes of links"),
    scope("instrumentation.", "attributes of the library"),
    scope(".", "attributes of any scope"),
    intrinsic("traceDuration", "of the whole trace"),
    intrinsic("rootName", "of the root span"),
    intrinsic("rootServiceName", "of the root span"),
    intrinsic("statusMessage", "why it failed"),
    intrinsic("event:name", ""),
    intrinsic("event:timeSinceStart", ""),
    intrinsic("span:id", ""),
    intrinsic("span:parentID", ""),
    intrinsic("span:childCount", "children of the span"),
    intrinsic("trace:id", ""),
    intrinsic("link:traceID", ""),
    intrinsic("link:spanID", ""),
    intrinsic("instrumentation:name", "the library"),
    intrinsic("instrumentation:version", "of the library"),
    intrinsic("nestedSetParent", ""),
    intrinsic("nestedSetLeft", ""),
    intrinsic("nestedSetRight", ""),
    literal("true", WordKind::Literal),
    literal("false", WordKind::Literal),
    word("nil", WordKind::Literal, "not there", &[""]),
    mark("}", "end of the filter", &[""]),
    mark(")", "", &[""]),
    mark(
        "|",
        "go on with what was found",
        &[" rate()", " count() > 1", " topk(1)"],
    ),
    stage("by (", "one series or spanset for each value", &[".x)"]),
    operator("=", ""),
    operator("!=", ""),
    operator(">", ""),
    operator(">=", ""),
    operator("<", ""),
    operator("<=", ""),
    operator("=~", "matches a regular expression"),
    operator("!~", "does not match it"),
    word("&&", WordKind::Operator, "and", &[" .x", " { }"]),
    word("||", WordKind::Operator, "or", &[" .x", " { }"]),
    relation(">>", "above, at any distance"),
    relation(">", "parent of"),
    relation("<<", "below, at any distance"),
    relation("<", "child of"),
    relation("~", "beside, of the same parent"),
    relation("!>>", "not below one of these"),
    relation("!>", "not a child of one of these"),
    relation("!<<", "not above one of these"),
    relation("!<", "not a parent of one of these"),
    relation("!~", "not beside one of these"),
    relation("&>>", "above, and both sides"),
    relation("&>", "parent of, and both sides"),
    relation("&<<", "below, and both sides"),
    relation("&<", "child of, and both sides"),
    relation("&~", "beside, and both sides"),
    operator("+", ""),
    operator("-", ""),
    operator("*", ""),
    operator("/", ""),
    operator("%", ""),
    operator("^", ""),
    mark(",", "", &[" .x)", " 0.5)", " 10)"]),
    metrics("rate()", "spans per second", &[""]),
    metrics("count_over_time()", "spans", &[""]),
    metrics(
        "quantile_over_time(",
        "e.g. duration, 0.5, 0.99",
        &[".x, 0.5)"],
    ),
    metrics("histogram_over_time(", "e.g. duration", &[".x)"]),
    metrics("avg_over_time(", "", &[".x)"]),
    metrics("max_over_time(", "", &[".x)"]),
    metrics("min_over_time(", "", &[".x)"]),
    metrics("sum_over_time(", "", &[".x)"]),
    metrics("compare(", "what sets spans apart", &["{ })"]),
    metrics("topk(", "the largest series", &["1)"]),
    metrics("bottomk(", "the smallest series", &["1)"]),
    stage("count()", "spans of a trace", &[" > 1"]),
    stage("avg(", "of a trace's spans", &[".x) > 1"]),
    stage("max(", "of a trace's spans", &[".x) > 1"]),
    stage("min(", "of a trace's spans", &[".x) > 1"]),
    stage("sum(", "of a trace's spans", &[".x) > 1"]),
    stage("select(", "show these fields too", &[".x)"]),
    stage("coalesce()", "one spanset again", &[""]),
    word("with (", WordKind::Hint, "hints", &["a = 1)"]),
];

pub(super) const HINTS: &[Word] = &[
    word("most_recent = true", WordKind::Hint, "newest first", &[")"]),
    word("exemplars = true", WordKind::Hint, "", &[")"]),
    word("sample = true", WordKind::Hint, "", &[")"]),
];

pub(super) const QUANTILES: &[Word] = &[
    word("0.5", WordKind::Literal, "median", &[""]),
    word("0.9", WordKind::Literal, "", &[""]),
    word("0.95", WordKind::Literal, "", &[""]),
    word("0.99", WordKind::Literal, "", &[""]),
];
