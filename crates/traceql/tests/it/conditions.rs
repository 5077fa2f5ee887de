//! What a column scan is told.

use expect_test::{Expect, expect};
use traceql::{Condition, TraceCondition, parse};

fn show(condition: &Condition<'_>) -> String {
    let list = |conditions: &[Condition<'_>]| {
        let shown: Vec<_> = conditions.iter().map(show).collect();
        shown.join(", ")
    };
    match condition {
        Condition::All => "all".to_owned(),
        Condition::Nothing => "nothing".to_owned(),
        Condition::And(all) => format!("and({})", list(all)),
        Condition::Or(any) => format!("or({})", list(any)),
        Condition::Compare { field, op, literal } => format!("{field} {} {literal}", op.as_str()),
        Condition::Match {
            field,
            negated,
            pattern,
        } => {
            format!(
                "{field} {} {}",
                if *negated { "!~" } else { "=~" },
                pattern.as_str()
            )
        }
        Condition::Exists(field) => format!("{field} exists"),
        Condition::Missing(field) => format!("{field} missing"),
    }
}

fn show_trace(condition: &TraceCondition<'_>) -> String {
    let list = |conditions: &[TraceCondition<'_>]| {
        let shown: Vec<_> = conditions.iter().map(show_trace).collect();
        shown.join(", ")
    };
    match condition {
        TraceCondition::Some(condition) => format!("some({})", show(condition)),
        TraceCondition::And(all) => format!("and({})", list(all)),
        TraceCondition::Or(any) => format!("or({})", list(any)),
    }
}

fn check_filter(filter: &str, expected: Expect) {
    let query = parse(&format!("{{ {filter} }}")).unwrap();
    let necessary = query.leading_filter().unwrap().condition();
    let exact = if necessary.is_exact { "exactly " } else { "" };
    expected.assert_eq(&format!("{exact}{}", show(&necessary.condition)));
}

fn check_trace(query: &str, expected: Expect) {
    expected.assert_eq(&show_trace(&parse(query).unwrap().trace_condition()));
}

#[test]
fn comparisons_with_literals_are_exact() {
    check_filter(".a = 1", expect!["exactly .a = 1"]);
    check_filter("1s < duration", expect!["exactly duration > 1s"]);
    check_filter("name =~ `x.*`", expect!["exactly name =~ x.*"]);
    check_filter("name !~ `x.*`", expect!["exactly name !~ x.*"]);
    check_filter(".a != nil", expect!["exactly .a exists"]);
    check_filter(".a = nil", expect!["exactly .a missing"]);
    check_filter(".a", expect![".a = true"]);
    check_filter("true", expect!["exactly all"]);
    check_filter("false", expect!["exactly nothing"]);
}

#[test]
fn logic_keeps_what_is_known() {
    check_filter(
        ".a = 1 && .b = 2 && .c = 3",
        expect!["exactly and(.a = 1, .b = 2, .c = 3)"],
    );
    check_filter(".a = 1 || .b = 2", expect!["exactly or(.a = 1, .b = 2)"]);
    check_filter(".a = 1 && (.b = 2 || !.c)", expect![".a = 1"]);
    check_filter(".a = 1 || !.c", expect!["all"]);
    check_filter("true && .a = 1", expect!["exactly .a = 1"]);
    check_filter("false || .a = 1", expect!["exactly .a = 1"]);
    check_filter("false && .a = 1", expect!["exactly nothing"]);
    check_filter(".a || .b", expect!["or(.a = true, .b = true)"]);
    check_filter(
        "nestedSetParent < 0 && true && .a != nil",
        expect!["exactly and(nestedSetParent < 0, .a exists)"],
    );
}

#[test]
fn little_is_known_of_the_rest() {
    check_filter("!(.a = 1)", expect!["all"]);
    check_filter(".a = .b", expect!["and(.a exists, .b exists)"]);
    check_filter(".a + 1 = 2", expect!["all"]);
    check_filter("(.a + 1) != nil", expect!["all"]);
    check_filter("`x` =~ `x`", expect!["all"]);
}

#[test]
fn a_trace_has_to_hold_every_side() {
    check_trace("{ .a = 1 }", expect!["some(.a = 1)"]);
    check_trace(
        "{ .a = 1 } && { .b = 2 }",
        expect!["and(some(.a = 1), some(.b = 2))"],
    );
    check_trace(
        "{ .a = 1 } || { .b = 2 }",
        expect!["or(some(.a = 1), some(.b = 2))"],
    );
    check_trace(
        "{ .a = 1 } >> { .b = 2 }",
        expect!["and(some(.a = 1), some(.b = 2))"],
    );
    check_trace("{ .a = 1 } !>> { .b = 2 }", expect!["some(.b = 2)"]);
    check_trace(
        "{ .a = 1 } &>> { .b = 2 }",
        expect!["and(some(.a = 1), some(.b = 2))"],
    );
    check_trace("{} >> { .b = 2 }", expect!["some(.b = 2)"]);
    check_trace(
        "{ .a = 1 } | { .b = 2 } | count() > 1",
        expect!["and(some(.a = 1), some(.b = 2))"],
    );
    check_trace(
        "({ .a = 1 } | count() > 1) && { .b = 2 }",
        expect!["and(some(.a = 1), some(.b = 2))"],
    );
    check_trace("by(.a)", expect!["some(all)"]);
}

#[test]
fn fields_are_listed_once() {
    let query = "{ span.a = 1 && name = `x` || span.a = 2 } >> { !(-.b = resource.c + 1) } \
        | by(.d) | avg(duration) > 1s | select(.b, .e) | { .f =~ `x` && .g != nil } | rate() by (kind, .d)";
    let query = parse(query).unwrap();
    let fields: Vec<_> = query.fields().iter().map(ToString::to_string).collect();
    expect!["span.a, name, .b, resource.c, .d, duration, .e, .f, .g, kind"]
        .assert_eq(&fields.join(", "));
    let query = parse("{} | compare({ .a = 1 })").unwrap();
    assert_eq!(query.fields().len(), 1);
    let query = parse("{} | quantile_over_time(span.a, 0.5)").unwrap();
    assert_eq!(query.fields().len(), 1);
}

#[test]
fn some_queries_need_no_trace_as_a_whole() {
    let is_per_span = |query| parse(query).unwrap().is_per_span();
    assert!(is_per_span("{ .a } | { .b } | select(.c) | rate()"));
    assert!(!is_per_span("{ .a } && { .b }"));
    assert!(!is_per_span("{ .a } | count() > 1"));
    assert!(!is_per_span("{ .a } | by(.b)"));
}

#[test]
fn a_query_says_whether_parents_matter() {
    let is_structural = |query| parse(query).unwrap().is_structural();
    assert!(is_structural("{ .a } !> { .b }"));
    assert!(is_structural(
        "{ .a } || (({ .b } && { .c } ~ { .d }) | count() > 1)"
    ));
    assert!(is_structural("{ .a || nestedSetParent < 0 }"));
    assert!(is_structural("{ } | avg(span:childCount) > 1"));
    assert!(is_structural("{ } | rate() by (nestedSetLeft)"));
    assert!(!is_structural(
        "{ span:parentID = `` } && { rootName = `a` } | by(.b) | select(.c)"
    ));
}
