//! Random trees.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use traceql::{
    Aggregate, Arithmetic, Attribute, Comparison, Field, FieldExpression, Form, Hint, Intrinsic,
    Kin, Kind, Metrics, MetricsFunction, Pattern, Pipeline, Query, Relation, ScalarExpression,
    ScalarFilter, Scope, SecondStage, SpansetExpression, Stage, Static, Status,
};

/// Queries of every shape that a tree can have, most of which no check of types would let pass.
pub(crate) fn query() -> impl Strategy<Value = Query> {
    let hint = ("[a-c]_[a-z]{1,4}", literal(false)).prop_map(|(name, value)| Hint { name, value });
    let query = (pipeline(spansets()), option::of(metrics()), vec(hint, 0..3));
    query.prop_map(|(pipeline, metrics, hints)| Query {
        pipeline,
        metrics,
        hints,
    })
}

/// Filters that the parser takes: operands have fitting types.
pub(crate) fn filter() -> impl Strategy<Value = FieldExpression> {
    let number = prop_oneof![
        attribute().prop_map(FieldExpression::from),
        any::<i64>().prop_map(|int| FieldExpression::Static(Static::Int(int))),
        (-1e300..1e300).prop_map(|float| FieldExpression::Static(Static::Float(float))),
        any::<i64>().prop_map(|int| FieldExpression::Static(Static::Duration(int))),
        select(vec![Intrinsic::Duration, Intrinsic::ChildCount]).prop_map(FieldExpression::from),
    ];
    let number = number.prop_recursive(3, 12, 2, |number| {
        let negated = number
            .clone()
            .prop_map(|of| FieldExpression::Negate(Box::new(of)));
        let computed = (arithmetic(), number.clone(), number).prop_map(|(op, left, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            FieldExpression::Arithmetic { op, left, right }
        });
        prop_oneof![negated, computed]
    });
    let compared = (comparison(), number.clone(), number.clone()).prop_map(|(op, left, right)| {
        let (left, right) = (Box::new(left), Box::new(right));
        FieldExpression::Compare { op, left, right }
    });
    let matched = (attribute(), any::<bool>(), pattern()).prop_map(|(field, negated, pattern)| {
        let value = Box::new(FieldExpression::from(field));
        FieldExpression::Match {
            value,
            negated,
            pattern,
        }
    });
    let boolean = prop_oneof![
        attribute().prop_map(FieldExpression::from),
        any::<bool>().prop_map(|bool| FieldExpression::Static(Static::Bool(bool))),
        compared,
        matched,
        number.prop_map(|of| FieldExpression::Exists(Box::new(of))),
        attribute().prop_map(|of| FieldExpression::Missing(Box::new(of.into()))),
    ];
    boolean.prop_recursive(4, 24, 4, |boolean| {
        prop_oneof![
            vec(boolean.clone(), 2..4).prop_map(FieldExpression::And),
            vec(boolean.clone(), 2..4).prop_map(FieldExpression::Or),
            boolean.prop_map(|of| FieldExpression::Not(Box::new(of))),
        ]
    })
}

/// Spanset expressions over those filters.
pub(crate) fn spansets() -> impl Strategy<Value = SpansetExpression> + Clone {
    let leaf = filter().prop_map(SpansetExpression::Filter).boxed();
    leaf.prop_recursive(3, 12, 3, |inner| {
        let related = (inner.clone(), relation(), inner.clone());
        let related = related.prop_map(|(left, relation, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            SpansetExpression::Related {
                left,
                relation,
                right,
            }
        });
        let nested = pipeline(inner.clone()).prop_filter("its parentheses would only group", |p| {
            !matches!(p.stages[..], [Stage::Spansets(_)])
        });
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(SpansetExpression::And),
            vec(inner, 2..4).prop_map(SpansetExpression::Or),
            related,
            nested.prop_map(SpansetExpression::Pipeline),
        ]
    })
}

pub(crate) fn relation() -> impl Strategy<Value = Relation> + Clone {
    let kin = select(vec![
        Kin::Child,
        Kin::Descendant,
        Kin::Parent,
        Kin::Ancestor,
        Kin::Sibling,
    ]);
    let form = select(vec![Form::Right, Form::Not, Form::Union]);
    (kin, form).prop_map(|(kin, form)| Relation { kin, form })
}

fn pipeline(
    spansets: impl Strategy<Value = SpansetExpression> + Clone + 'static,
) -> impl Strategy<Value = Pipeline> + Clone {
    let first = prop_oneof![spansets.clone().prop_map(Stage::Spansets), scalar_filter()];
    let later = prop_oneof![
        spansets.prop_map(Stage::Spansets),
        scalar_filter(),
        attribute().prop_map(|key| Stage::By(key.into())),
        Just(Stage::Coalesce),
        vec(field(), 1..3).prop_map(Stage::Select),
    ];
    let pipeline = (first, vec(later, 0..3)).prop_map(|(first, mut stages)| {
        stages.insert(0, first);
        Pipeline { stages }
    });
    pipeline.boxed()
}

fn scalar_filter() -> impl Strategy<Value = Stage> + Clone {
    let function = select(vec![
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::Avg,
        Aggregate::Sum,
    ]);
    let aggregate = (function, field().prop_filter("a number", is_number));
    let leaf = prop_oneof![
        (0..100_i64).prop_map(|int| ScalarExpression::Static(Static::Int(int))),
        (-100..100_i64).prop_map(|int| ScalarExpression::Static(Static::Duration(int))),
        Just(ScalarExpression::Count),
        aggregate.prop_map(|(function, of)| ScalarExpression::Aggregate {
            function,
            of: of.into()
        }),
    ];
    let scalar = leaf.prop_recursive(2, 6, 2, |inner| {
        (arithmetic(), inner.clone(), inner).prop_map(|(op, left, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            ScalarExpression::Arithmetic { op, left, right }
        })
    });
    let filter = (Just(ScalarExpression::Count), comparison(), scalar);
    let filter = filter.prop_map(|(left, op, right)| ScalarFilter { left, op, right });
    filter.prop_map(Stage::Scalar).boxed()
}

fn metrics() -> impl Strategy<Value = Metrics> {
    let function = prop_oneof![
        Just(MetricsFunction::Rate),
        Just(MetricsFunction::CountOverTime),
        field().prop_map(MetricsFunction::MinOverTime),
        field().prop_map(MetricsFunction::MaxOverTime),
        field().prop_map(MetricsFunction::SumOverTime),
        field().prop_map(MetricsFunction::AvgOverTime),
        field().prop_map(MetricsFunction::HistogramOverTime),
        (field(), vec(0.0..=1.0, 1..4))
            .prop_map(|(field, quantiles)| MetricsFunction::QuantileOverTime { field, quantiles }),
    ];
    let then = prop_oneof![
        (1..100_u64).prop_map(SecondStage::TopK),
        (1..100_u64).prop_map(SecondStage::BottomK),
        (
            comparison(),
            prop_oneof![-1e20..1e20, -5.0..5.0, Just(-3.0), Just(0.0)]
        )
            .prop_map(|(op, value)| SecondStage::Filter { op, value }),
    ];
    let metrics = (function, vec(field(), 0..4), vec(then, 0..3));
    let metrics = metrics.prop_map(|(function, by, then)| Metrics { function, by, then });
    let window = option::of((1..100_u64, 100..200_u64));
    let compare = (filter(), 1..20_u64, window).prop_map(|(selection, top, window)| Metrics {
        function: MetricsFunction::Compare {
            selection,
            top,
            window,
        },
        by: Vec::new(),
        then: Vec::new(),
    });
    prop_oneof![4 => metrics, 1 => compare]
}

fn is_number(field: &Field) -> bool {
    match field {
        Field::Attribute(_) => true,
        Field::Intrinsic(intrinsic) => {
            matches!(intrinsic, Intrinsic::Duration | Intrinsic::ChildCount)
        }
    }
}

fn field() -> impl Strategy<Value = Field> + Clone {
    prop_oneof![
        attribute(),
        select(Intrinsic::ALL.to_vec()).prop_map(Field::Intrinsic)
    ]
}

fn attribute() -> impl Strategy<Value = Field> + Clone {
    let name =
        prop_oneof![4 => "[a-c]", 1 => "[a-z0-9._/\\-+\"\\\\ {}é\n]{0,6}", 1 => any::<String>()];
    let scope = option::of(select(Scope::ALL.to_vec()));
    (scope, name).prop_map(|(scope, name)| Field::Attribute(Attribute { scope, name }))
}

fn literal(with_sign: bool) -> impl Strategy<Value = Static> {
    let least = if with_sign { i64::MIN } else { 0 };
    prop_oneof![
        (least..=i64::MAX).prop_map(Static::Int),
        (least..=i64::MAX).prop_map(Static::Duration),
        (0.0..1e300).prop_map(Static::Float),
        any::<String>().prop_map(Static::String),
        any::<bool>().prop_map(Static::Bool),
        select(vec![Status::Ok, Status::Error, Status::Unset]).prop_map(Static::Status),
        select(vec![Kind::Server, Kind::Client, Kind::Internal]).prop_map(Static::Kind),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let pattern = prop_oneof![
        "[a-c]{0,2}(\\.\\*)?[`\r\n]?",
        Just("\\d+|[^a-b]`".to_owned())
    ];
    pattern.prop_map(|pattern| Pattern::new(&pattern).unwrap())
}

fn comparison() -> impl Strategy<Value = Comparison> + Clone {
    select(vec![
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ])
}

fn arithmetic() -> impl Strategy<Value = Arithmetic> + Clone {
    select(vec![
        Arithmetic::Add,
        Arithmetic::Subtract,
        Arithmetic::Multiply,
        Arithmetic::Divide,
        Arithmetic::Modulo,
        Arithmetic::Power,
    ])
}
