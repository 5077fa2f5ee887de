//! What series say of spans.

use std::cell::Cell;

use expect_test::{Expect, expect};
use proptest::collection::vec;
use proptest::prelude::*;
use traceql::{Aggregator, Contrast, Items, Series, Static, Value, Window, parse, parse_field};

const SECOND: u64 = 1_000_000_000;

/// When a span starts, in tenths of a second, its value, and its group.
type Observed = (u64, Option<Value<'static>>, Option<Value<'static>>);

/// Three intervals of a second, the first of which is the one before the query's time.
fn window() -> Window {
    Window::range(10 * SECOND + 1, 12 * SECOND, SECOND).unwrap()
}

fn show(series: &[Series]) -> String {
    let lines = series.iter().map(|series| {
        let labels = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let values = series.values.iter().map(ToString::to_string);
        let labels = labels.collect::<Vec<_>>().join(" ");
        format!("{labels}: {}\n", values.collect::<Vec<_>>().join(" "))
    });
    lines.collect()
}

fn series(query: &str, spans: &[Observed]) -> Vec<Series> {
    let metrics = parse(&format!("{{}} | {query}")).unwrap().metrics.unwrap();
    let mut aggregator = Aggregator::new(&metrics, window());
    for (tenths, value, group) in spans {
        let group = &[*group][..metrics.by.len().min(1)];
        aggregator.observe(tenths * SECOND / 10, *value, group);
    }
    aggregator.finish()
}

fn check(query: &str, spans: &[Observed], expected: Expect) {
    expected.assert_eq(&show(&series(query, spans)));
}

fn int(tenths: u64, int: i64, group: &'static str) -> Observed {
    (tenths, Some(Value::Int(int)), Some(Value::Str(group)))
}

fn duration(tenths: u64, milliseconds: i64) -> Observed {
    (
        tenths,
        Some(Value::Duration(milliseconds * 1_000_000)),
        None,
    )
}

const SPANS: &[Observed] = &[
    (95, Some(Value::Int(5)), Some(Value::Str("a"))),
    (105, Some(Value::Int(1)), Some(Value::Str("a"))),
    (110, Some(Value::Int(3)), Some(Value::Str("b"))),
    (110, None, Some(Value::Str("b"))),
    (111, Some(Value::Float(-0.5)), None),
    (120, Some(Value::Int(4)), Some(Value::Str("a"))),
    // Too early, and too late.
    (90, Some(Value::Int(9)), Some(Value::Str("a"))),
    (121, Some(Value::Int(9)), Some(Value::Str("a"))),
];

#[test]
fn windows_are_aligned_and_intervals_end_with_their_last_moment() {
    let window = Window::range(103, 187, 10).unwrap();
    assert_eq!(window.len(), 10);
    let intervals = [90, 91, 100, 101, 110, 190, 191].map(|time| window.interval(time));
    assert_eq!(
        intervals,
        [None, Some(0), Some(0), Some(1), Some(1), Some(9), None]
    );
    assert_eq!(
        [0, 9].map(|interval| window.timestamp(interval)),
        [100, 190]
    );
    assert_eq!(Window::range(5, 15, 10).map(|window| window.len()), Some(2));
    assert_eq!(Window::range(5, 5, 10), None);
    assert_eq!(Window::range(5, 15, 0), None);
    assert_eq!(Window::range(1, u64::MAX, 10), None);
    let instant = Window::instant(100, 200).unwrap();
    assert_eq!(instant.len(), 1);
    let intervals = [100, 101, 200, 201].map(|time| instant.interval(time));
    assert_eq!(intervals, [None, Some(0), Some(0), None]);
    assert_eq!(instant.timestamp(0), 200);
    assert_eq!(Window::instant(5, 5), None);
}

#[test]
fn the_usual_step_makes_some_240_intervals() {
    let steps = [
        1,
        30,
        59,
        60,
        3600,
        5 * 3600,
        24 * 3600,
        7 * 24 * 3600,
        90 * 24 * 3600,
    ];
    let steps = steps.map(|seconds| Window::default_step(0, seconds * SECOND) / 1_000_000);
    expect!["[50, 100, 200, 1000, 15000, 60000, 300000, 2400000, 32400000]"]
        .assert_eq(&format!("{steps:?}"));
}

#[test]
fn counts_are_zero_and_other_values_absent_where_no_span_is() {
    check(
        "rate()",
        SPANS,
        expect![[r#"
        __name__=`rate`: 1 3 2
    "#]],
    );
    check(
        "count_over_time() by (.g)",
        SPANS,
        expect![[r#"
        .g=`a`: 1 1 1
        .g=`b`: 0 2 0
        .g=nil: 0 0 1
    "#]],
    );
    check(
        "min_over_time(.v)",
        SPANS,
        expect![[r#"
        __name__=`min_over_time`: 5 1 -0.5
    "#]],
    );
    check(
        "max_over_time(.v) by (.g)",
        SPANS,
        expect![[r#"
        .g=`a`: 5 1 4
        .g=`b`: NaN 3 NaN
        .g=nil: NaN NaN -0.5
    "#]],
    );
    check(
        "sum_over_time(.v)",
        SPANS,
        expect![[r#"
        __name__=`sum_over_time`: 5 4 3.5
    "#]],
    );
    check(
        "avg_over_time(.v)",
        SPANS,
        expect![[r#"
        __name__=`avg_over_time`: 5 2 1.75
    "#]],
    );
    check(
        "avg_over_time(.v) by (.g)",
        &[(105, None, None)],
        expect![""],
    );
}

#[test]
fn a_count_of_no_spans_is_zero_unless_it_is_grouped() {
    check(
        "rate()",
        &[],
        expect![[r#"
        __name__=`rate`: 0 0 0
    "#]],
    );
    check("count_over_time() by (.g)", &[], expect![""]);
    check("max_over_time(.a)", &[], expect![""]);
}

#[test]
fn making_series_can_be_stopped() {
    for (query, steps) in [
        ("rate()", 0),
        ("rate() | topk(1) > 0", 2),
        ("quantile_over_time(duration, 0.5, 0.9)", 2),
    ] {
        let metrics = parse(&format!("{{}} | {query}")).unwrap().metrics.unwrap();
        let made = |patience: usize| {
            let mut aggregator = Aggregator::new(&metrics, window());
            aggregator.observe(10 * SECOND, Some(Value::Duration(8)), &[]);
            let asked = Cell::new(0);
            aggregator.finish_unless(|| asked.replace(asked.get() + 1) == patience)
        };
        for patience in 0..steps {
            assert_eq!(made(patience), None, "{query}");
        }
        assert!(made(steps).is_some(), "{query}");
    }
}

#[test]
fn spans_may_be_added_to_series_by_their_numbers() {
    for query in [
        "count_over_time() by (.g)",
        "max_over_time(.a) by (.g)",
        "histogram_over_time(.a) by (.g)",
    ] {
        let metrics = parse(&format!("{{}} | {query}")).unwrap().metrics;
        let mut aggregator = Aggregator::new(metrics.as_ref().unwrap(), window());
        let groups = ["a", "b"].map(|group| aggregator.series(&[Some(Value::Str(group))]));
        assert_eq!(groups, [0, 1]);
        assert_eq!(aggregator.series(&[Some(Value::Str("a"))]), 0);
        let spans = [int(95, 5, "a"), int(105, 7, "b"), int(115, 3, "a")];
        for ((tenths, value, _), series) in spans.iter().zip([0, 1, 0]) {
            let number = aggregator.number(*value).unwrap();
            aggregator.add(series, tenths * SECOND / 10, number);
        }
        // Neither is there.
        aggregator.add(2, 11 * SECOND, 1.0);
        aggregator.add(0, 99 * SECOND, 1.0);
        assert_eq!(
            show(&aggregator.finish()),
            show(&series(query, &spans)),
            "{query}"
        );
    }
}

#[test]
fn durations_are_seconds() {
    let spans = [duration(105, 100), duration(105, 300)];
    check(
        "avg_over_time(duration)",
        &spans,
        expect![[r#"
        __name__=`avg_over_time`: NaN 0.2 NaN
    "#]],
    );
    check(
        "max_over_time(span:duration) > 200ms",
        &spans,
        expect![[r#"
        __name__=`max_over_time`: NaN 0.3 NaN
    "#]],
    );
    check(
        "histogram_over_time(duration)",
        &spans,
        expect![[r#"
        __bucket=0.134217728: 0 1 0
        __bucket=0.536870912: 0 1 0
    "#]],
    );
    // Tempo 3.0.3 gives these in nanoseconds.
    check(
        "max_over_time(trace:duration)",
        &spans,
        expect![[r#"
        __name__=`max_over_time`: NaN 300000000 NaN
    "#]],
    );
}

#[test]
fn histograms_have_buckets_of_powers_of_two() {
    let spans: Vec<_> = [0, 1, 2, 3, 4, 5, 1024, 1025]
        .map(|value| int(105, value, "a"))
        .to_vec();
    check(
        "histogram_over_time(.v) by (.g)",
        &spans,
        expect![[r#"
        .g=`a` __bucket=2.0: 0 1 0
        .g=`a` __bucket=4.0: 0 2 0
        .g=`a` __bucket=8.0: 0 1 0
        .g=`a` __bucket=1024.0: 0 1 0
        .g=`a` __bucket=2048.0: 0 1 0
    "#]],
    );
    check(
        "histogram_over_time(.v)",
        &[(105, Some(Value::Float(5.0)), None)],
        expect![""],
    );
}

#[test]
fn quantiles_lie_between_powers_of_two() {
    let spans: Vec<_> = [4, 8, 8, 8, 16, 16, 100, 1000]
        .map(|value| int(105, value, "a"))
        .to_vec();
    check(
        "quantile_over_time(.v, 0, 0.25, 0.5, 0.9, 1) by (.g)",
        &spans,
        expect![[r#"
            .g=`a` p=0.0: 0 4 0
            .g=`a` p=0.25: 0 5.039684199579493 0
            .g=`a` p=0.5: 0 8 0
            .g=`a` p=0.9: 0 1024 0
            .g=`a` p=1.0: 0 1024 0
        "#]],
    );
    check(
        "quantile_over_time(duration, 0.5)",
        &[duration(105, 1000)],
        expect![[r#"
            p=0.5: 0 1.073741824 0
        "#]],
    );
}

#[test]
fn a_group_of_nothing_has_one_label() {
    let spans = [(105, Some(Value::Int(4)), None)];
    check(
        "rate() by (.g)",
        &spans,
        expect![[r#"
        .g=nil: 0 1 0
    "#]],
    );
    check(
        "rate() by (.g, .h)",
        &spans,
        expect![[r#"
        .g=nil: 0 1 0
    "#]],
    );
    check(
        "quantile_over_time(.v, 0.5) by (.g)",
        &spans,
        expect![[r#"
        p=0.5: 0 4 0
    "#]],
    );
}

#[test]
fn ties_are_settled_by_labels_of_any_type() {
    let spans = [
        None,
        Some(Value::Str("a")),
        Some(Value::Str("z")),
        Some(Value::Int(-1)),
        Some(Value::Int(2)),
        Some(Value::Float(0.5)),
        Some(Value::Bool(true)),
    ]
    .map(|group| (115, Some(Value::Int(7)), group));
    let groups = |query: &str| -> Vec<String> {
        let series = series(query, &spans);
        series.iter().map(|s| s.labels[0].1.to_string()).collect()
    };
    // From the greatest to the least.
    let order = ["true", "0.5", "-1", "2", "`a`", "nil", "`z`"];
    for count in 1..order.len() {
        for (function, expected) in [
            ("topk", &order[..count]),
            ("bottomk", &order[order.len() - count..]),
        ] {
            let mut found = groups(&format!("max_over_time(.v) by (.g) | {function}({count})"));
            let mut expected = expected.to_vec();
            found.sort();
            expected.sort_unstable();
            assert_eq!(found, expected, "{function}({count})");
        }
    }
}

proptest! {
    /// A sort panics if it notices that what has no label is neither less nor greater than two that differ.
    #[test]
    fn ties_of_many_series_some_without_a_label_are_settled(
        spans in vec((0..6_usize, 0..6_usize), 20..60),
        count in 1..4_usize,
    ) {
        let query = format!("{{}} | max_over_time(.v) by (.g, .h) | bottomk({count})");
        let metrics = parse(&query).unwrap().metrics.unwrap();
        let numbers = [None, Some(-0.5), Some(0.5), Some(1.5), Some(2.25), Some(3.0)];
        let names = [None, Some("a"), Some("ab"), Some("abc"), Some("b"), Some("c")];
        let mut aggregator = Aggregator::new(&metrics, window());
        let groups = spans.iter().collect::<std::collections::HashSet<_>>().len();
        for (number, name) in spans {
            let labels = [numbers[number].map(Value::Float), names[name].map(Value::Str)];
            aggregator.observe(115 * SECOND / 10, Some(Value::Int(7)), &labels);
        }
        prop_assert_eq!(aggregator.finish().len(), count.min(groups));
    }
}

#[test]
fn selections_look_at_each_interval() {
    let spans = [
        int(101, 1, "a"),
        int(101, 2, "b"),
        int(101, 3, "c"),
        int(111, 3, "a"),
        int(111, 2, "b"),
        int(111, 3, "c"),
    ];
    check(
        "max_over_time(.v) by (.g) | topk(1)",
        &spans,
        expect![[r#"
        .g=`a`: NaN NaN 3
        .g=`c`: NaN 3 NaN
    "#]],
    );
    check(
        "max_over_time(.v) by (.g) | topk(2)",
        &spans,
        expect![[r#"
        .g=`a`: NaN NaN 3
        .g=`b`: NaN 2 NaN
        .g=`c`: NaN 3 3
    "#]],
    );
    check(
        "max_over_time(.v) by (.g) | bottomk(1)",
        &spans,
        expect![[r#"
            .g=`a`: NaN 1 NaN
            .g=`b`: NaN NaN 2
        "#]],
    );
    check(
        "max_over_time(.v) by (.g) | bottomk(2) > 1",
        &spans,
        expect![[r#"
            .g=`b`: NaN 2 2
            .g=`c`: NaN NaN 3
        "#]],
    );
    check(
        "max_over_time(.v) by (.g) | topk(9)",
        &spans,
        expect![[r#"
        .g=`a`: NaN 1 3
        .g=`b`: NaN 2 2
        .g=`c`: NaN 3 3
    "#]],
    );
    check(
        "max_over_time(.v) by (.g) != 3",
        &spans,
        expect![[r#"
        .g=`a`: NaN 1 NaN
        .g=`b`: NaN 2 2
    "#]],
    );
    check("max_over_time(.v) by (.g) > 3", &spans, expect![""]);
}

#[test]
fn compare_counts_values_on_both_sides() {
    let query = parse("{} | compare({ status = error }, 2, 10000000000, 11500000000)").unwrap();
    let function = query.metrics.unwrap().function;
    let mut contrast = Contrast::new(&function, window()).unwrap();
    let mut other = Contrast::new(&function, window()).unwrap();
    let [name, code, id, long] =
        ["name", "span.code", "trace:id", "duration"].map(|field| parse_field(field).unwrap());
    let mut observe = |tenths, selected, value: &'static str, code_value| {
        let fields = [
            (&name, Value::Str(value)),
            (&code, Value::Int(code_value)),
            (&id, Value::Str("ab")),
            (&long, Value::Duration(5)),
        ];
        contrast.observe(tenths * SECOND / 10, selected, fields);
    };
    observe(105, true, "a", 1);
    observe(115, true, "b", 1);
    observe(116, true, "b", 1);
    observe(105, false, "a", 2);
    observe(115, false, "b", 2);
    observe(115, false, "c", 2);
    observe(115, false, "c", 3);
    observe(999, false, "c", 3);
    other.observe(
        105 * SECOND / 10,
        false,
        [(&name, Value::Str("d")), (&name, Value::Str("a"))],
    );
    contrast.merge(other);
    expect![[r#"
        __meta_type=`baseline_total` name=nil: 0 3 4
        __meta_type=`baseline` name=`b`: 0 0 2
        __meta_type=`baseline` name=`a`: 0 2 0
        __meta_type=`baseline_total` span.code=nil: 0 1 4
        __meta_type=`baseline` span.code=2: 0 1 2
        __meta_type=`baseline` span.code=1: 0 0 1
        __meta_type=`selection_total` name=nil: 0 1 1
        __meta_type=`selection` name=`a`: 0 1 0
        __meta_type=`selection` name=`b`: 0 0 1
        __meta_type=`selection_total` span.code=nil: 0 1 1
        __meta_type=`selection` span.code=1: 0 1 1
    "#]]
    .assert_eq(&show(&contrast.finish()));
    assert!(Contrast::new(&traceql::MetricsFunction::Rate, window()).is_none());
}

#[test]
fn compare_counts_each_of_several_values() {
    let query = parse("{} | compare({ status = error })").unwrap();
    let mut contrast = Contrast::new(&query.metrics.unwrap().function, window()).unwrap();
    let code = parse_field("span.code").unwrap();
    let codes = vec![Static::Int(1), Static::Int(2)];
    let several = Value::Several(Items::new(&codes, 0, 2));
    contrast.observe(11 * SECOND, false, [(&code, several)]);
    contrast.observe(11 * SECOND, false, [(&code, Value::Int(2))]);
    expect![[r#"
        __meta_type=`baseline_total` span.code=nil: 0 3 0
        __meta_type=`baseline` span.code=2: 0 2 0
        __meta_type=`baseline` span.code=1: 0 1 0
    "#]]
    .assert_eq(&show(&contrast.finish()));
}

#[test]
fn compare_counts_a_thousand_values_of_a_field() {
    let query = parse("{} | compare({ status = error }, 5000)").unwrap();
    let mut contrast = Contrast::new(&query.metrics.unwrap().function, window()).unwrap();
    let number = parse_field("span.number").unwrap();
    for _ in 0..2 {
        for value in 0..2000 {
            contrast.observe(11 * SECOND, false, [(&number, Value::Int(value))]);
        }
    }
    assert_eq!(contrast.len(), 1000);
    let series = contrast.finish();
    assert_eq!(series.len(), 1001);
    assert_eq!(series[0].values, [0.0, 4000.0, 0.0]);
    assert!(
        series[1..]
            .iter()
            .all(|series| series.values == [0.0, 2.0, 0.0])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_add_up_to_the_whole(
        spans in vec((90..125_u64, 0..50_i64, 0..3_usize), 0..30),
        cut in any::<prop::sample::Index>(),
        function in prop::sample::select(vec![
            "rate()", "count_over_time()", "min_over_time(.v)", "max_over_time(.v)", "sum_over_time(.v)",
            "avg_over_time(.v)", "quantile_over_time(.v, 0.5, 0.9)", "histogram_over_time(.v)",
        ]),
    ) {
        let metrics = parse(&format!("{{}} | {function} by (.g)")).unwrap().metrics.unwrap();
        let observe = |spans: &[(u64, i64, usize)]| {
            let mut aggregator = Aggregator::new(&metrics, window());
            for (tenths, value, group) in spans {
                let group = [Some(Value::Str(["a", "b", "c"][*group]))];
                aggregator.observe(tenths * SECOND / 10, Some(Value::Int(*value)), &group);
            }
            aggregator
        };
        let (first, second) = spans.split_at(cut.index(spans.len() + 1));
        let mut parts = observe(first);
        parts.merge(observe(second));
        let sorted = |mut series: Vec<Series>| {
            series.sort_by_key(|series| format!("{:?}", series.labels));
            show(&series)
        };
        prop_assert_eq!(sorted(parts.finish()), sorted(observe(&spans).finish()));
    }

    #[test]
    fn a_quantile_lies_within_its_bucket(values in vec(2..1_000_000_i64, 1..40), quantile in 0.0..=1.0) {
        let query = format!("quantile_over_time(.v, {quantile:?})");
        let spans: Vec<_> = values.iter().map(|value: &i64| int(105, *value, "a")).collect();
        let series = series(&query, &spans);
        let mut sorted: Vec<i64> = values;
        sorted.sort_unstable();
        let quantile: f64 = quantile;
        let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
        let bucket = (sorted[rank - 1] as u64).next_power_of_two() as f64;
        let found = series[0].values[1];
        prop_assert!(found <= bucket, "{found} is beyond {bucket}");
        let smaller = sorted.iter().map(|value| (*value as u64).next_power_of_two() as f64);
        let below: f64 = smaller.filter(|other| *other < bucket).fold(bucket / 2.0, f64::min);
        prop_assert!(found >= below, "{found} is below {below}");
        prop_assert_eq!(&series[0].labels[0].1, &Static::Float(quantile));
    }
}

/// Offers every span as an exemplar, named by its number.
fn with_exemplars(query: &str, max: usize, spans: &[Observed]) -> Vec<Series> {
    let metrics = parse(&format!("{{}} | {query}")).unwrap().metrics.unwrap();
    let mut aggregator = Aggregator::new(&metrics, window()).with_exemplars(max);
    for (number, (tenths, value, group)) in spans.iter().enumerate() {
        let timestamp = tenths * SECOND / 10;
        let Some(added) = aggregator.number(*value) else {
            continue;
        };
        let series = aggregator.series(&[*group][..metrics.by.len().min(1)]);
        aggregator.add(series, timestamp, added);
        if aggregator.wants_exemplar(series, timestamp) {
            let name = ("span".to_owned(), Static::Int(number as i64));
            aggregator.add_exemplar(series, timestamp, *value, vec![name]);
        }
    }
    aggregator.finish()
}

fn show_exemplars(series: &[Series]) -> String {
    let lines = series.iter().map(|series| {
        let label = &series.labels[series.labels.len() - 1].1;
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let tenths = exemplar.timestamp / (SECOND / 10);
            format!(" {}@{tenths}={}", exemplar.labels[0].1, exemplar.value)
        });
        format!("{label}:{}\n", exemplars.collect::<String>())
    });
    lines.collect()
}

#[test]
fn exemplars_have_the_value_of_the_span_or_the_point_of_the_series() {
    let check = |query: &str, expected: Expect| {
        expected.assert_eq(&show_exemplars(&with_exemplars(query, 100, SPANS)));
    };
    check(
        "count_over_time() by (.g)",
        expect![[r#"
            `a`: 0@95=1 1@105=1 5@120=1
            `b`: 2@110=2 3@110=2
            nil: 4@111=1
        "#]],
    );
    check(
        "max_over_time(.x)",
        expect![[r#"
            `max_over_time`: 0@95=5 1@105=1 2@110=3 4@111=-0.5 5@120=4
        "#]],
    );
    check(
        "quantile_over_time(.x, 0.1, 1)",
        expect![[r#"
            0.1: 0@95=5 2@110=3 5@120=4
            1.0:
        "#]],
    );
    check(
        "histogram_over_time(.x)",
        expect![[r#"
            4.0: 2@110=1 5@120=1
            8.0: 0@95=1
        "#]],
    );
    // Where a stage leaves no point there is none to show.
    check(
        "count_over_time() by (.g) > 1",
        expect![[r#"
            `b`: 2@110=2 3@110=2
        "#]],
    );
    let far = [int(101, 3, "a"), int(102, 3, "a"), int(103, 900, "a")];
    let quantiles = with_exemplars("quantile_over_time(.x, 0.1, 1)", 100, &far);
    expect![[r#"
        0.1: 0@101=3 1@102=3
        1.0: 2@103=900
    "#]]
    .assert_eq(&show_exemplars(&quantiles));
    let zeros = [int(105, 0, "a"), int(115, 0, "a"), int(116, 7, "a")];
    expect![[r#"
        `min_over_time`: 2@116=7
    "#]]
    .assert_eq(&show_exemplars(&with_exemplars(
        "min_over_time(.x)",
        100,
        &zeros,
    )));
}

proptest! {
    #[test]
    fn exemplars_are_few_and_spread_over_series_and_time(
        max in 0..40_usize,
        spans in vec((91..=120_u64, 0..3_usize), 0..400),
    ) {
        let spans: Vec<Observed> = (spans.iter())
            .map(|(tenths, group)| int(*tenths, 1, ["a", "b", "c"][*group]))
            .collect();
        let series = with_exemplars("rate() by (.g)", max, &spans);
        let exemplars = || series.iter().flat_map(|series| &series.exemplars);
        prop_assert!(exemplars().count() <= max);
        prop_assert_eq!(exemplars().count() == 0, max == 0 || spans.is_empty());
        for exemplar in exemplars() {
            let Static::Int(number) = exemplar.labels[0].1 else { panic!() };
            let (tenths, ..) = spans[number as usize];
            prop_assert_eq!(exemplar.timestamp, tenths * SECOND / 10);
        }
        // Wherever there are spans enough, they are shown: in each third of the time, and of each series.
        if max >= 12 && spans.len() >= 300 {
            for third in [91..=100, 101..=110, 111..=120] {
                let is_there = |timestamp: u64| third.contains(&(timestamp / (SECOND / 10)));
                prop_assert!(exemplars().any(|exemplar| is_there(exemplar.timestamp)));
            }
            for series in &series {
                prop_assert!(series.exemplars.len() * 6 >= exemplars().count());
            }
        }
    }
}
