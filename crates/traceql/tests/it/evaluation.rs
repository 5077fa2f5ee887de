//! What queries find in small traces.

use expect_test::{Expect, expect};
use traceql::{
    EvaluateError, Expressions, Intrinsic, Parent, Scope, Trace, Value, evaluate, parse,
};

use crate::forest::{Forest, answer};

/// The spans of which the filter is true.
fn check_filter(forest: &str, filter: &str, expected: Expect) {
    expected.assert_eq(&answer(&Forest::new(forest), &format!("{{ {filter} }}")));
}

fn check(forest: &str, query: &str, expected: Expect) {
    expected.assert_eq(&answer(&Forest::new(forest), query));
}

/// Values of every type, and a span without any.
const VALUES: &str = "
    int: span.x = 2
    float: span.x = 2.0
    half: span.x = 2.5
    string: span.x = `2`
    yes: span.x = true
    no: span.x = false
    none: span.y = 1
";

#[test]
fn numbers_compare_by_value_and_other_types_not_at_all() {
    check_filter(VALUES, ".x = 2", expect!["int float"]);
    check_filter(VALUES, ".x != 2", expect!["half"]);
    check_filter(VALUES, ".x > 2", expect!["half"]);
    check_filter(VALUES, ".x >= 2.0", expect!["int float half"]);
    check_filter(VALUES, ".x = 2ns", expect!["int float"]);
    check_filter(VALUES, ".x = `2`", expect!["string"]);
    check_filter(VALUES, ".x != `3`", expect!["string"]);
    check_filter(VALUES, ".x < `3`", expect!["string"]);
    check_filter(VALUES, ".x = true", expect!["yes"]);
    check_filter(VALUES, ".x != true", expect!["no"]);
    check_filter(VALUES, ".x = ok", expect![""]);
    check_filter(VALUES, "3 > .x", expect!["int float half"]);
}

#[test]
fn what_is_absent_is_only_nil() {
    check_filter(VALUES, ".x = nil", expect!["none"]);
    check_filter(VALUES, ".x != nil", expect!["int float half string yes no"]);
    check_filter(VALUES, ".z = nil && .x = 2", expect!["int float"]);
    check_filter(VALUES, "!(.x = 2)", expect!["half string yes no none"]);
    check_filter(VALUES, ".z != 1", expect![""]);
    check_filter(VALUES, ".x = .x", expect!["int float half string yes no"]);
    check_filter(VALUES, ".z = .z", expect![""]);
}

#[test]
fn only_true_passes_a_filter() {
    check_filter(VALUES, ".x", expect!["yes"]);
    check_filter(VALUES, "!.x", expect!["no"]);
    check_filter(VALUES, "!!.x", expect!["yes"]);
    check_filter(VALUES, "true", expect!["int float half string yes no none"]);
    check_filter(VALUES, "false", expect![""]);
    check_filter(VALUES, ".x && true", expect!["yes"]);
    check_filter(VALUES, ".x || true", expect!["yes no"]);
    check_filter(VALUES, "true || .x", expect!["yes no"]);
    check_filter(
        VALUES,
        ".x || false || true",
        expect!["int float half string yes no none"],
    );
}

#[test]
fn regular_expressions_match_whole_strings_only() {
    let forest = "
        a: name = `GET /books`
        b: name = `/books`
        c: name = `/books/1`
        d: span.x = 1
    ";
    check_filter(forest, "name =~ `/books`", expect!["b"]);
    check_filter(forest, "name =~ `/books.*`", expect!["b c"]);
    check_filter(forest, "name !~ `/books`", expect!["a c"]);
    check_filter(forest, ".x =~ `1`", expect![""]);
    check_filter(forest, ".x !~ `2`", expect![""]);
    check_filter(forest, "`abc` =~ `a.*`", expect!["a b c d"]);
}

#[test]
fn lists_equal_any_item_and_differ_from_all() {
    let forest = "
        ab: span.x = `a`, span.x = `b`
        a: span.x = `a`
        bc: span.x = `b`, span.x = `c`
        ints: span.x = 1, span.x = 5
    ";
    check_filter(forest, ".x = `a`", expect!["ab a"]);
    check_filter(forest, "`a` = .x", expect!["ab a"]);
    check_filter(forest, ".x != `a`", expect!["bc"]);
    check_filter(forest, ".x =~ `[a-b]`", expect!["ab a bc"]);
    check_filter(forest, ".x !~ `a`", expect!["bc"]);
    check_filter(forest, ".x > 4", expect!["ints"]);
    check_filter(forest, "2 > .x", expect!["ints"]);
    check_filter(forest, ".x != 4", expect!["ints"]);
    check_filter(forest, ".x = .x", expect!["a"]);
    check_filter(forest, ".x + 1 = 2", expect![""]);
}

#[test]
fn any_event_or_link_may_match() {
    let forest = "
        two: event:name = `a`, event:name = `b`, event.n = 1, event.n = 2, event.t = false, event.t = true
        one: event:name = `a`, link:traceID = `f`
        none: name = `x`
    ";
    check_filter(forest, "event:name = `b`", expect!["two"]);
    check_filter(forest, "event:name != `a`", expect!["two"]);
    check_filter(forest, "event:name !~ `a`", expect!["two"]);
    check_filter(forest, "event.n > 1 && .n < 2", expect!["two"]);
    check_filter(forest, "event.t", expect!["two"]);
    check_filter(forest, "event.n = nil", expect!["one none"]);
    check_filter(forest, "link:traceID != nil", expect!["one"]);
    check(
        forest,
        "{} | by(event:name)",
        expect!["two one by(event:name)=`a`; none by(event:name)=nil"],
    );
    check(
        forest,
        "{} | max(event.n) = 1",
        expect!["two one none max(event.n)=1"],
    );
}

#[test]
fn an_attribute_without_a_scope_is_the_spans_before_any_other() {
    let forest = "
        span: span.x = 1, resource.x = 2, event.x = 3
        resource: resource.x = 2, event.x = 3, instrumentation.x = 5
        event: event.x = 3, link.x = 4
        link: link.x = 4, instrumentation.x = 5
        scope: instrumentation.x = 5
    ";
    check(
        forest,
        "{} | by(.x)",
        expect!["span by(.x)=1; resource by(.x)=2; event by(.x)=3; link by(.x)=4; scope by(.x)=5"],
    );
    check_filter(forest, "resource.x = 2 && .x != 2", expect!["span"]);
}

#[test]
fn intrinsics_have_their_own_types() {
    let forest = "
        a: duration = 1s, status = error, kind = server, trace:id = `ab`, span:id = `00ab`
        b: duration = 100ms, status = ok, kind = client, span.status = 2
    ";
    check_filter(forest, "duration > 200ms", expect!["a"]);
    check_filter(forest, "duration = 100000000", expect!["b"]);
    check_filter(forest, "duration >= 1e9", expect!["a"]);
    check_filter(forest, "status = error || kind = client", expect!["a b"]);
    check_filter(forest, "status != ok", expect!["a"]);
    check_filter(forest, ".status = 2", expect!["b"]);
    check_filter(forest, "trace:id = `0000ab`", expect!["a"]);
    check_filter(forest, "`0000ab` = trace:id", expect!["a"]);
    check_filter(forest, "trace:id =~ `00ab`", expect!["a"]);
    check_filter(forest, "span:id = `ab`", expect![""]);
}

#[test]
fn arithmetic_is_of_ints_or_of_floats() {
    let forest = "a: span.i = 7, span.j = 2, span.f = 0.5, duration = 10ns, span.s = `x`";
    let is_true = |filter: &str| {
        let found = answer(&Forest::new(forest), &format!("{{ {filter} }}"));
        assert_eq!(found, "a", "{filter}");
    };
    let is_not = |filter: &str| {
        let found = answer(&Forest::new(forest), &format!("{{ {filter} }}"));
        assert_eq!(found, "", "{filter}");
    };
    is_true(".i + .j = 9 && .i - .j = 5 && .i * .j = 14");
    is_true(".i / .j = 3 && .i % .j = 1 && -.i / .j = -3");
    is_true(".i * .f = 3.5 && .i / .f = 14 && .i % .f = 0 && .f ^ .j = 0.25");
    // Of two ints the right one is raised, as in Tempo 3.0.3.
    is_true(".i ^ .j = 128 && .i ^ (.j * 1.0) = 49");
    is_true("1 ^ 0 = 0 && 99 ^ .i = minInt");
    is_true("duration / 4 = 2.5 && duration * 2 = 20ns");
    is_true("-duration = -10ns && -.f = -0.5 && -(-.i) = 7");
    is_true("maxInt + 1 = minInt && -minInt = minInt && minInt / -1 = minInt");
    is_true("(.i / 0) = nil && (.i % 0) = nil && .i / 0.0 > maxInt");
    is_true("(.s + 1) = nil && (.z + 1) = nil && (-.s) = nil && !.i = nil");
    is_not(".s + 1 != 2");
    is_not(".z + 1 = .z + 1");
    is_not(".f / 0 * 0 = .f / 0 * 0");
}

const TREE: &str = "
    A: span.l = `x`
      B: span.l = `y`
        C: span.l = `x`
          D: span.l = `y`
      E: span.l = `y`
        F: span.l = `z`
      G: span.l = `x`
";

#[test]
fn structural_operators_return_the_right_side() {
    let x_y = |op: &str| format!("{{ .l = `x` }} {op} {{ .l = `y` }}");
    check(TREE, &x_y(">"), expect!["B D E"]);
    check(TREE, &x_y(">>"), expect!["B D E"]);
    check(TREE, &x_y("<"), expect!["B"]);
    check(TREE, &x_y("<<"), expect!["B"]);
    check(TREE, &x_y("~"), expect!["B E"]);
    check(TREE, &x_y("!>"), expect![""]);
    check(TREE, &x_y("!>>"), expect![""]);
    check(TREE, &x_y("!<"), expect!["D E"]);
    check(TREE, &x_y("!<<"), expect!["D E"]);
    check(TREE, &x_y("!~"), expect!["D"]);
    check(TREE, &x_y("&>"), expect!["A B C D E"]);
    check(TREE, &x_y("&>>"), expect!["A B C D E"]);
    check(TREE, &x_y("&<"), expect!["B C"]);
    check(TREE, &x_y("&<<"), expect!["B C"]);
    check(TREE, &x_y("&~"), expect!["B E G"]);
    check(
        TREE,
        "{ .l = `x` } > { .l = `y` } > { .l = `z` }",
        expect!["F"],
    );
    check(TREE, "{ .l = `x` } ~ { .l = `x` }", expect![""]);
    check(TREE, "{ .l = `z` } !~ { .l = `z` }", expect!["F"]);
    check(TREE, "{ .l = `nowhere` } !>> { .l = `z` }", expect!["F"]);
    check(TREE, "{ .l = `nowhere` } &>> { .l = `z` }", expect![""]);
    check(TREE, "{ .l = `z` } >> { .l = `nowhere` }", expect![""]);
}

#[test]
fn and_needs_every_side_and_or_any() {
    check(TREE, "{ .l = `x` } && { .l = `z` }", expect!["A C F G"]);
    check(TREE, "{ .l = `x` } && { .l = `nowhere` }", expect![""]);
    check(
        TREE,
        "{ .l = `x` } && { .l = `z` } && { .l = `nowhere` }",
        expect![""],
    );
    check(TREE, "{ .l = `nowhere` } || { .l = `z` }", expect!["F"]);
    check(TREE, "{ .l = `x` } || { .l = `x` }", expect!["A C G"]);
    check(
        TREE,
        "({ .l = `x` } | count() > 9) || { .l = `z` }",
        expect!["F"],
    );
    check(
        TREE,
        "({ .l = `x` } | count() > 2) && { .l = `z` }",
        expect!["A C F G"],
    );
}

#[test]
fn nested_sets_are_numbered_from_the_roots() {
    let forest = "
        A
          B
            C
        D
        E?
          F
    ";
    let numbers = |intrinsic: &str| {
        let shown = answer(&Forest::new(forest), &format!("{{}} | by({intrinsic})"));
        shown.replace(&format!("by({intrinsic})="), "")
    };
    expect!["A 1; B 2; C 3; D 7; E 9; F 10"].assert_eq(&numbers("nestedSetLeft"));
    expect!["A 6; B 5; C 4; D 8; E 12; F 11"].assert_eq(&numbers("nestedSetRight"));
    expect!["A D -1; B 1; C 2; E 0; F 9"].assert_eq(&numbers("nestedSetParent"));
    expect!["A B E 1; C D F 0"].assert_eq(&numbers("span:childCount"));
    check(forest, "{} ~ {}", expect!["A D"]);
    check(forest, "{ nestedSetParent = 0 } > {}", expect!["F"]);
    check(forest, "{ nestedSetParent < 0 }", expect!["A D"]);
}

#[test]
fn by_groups_in_the_order_of_spans() {
    check(
        TREE,
        "{} | by(.l)",
        expect!["A C G by(.l)=`x`; B D E by(.l)=`y`; F by(.l)=`z`"],
    );
    check(
        TREE,
        "{} | by(.l) | count() > 1",
        expect!["A C G by(.l)=`x` count()=3; B D E by(.l)=`y` count()=3"],
    );
    check(
        TREE,
        "{} | by(.l) | { .l != `z` }",
        expect!["A C G by(.l)=`x`; B D E by(.l)=`y`"],
    );
    check(
        TREE,
        "{} | by(.l) | by(span:childCount > 0)",
        expect![
            "A C by(.l)=`x` by(span:childCount > 0)=true; G by(.l)=`x` by(span:childCount > 0)=false; B E by(.l)=`y` by(span:childCount > 0)=true; D by(.l)=`y` by(span:childCount > 0)=false; F by(.l)=`z` by(span:childCount > 0)=false"
        ],
    );
    check(TREE, "{} | by(.l) | coalesce()", expect!["A B C D E F G"]);
    check(
        TREE,
        "{} | by(.nowhere)",
        expect!["A B C D E F G by(.nowhere)=nil"],
    );
    check(
        VALUES,
        "{} | by(.x)",
        expect![
            "int by(.x)=2; float by(.x)=2.0; half by(.x)=2.5; string by(.x)=`2`; yes by(.x)=true; no by(.x)=false; none by(.x)=nil"
        ],
    );
    check(
        TREE,
        "({} | by(.l)) >> {}",
        expect!["a structural operator takes one spanset of each side: use coalesce() after by()"],
    );
    check(
        TREE,
        "({} | by(.l) | coalesce()) > { .l = `z` }",
        expect!["F"],
    );
    check(
        TREE,
        "{} | by(.l) | { .l = `x` } >> { .l = `x` }",
        expect!["C G by(.l)=`x`"],
    );
}

#[test]
fn aggregates_filter_spansets() {
    let forest = "
        a: span.n = 1, duration = 1s
          b: span.n = 2, duration = 2s
          c: span.n = 6.5, duration = 4s
          d: span.n = `x`, duration = 5s
    ";
    check(forest, "{} | count() = 4", expect!["a b c d count()=4"]);
    check(forest, "{} | count() > 4", expect![""]);
    check(forest, "{} | sum(.n) > 0", expect!["a b c d sum(.n)=9.5"]);
    check(forest, "{ .n < 3 } | sum(.n) > 0", expect!["a b sum(.n)=3"]);
    check(
        forest,
        "{ .n < 3 } | avg(.n) > 0",
        expect!["a b avg(.n)=1.5"],
    );
    check(forest, "{} | min(.n) > 0", expect!["a b c d min(.n)=1"]);
    check(forest, "{} | max(.n) > 0", expect!["a b c d max(.n)=6.5"]);
    check(
        forest,
        "{} | avg(duration) = 3s",
        expect!["a b c d avg(duration)=3s"],
    );
    check(forest, "{} | sum(duration) > 1m", expect![""]);
    check(
        forest,
        "{} | max(duration) > 5",
        expect!["a b c d max(duration)=5s"],
    );
    check(
        forest,
        "{} | max(duration - 1s) > 5",
        expect!["a b c d max(duration - 1s)=4000000000.0"],
    );
    check(forest, "{} | avg(.nowhere) != 5", expect![""]);
    check(
        forest,
        "count() = 4 | select(.n)",
        expect!["a b c d count()=4"],
    );
    check(
        forest,
        "{} | max(duration) >= 2 * min(duration) + count()",
        expect!["a b c d max(duration)=5s min(duration)=1s count()=4"],
    );
    check(forest, "{} | 10 > count()", expect!["a b c d count()=4"]);
    check(forest, "{} | count() / 0 = 1", expect![""]);
}

#[test]
fn a_trace_without_spans_has_no_answer() {
    check("", "{}", expect![""]);
    check("", "count() = 0", expect![""]);
}

#[test]
fn an_evaluation_can_be_stopped() {
    struct Stopped;
    impl Trace for Stopped {
        type Column = ();
        fn len(&self) -> usize {
            1
        }
        fn parent(&self, _: usize) -> Parent {
            Parent::None
        }
        fn attribute(&self, _: Scope, _: &str) -> Option<()> {
            None
        }
        fn intrinsic(&self, _: Intrinsic) -> Option<()> {
            None
        }
        fn value(&self, (): (), _: usize) -> Option<Value<'_>> {
            None
        }
        fn is_stopped(&self) -> bool {
            true
        }
    }
    for query in ["{}", "by(.a)", "count() > 1"] {
        let result = evaluate(&parse(query).unwrap(), &Stopped);
        assert_eq!(result, Err(EvaluateError::Stopped));
    }
}

#[test]
fn an_expression_is_evaluated_by_itself() {
    let forest = Forest::new(TREE);
    let query = parse("{ span:childCount > 1 }").unwrap();
    let expressions = Expressions::new(&forest);
    let filter = query.leading_filter().unwrap();
    let found = (0..forest.len()).filter(|span| expressions.matches(filter, *span));
    assert_eq!(found.collect::<Vec<_>>(), [0]);
    assert_eq!(expressions.structure().parent(1), Parent::Span(0));
}
