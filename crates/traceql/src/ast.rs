//! The tree of a query.
//!
//! Plain data: build one by hand, take one apart, print it. What TraceQL refuses although it has a grammar for it
//! (`parent.`, sub-pipelines compared as numbers) has no node here.

use crate::Pattern;
use crate::value::Static;

/// A whole query, e.g. `{ status = error } | rate() by (resource.service.name) with (sample = true)`.
///
/// The enums of its tree are exhaustive, so that whoever compiles a query hears of what a new version adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What finds spans. Never empty.
    pub pipeline: Pipeline,
    /// What counts them, if this is a metrics query.
    pub metrics: Option<Metrics>,
    /// `with (name = value, …)` in order; of several `with` the last.
    pub hints: Vec<Hint>,
}

/// Stages, each of which takes the spansets that the one before left: `{ } | by (name) | count() > 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// In order, never empty.
    pub stages: Vec<Stage>,
}

/// One step of a [`Pipeline`].
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Keeps the spans that it matches.
    Spansets(SpansetExpression),
    /// `count() > 2`: keeps the spansets for which it is true.
    Scalar(ScalarFilter),
    /// `by (expression)`: a spanset for each value.
    By(FieldExpression),
    /// `coalesce()`: one spanset again.
    Coalesce,
    /// `select (field, …)`: filters nothing, names what else the answer should show.
    Select(Vec<Field>),
}

/// What matches spans of a trace by themselves and by how they relate.
#[derive(Clone, Debug, PartialEq)]
pub enum SpansetExpression {
    /// `{ expression }`; `{ }` is `{ true }`.
    Filter(FieldExpression),
    /// `a && b && …`, two or more: the spans of all, where none of them is without a span.
    And(Vec<SpansetExpression>),
    /// `a || b || …`, two or more: the spans of any.
    Or(Vec<SpansetExpression>),
    /// `a >> b` and the like.
    Related {
        /// What the spans of the right side have to be related to.
        left: Box<SpansetExpression>,
        /// How.
        relation: Relation,
        /// Where the matched spans come from.
        right: Box<SpansetExpression>,
    },
    /// `(a | count() > 2)`, as an operand or a stage.
    Pipeline(Pipeline),
}

/// A structural operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    /// What the right side's spans are to the left side's.
    pub kin: Kin,
    /// Which spans the operator returns.
    pub form: Form,
}

/// How a span of the right side is related to one of the left side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kin {
    /// `>`: the right span is a child of the left one.
    Child,
    /// `>>`: the right span is below the left one.
    Descendant,
    /// `<`: the right span is the parent of the left one.
    Parent,
    /// `<<`: the right span is above the left one.
    Ancestor,
    /// `~`: both have the same parent. Roots are siblings of each other; a span is none of its own.
    Sibling,
}

/// What a structural operator returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `>`: the right side's spans that are so related to a span of the left side.
    Right,
    /// `!>`: the right side's spans that are not.
    Not,
    /// `&>`: both sides' spans that are so related to a span of the other.
    Union,
}

/// `left op right` over numbers that are computed for each spanset.
///
/// Tempo 3.0.3 answers only `aggregate op literal` and refuses the rest as not yet supported.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalarFilter {
    /// The left operand.
    pub left: ScalarExpression,
    /// The operator.
    pub op: Comparison,
    /// The right operand.
    pub right: ScalarExpression,
}

/// A number that is computed for a spanset.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarExpression {
    /// `2`, `1.5` or `1h`.
    Static(Static),
    /// `count()`
    Count,
    /// `max (expression)` and the like.
    Aggregate {
        /// Which.
        function: Aggregate,
        /// What of each span; spans without it do not count.
        of: FieldExpression,
    },
    /// `a + b` and the like.
    Arithmetic {
        /// The operator.
        op: Arithmetic,
        /// The left operand.
        left: Box<ScalarExpression>,
        /// The right operand.
        right: Box<ScalarExpression>,
    },
}

/// What an aggregate makes of a spanset's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// `min`
    Min,
    /// `max`
    Max,
    /// `avg`
    Avg,
    /// `sum`
    Sum,
}

/// What is computed for one span.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldExpression {
    /// A literal.
    Static(Static),
    /// The value of an attribute or intrinsic; nil where the span has none.
    Field(Field),
    /// `a && b && …`, two or more.
    And(Vec<FieldExpression>),
    /// `a || b || …`, two or more.
    Or(Vec<FieldExpression>),
    /// `a = b` and the like; false if either side is nil.
    Compare {
        /// The operator.
        op: Comparison,
        /// The left operand.
        left: Box<FieldExpression>,
        /// The right operand.
        right: Box<FieldExpression>,
    },
    /// `a =~ "pattern"` or `a !~ "pattern"`; false if `a` is not a string.
    Match {
        /// What to match.
        value: Box<FieldExpression>,
        /// `!~`
        negated: bool,
        /// What it has to match from its beginning to its end.
        pattern: Pattern,
    },
    /// `a != nil`
    Exists(Box<FieldExpression>),
    /// `a = nil`
    Missing(Box<FieldExpression>),
    /// `a + b` and the like; nil if either side is not a number.
    Arithmetic {
        /// The operator.
        op: Arithmetic,
        /// The left operand.
        left: Box<FieldExpression>,
        /// The right operand.
        right: Box<FieldExpression>,
    },
    /// `!a`; nil if `a` is not a boolean.
    Not(Box<FieldExpression>),
    /// `-a`; nil if `a` is not a number. A literal's own sign is part of the literal.
    Negate(Box<FieldExpression>),
}

/// An operator that compares two values. What it means for which types: [`Value::compare`](crate::Value::compare).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As a query spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// The operator that says the same with its operands exchanged.
    pub fn flipped(self) -> Comparison {
        match self {
            Comparison::Equal | Comparison::NotEqual => self,
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        }
    }
}

/// An operator of two numbers.
///
/// Two ints give an int, which wraps; everything else, durations too, gives a float. Integer division by zero gives nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`. Of two ints Tempo 3.0.3 raises the right one to the power of the left one, and so does this.
    Power,
}

impl Arithmetic {
    /// As a query spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Modulo => "%",
            Arithmetic::Power => "^",
        }
    }
}

/// What a span can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `span.http.route`
    Attribute(Attribute),
    /// `duration`
    Intrinsic(Intrinsic),
}

impl Field {
    /// Whether it is of the events or the links of a span, which may be several.
    pub fn has_several(&self) -> bool {
        match self {
            Field::Attribute(attribute) => {
                matches!(attribute.scope, Some(Scope::Event | Scope::Link))
            }
            Field::Intrinsic(intrinsic) => matches!(
                intrinsic,
                Intrinsic::EventName
                    | Intrinsic::EventTimeSinceStart
                    | Intrinsic::LinkTraceId
                    | Intrinsic::LinkSpanId
            ),
        }
    }
}

impl From<Attribute> for Field {
    fn from(attribute: Attribute) -> Field {
        Field::Attribute(attribute)
    }
}

impl From<Intrinsic> for Field {
    fn from(intrinsic: Intrinsic) -> Field {
        Field::Intrinsic(intrinsic)
    }
}

/// A key and where to look for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute {
    /// `None` (`.name`) takes the first that has it, in the order of [`Scope::ALL`].
    pub scope: Option<Scope>,
    /// Any text: what a bare name cannot hold is quoted when printed.
    pub name: String,
}

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `span.`
    Span,
    /// `resource.`
    Resource,
    /// `event.`
    Event,
    /// `link.`
    Link,
    /// `instrumentation.`
    Instrumentation,
}

impl Scope {
    /// In the order in which an attribute without a scope is looked up.
    pub const ALL: [Scope; 5] = [
        Scope::Span,
        Scope::Resource,
        Scope::Event,
        Scope::Link,
        Scope::Instrumentation,
    ];

    /// As a query spells it, without the dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Span => "span",
            Scope::Resource => "resource",
            Scope::Event => "event",
            Scope::Link => "link",
            Scope::Instrumentation => "instrumentation",
        }
    }
}

impl<F: Into<Field>> From<F> for FieldExpression {
    fn from(field: F) -> FieldExpression {
        FieldExpression::Field(field.into())
    }
}

/// What a span has without being an attribute. Both spellings of one, `name` and `span:name`, are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    /// `duration`, `span:duration`: a duration.
    Duration,
    /// `name`, `span:name`: a string.
    Name,
    /// `status`, `span:status`: a status.
    Status,
    /// `statusMessage`, `span:statusMessage`: a string.
    StatusMessage,
    /// `kind`, `span:kind`: a kind.
    Kind,
    /// `span:id`: a string of 16 hexadecimal digits.
    SpanId,
    /// `span:parentID`: a string of 16 hexadecimal digits.
    ParentId,
    /// `span:childCount`: an int.
    ChildCount,
    /// `trace:id`: a string of hexadecimal digits without leading zeros. Those of a literal it is compared with are
    /// ignored, so an id may be pasted in either form.
    TraceId,
    /// `traceDuration`, `trace:duration`: a duration.
    TraceDuration,
    /// `rootName`, `trace:rootName`: a string.
    RootName,
    /// `rootServiceName`, `trace:rootService`: a string.
    RootServiceName,
    /// `nestedSetParent`: an int, the `nestedSetLeft` of the parent, -1 for a root, 0 where the parent is missing.
    NestedSetParent,
    /// `nestedSetLeft`: an int.
    NestedSetLeft,
    /// `nestedSetRight`: an int.
    NestedSetRight,
    /// `event:name`: a string for each event.
    EventName,
    /// `event:timeSinceStart`: a duration for each event.
    EventTimeSinceStart,
    /// `link:traceID`: a string for each link.
    LinkTraceId,
    /// `link:spanID`: a string for each link.
    LinkSpanId,
    /// `instrumentation:name`: a string.
    InstrumentationName,
    /// `instrumentation:version`: a string.
    InstrumentationVersion,
}

impl Intrinsic {
    /// Every one, in no meaningful order.
    pub const ALL: [Intrinsic; 21] = [
        Intrinsic::Duration,
        Intrinsic::Name,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::Kind,
        Intrinsic::SpanId,
        Intrinsic::ParentId,
        Intrinsic::ChildCount,
        Intrinsic::TraceId,
        Intrinsic::TraceDuration,
        Intrinsic::RootName,
        Intrinsic::RootServiceName,
        Intrinsic::NestedSetParent,
        Intrinsic::NestedSetLeft,
        Intrinsic::NestedSetRight,
        Intrinsic::EventName,
        Intrinsic::EventTimeSinceStart,
        Intrinsic::LinkTraceId,
        Intrinsic::LinkSpanId,
        Intrinsic::InstrumentationName,
        Intrinsic::InstrumentationVersion,
    ];

    /// As Tempo names it in its answers: the old form where there is one.
    pub fn as_str(self) -> &'static str {
        match self {
            Intrinsic::Duration => "duration",
            Intrinsic::Name => "name",
            Intrinsic::Status => "status",
            Intrinsic::StatusMessage => "statusMessage",
            Intrinsic::Kind => "kind",
            Intrinsic::SpanId => "span:id",
            Intrinsic::ParentId => "span:parentID",
            Intrinsic::ChildCount => "span:childCount",
            Intrinsic::TraceId => "trace:id",
            Intrinsic::TraceDuration => "traceDuration",
            Intrinsic::RootName => "rootName",
            Intrinsic::RootServiceName => "rootServiceName",
            Intrinsic::NestedSetParent => "nestedSetParent",
            Intrinsic::NestedSetLeft => "nestedSetLeft",
            Intrinsic::NestedSetRight => "nestedSetRight",
            Intrinsic::EventName => "event:name",
            Intrinsic::EventTimeSinceStart => "event:timeSinceStart",
            Intrinsic::LinkTraceId => "link:traceID",
            Intrinsic::LinkSpanId => "link:spanID",
            Intrinsic::InstrumentationName => "instrumentation:name",
            Intrinsic::InstrumentationVersion => "instrumentation:version",
        }
    }

    /// Whether the evaluator computes it from the parents of all spans, so that no trace is asked for it.
    pub fn is_structural(self) -> bool {
        matches!(
            self,
            Intrinsic::ChildCount
                | Intrinsic::NestedSetParent
                | Intrinsic::NestedSetLeft
                | Intrinsic::NestedSetRight
        )
    }
}

/// What makes series of the spans that the pipeline leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// What a point of a series is.
    pub function: MetricsFunction,
    /// `by (field, …)`: a series for each combination of values. Empty for `compare()`.
    pub by: Vec<Field>,
    /// What is made of the series, in order.
    pub then: Vec<SecondStage>,
}

/// The first stage of a metrics query.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsFunction {
    /// `rate()`: spans per second.
    Rate,
    /// `count_over_time()`
    CountOverTime,
    /// `min_over_time (field)`
    MinOverTime(Field),
    /// `max_over_time (field)`
    MaxOverTime(Field),
    /// `sum_over_time (field)`
    SumOverTime(Field),
    /// `avg_over_time (field)`
    AvgOverTime(Field),
    /// `quantile_over_time (field, 0.5, …)`
    QuantileOverTime {
        /// What of each span.
        field: Field,
        /// One or more, each from 0 to 1 and none twice, in the order of the query.
        quantiles: Vec<f64>,
    },
    /// `histogram_over_time (field)`
    HistogramOverTime(Field),
    /// `compare ({ expression }, top, start, end)`: what sets some spans apart from the rest.
    Compare {
        /// The spans to compare with the rest.
        selection: FieldExpression,
        /// How many values of each attribute to return, at least 1; 10 if the query does not say.
        top: u64,
        /// Only spans that start after the first and not after the second are selected; Unix nanoseconds.
        window: Option<(u64, u64)>,
    },
}

impl MetricsFunction {
    /// As a query spells it, which is also the `__name__` of a series without other labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            MetricsFunction::Rate => "rate",
            MetricsFunction::CountOverTime => "count_over_time",
            MetricsFunction::MinOverTime(_) => "min_over_time",
            MetricsFunction::MaxOverTime(_) => "max_over_time",
            MetricsFunction::SumOverTime(_) => "sum_over_time",
            MetricsFunction::AvgOverTime(_) => "avg_over_time",
            MetricsFunction::QuantileOverTime { .. } => "quantile_over_time",
            MetricsFunction::HistogramOverTime(_) => "histogram_over_time",
            MetricsFunction::Compare { .. } => "compare",
        }
    }

    /// The field whose values it takes.
    pub fn field(&self) -> Option<&Field> {
        match self {
            MetricsFunction::MinOverTime(field)
            | MetricsFunction::MaxOverTime(field)
            | MetricsFunction::SumOverTime(field)
            | MetricsFunction::AvgOverTime(field)
            | MetricsFunction::QuantileOverTime { field, .. }
            | MetricsFunction::HistogramOverTime(field) => Some(field),
            MetricsFunction::Rate
            | MetricsFunction::CountOverTime
            | MetricsFunction::Compare { .. } => None,
        }
    }
}

/// What is made of the series of a metrics query.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondStage {
    /// `| topk (n)`: at each time only the greatest, `n` of at least 1.
    TopK(u64),
    /// `| bottomk (n)`: at each time only the least, `n` of at least 1.
    BottomK(u64),
    /// `> 10`: only the points for which it is true. A duration is given in seconds.
    Filter {
        /// The operator.
        op: Comparison,
        /// What each point is compared with; finite.
        value: f64,
    },
}

/// Advice about how to run a query, e.g. `most_recent = true`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    /// A word, not checked against any list.
    pub name: String,
    /// Not a negative number, for which hints have no grammar.
    pub value: Static,
}
