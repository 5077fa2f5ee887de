//! What parses to what, seen through the printer.

use expect_test::{Expect, expect};
use traceql::{Field, Static, parse, parse_field};

fn check(query: &str, expected: Expect) {
    let tree = parse(query).unwrap();
    let printed = tree.to_string();
    expected.assert_eq(&printed);
    assert_eq!(parse(&printed).unwrap(), tree, "{printed}");
}

/// The same of what stands between the braces of a filter.
fn check_filter(filter: &str, expected: Expect) {
    let tree = parse(&format!("{{ {filter} }}")).unwrap();
    let printed = tree.leading_filter().unwrap().to_string();
    expected.assert_eq(&printed);
    assert_eq!(parse(&format!("{{{printed}}}")).unwrap(), tree, "{printed}");
}

#[test]
fn comparison_binds_tighter_than_logic() {
    check_filter(".a = 1 && .b > 2", expect!["(.a = 1) && (.b > 2)"]);
    check_filter(".a = 1 || .b != 2", expect!["(.a = 1) || (.b != 2)"]);
    check_filter(".a + 1 >= .b", expect!["(.a + 1) >= .b"]);
    check_filter(
        ".a = nil && .b != nil",
        expect!["(.a = nil) && (.b != nil)"],
    );
    check_filter(
        "nil = .a && nil != .b",
        expect!["(.a = nil) && (.b != nil)"],
    );
}

#[test]
fn and_and_or_bind_alike_from_the_left() {
    check_filter(".a && .b && .c", expect![".a && .b && .c"]);
    check_filter(".a && .b || .c && .d", expect!["((.a && .b) || .c) && .d"]);
    check_filter(".a || .b && .c", expect!["(.a || .b) && .c"]);
    check_filter(".a && (.b && .c)", expect![".a && (.b && .c)"]);
    check_filter("(.a && .b) && .c", expect!["(.a && .b) && .c"]);
}

#[test]
fn arithmetic_has_three_levels_and_powers_bind_from_the_right() {
    check_filter(".a + .b * .c = 1", expect!["(.a + (.b * .c)) = 1"]);
    check_filter(".a * .b + .c = 1", expect!["((.a * .b) + .c) = 1"]);
    check_filter(".a - .b - .c = 1", expect!["((.a - .b) - .c) = 1"]);
    check_filter(".a / .b % .c = 1", expect!["((.a / .b) % .c) = 1"]);
    check_filter(".a ^ .b ^ .c = 1", expect!["(.a ^ (.b ^ .c)) = 1"]);
    check_filter(".a * .b ^ 2 = 1", expect!["(.a * (.b ^ 2)) = 1"]);
}

#[test]
fn a_sign_binds_as_a_sum_and_a_not_tighter() {
    check_filter("-.a + .b = 1", expect!["((-.a) + .b) = 1"]);
    check_filter("-.a * .b = 1", expect!["(-(.a * .b)) = 1"]);
    check_filter("2 * -.a + 1 = 1", expect!["((2 * (-.a)) + 1) = 1"]);
    check_filter("!.a = .b", expect!["(!.a) = .b"]);
    check_filter("!.a && .b", expect!["(!.a) && .b"]);
    check_filter("!(.a && .b)", expect!["!(.a && .b)"]);
    check_filter("!!.a", expect!["!(!.a)"]);
}

#[test]
fn a_literal_keeps_its_sign() {
    check_filter(".a = -1", expect![".a = -1"]);
    check_filter(".a = -(1)", expect![".a = (-(1))"]);
    check_filter("-1 < .a", expect!["(-1) < .a"]);
    check_filter("-2 ^ .a = 4", expect!["(-(2 ^ .a)) = 4"]);
    check_filter("(-2) ^ .a = 4", expect!["((-2) ^ .a) = 4"]);
    check_filter("2 * -3 < .a", expect!["(2 * -3) < .a"]);
    check_filter("duration > -1.5s", expect!["duration > -1.5s"]);
    check_filter(
        ".a = minInt || .a = maxInt",
        expect!["(.a = minInt) || (.a = 9223372036854775807)"],
    );
}

#[test]
fn comparisons_bind_from_the_left() {
    check_filter(".a = .b = true", expect!["(.a = .b) = true"]);
    check_filter(".a = (.b = true)", expect![".a = (.b = true)"]);
}

#[test]
fn numbers_read_as_go_reads_them() {
    check_filter(".a = 017", expect![".a = 17"]);
    check_filter(".a = 1.50", expect![".a = 1.5"]);
    check_filter(".a = .5", expect![".a = 0.5"]);
    check_filter(".a = 1e3", expect![".a = 1000.0"]);
    check_filter(".a = 1E-7", expect![".a = 1e-7"]);
    check_filter(
        ".a = 9223372036854775807",
        expect![".a = 9223372036854775807"],
    );
}

#[test]
fn durations_read_as_go_and_prometheus_write_them() {
    check_filter("duration > 1h30m", expect!["duration > 1h30m0s"]);
    check_filter("duration > 1.5s", expect!["duration > 1.5s"]);
    check_filter("duration > 90s", expect!["duration > 1m30s"]);
    check_filter("duration > 2w", expect!["duration > 336h0m0s"]);
    check_filter("duration > 1d12h", expect!["duration > 36h0m0s"]);
    check_filter("duration > 1y2w3d", expect!["duration > 9168h0m0s"]);
    check_filter("duration > 10ms500us", expect!["duration > 10.5ms"]);
    check_filter("duration > 1.5µs", expect!["duration > 1.5µs"]);
    check_filter("duration > 100ns", expect!["duration > 100ns"]);
    check_filter("duration > 0s", expect!["duration > 0s"]);
    check_filter(
        "duration = -2562047h47m16.854775808s",
        expect!["duration = -2562047h47m16.854775808s"],
    );
}

#[test]
fn strings_print_in_backticks_where_these_change_nothing() {
    check_filter(r#".a = "x""#, expect![".a = `x`"]);
    check_filter(r#".a = "a\tb\"c\\d""#, expect![[r#".a = `a	b"c\d`"#]]);
    check_filter(r#".a = "\x41\u00e9\101\xc3\xa9""#, expect![".a = `AéAé`"]);
    check_filter(r".a = `a\tb`", expect![[r#".a = `a\tb`"#]]);
    check_filter(r#".a = "one ` two""#, expect![[r#".a = "one ` two""#]]);
    check_filter(r#".a = "\r\n""#, expect![[r#".a = "\r\n""#]]);
}

#[test]
fn attributes_have_scopes_and_names_of_almost_anything() {
    check_filter(
        ".a && span.b && resource.c && event.d && link.e && instrumentation.f",
        expect![".a && span.b && resource.c && event.d && link.e && instrumentation.f"],
    );
    check_filter(
        "span.http.status_code = 200",
        expect!["span.http.status_code = 200"],
    );
    check_filter(r#"span."a b" = 1"#, expect![[r#"span."a b" = 1"#]]);
    check_filter(r#"span.a."b c".d = 1"#, expect![[r#"span."a.b c.d" = 1"#]]);
    check_filter(
        r#"."say \"hi\" \\o/" = 1"#,
        expect![[r#"."say \"hi\" \\o/" = 1"#]],
    );
    check_filter(r#"."5xx" = 1"#, expect![[r#"."5xx" = 1"#]]);
    check_filter("span.5xx = 1", expect!["span.5xx = 1"]);
    check_filter(".a+b = 1", expect![".a+b = 1"]);
    check_filter(".größe > 1", expect![".größe > 1"]);
    check_filter(".\"a\"=1", expect![".a = 1"]);
    check_filter(
        ".name = 1 && .status = 2",
        expect!["(.name = 1) && (.status = 2)"],
    );
}

#[test]
fn intrinsics_have_two_spellings_and_print_as_tempo_names_them() {
    check_filter(
        "span:name = name && span:status = status",
        expect!["(name = name) && (status = status)"],
    );
    check_filter(
        "span:duration = duration && trace:duration = traceDuration",
        expect!["(duration = duration) && (traceDuration = traceDuration)"],
    );
    check_filter(
        "span:kind = kind && span:statusMessage = statusMessage",
        expect!["(kind = kind) && (statusMessage = statusMessage)"],
    );
    check_filter(
        "trace:rootName = rootName && trace:rootService = rootServiceName",
        expect!["(rootName = rootName) && (rootServiceName = rootServiceName)"],
    );
    check_filter(
        "trace:id = span:id || span:parentID = `a`",
        expect!["(trace:id = span:id) || (span:parentID = `a`)"],
    );
    check_filter(
        "span:childCount > nestedSetParent",
        expect!["span:childCount > nestedSetParent"],
    );
    check_filter(
        "nestedSetLeft < nestedSetRight",
        expect!["nestedSetLeft < nestedSetRight"],
    );
    check_filter(
        "event:name = `x` && event:timeSinceStart > 1s",
        expect!["(event:name = `x`) && (event:timeSinceStart > 1s)"],
    );
    check_filter(
        "link:traceID = `x` && link:spanID = `y`",
        expect!["(link:traceID = `x`) && (link:spanID = `y`)"],
    );
    check_filter(
        "instrumentation:name = `x` && instrumentation:version = `1`",
        expect!["(instrumentation:name = `x`) && (instrumentation:version = `1`)"],
    );
}

#[test]
fn statuses_and_kinds_are_words() {
    check_filter(
        "status = ok || status = error || status != unset",
        expect!["(status = ok) || (status = error) || (status != unset)"],
    );
    check_filter(
        "kind = server || kind = client || kind = producer",
        expect!["(kind = server) || (kind = client) || (kind = producer)"],
    );
    check_filter(
        "kind = consumer || kind = internal || kind = unspecified",
        expect!["(kind = consumer) || (kind = internal) || (kind = unspecified)"],
    );
}

#[test]
fn regular_expressions_stand_on_the_right() {
    check_filter(
        r#".a =~ "x.*" && name !~ `GET /\d+`"#,
        expect![[r#"(.a =~ `x.*`) && (name !~ `GET /\d+`)"#]],
    );
    check_filter(r#""abc" =~ ("a.c")"#, expect!["`abc` =~ `a.c`"]);
}

#[test]
fn nil_equals_nothing() {
    check_filter("nil = nil", expect!["false"]);
    check_filter("nil != nil", expect!["false"]);
    check_filter("name != nil", expect!["name != nil"]);
    check_filter("(.a + 1) != nil", expect!["(.a + 1) != nil"]);
}

#[test]
fn structural_operators_bind_tighter_than_logic() {
    check(
        "{ .a } >> { .b } && { .c }",
        expect!["({ .a } >> { .b }) && { .c }"],
    );
    check(
        "{ .a } && { .b } > { .c }",
        expect!["{ .a } && ({ .b } > { .c })"],
    );
    check(
        "{ .a } && { .b } && { .c } || { .d }",
        expect!["({ .a } && { .b } && { .c }) || { .d }"],
    );
    check(
        "{ .a } > { .b } >> { .c }",
        expect!["({ .a } > { .b }) >> { .c }"],
    );
    check(
        "{ .a } > ({ .b } >> { .c })",
        expect!["{ .a } > ({ .b } >> { .c })"],
    );
    check(
        "{.a}<{.b}<<{.c}~{.d}",
        expect!["(({ .a } < { .b }) << { .c }) ~ { .d }"],
    );
    check(
        "{.a}!<{.b}!<<{.c}!~{.d}!>{.e}!>>{.f}",
        expect!["(((({ .a } !< { .b }) !<< { .c }) !~ { .d }) !> { .e }) !>> { .f }"],
    );
    check(
        "{.a}&<{.b}&<<{.c}&~{.d}&>{.e}&>>{.f}",
        expect!["(((({ .a } &< { .b }) &<< { .c }) &~ { .d }) &> { .e }) &>> { .f }"],
    );
}

#[test]
fn pipelines_are_stages_and_operands() {
    check("{}", expect!["{ true }"]);
    check(
        "{ .a } | { .b } | count() > 2",
        expect!["{ .a } | { .b } | count() > 2"],
    );
    check("by(name) | count() > 2", expect!["by(name) | count() > 2"]);
    check("count() > 2", expect!["count() > 2"]);
    check(
        "{} | by(resource.service.name) | coalesce() | select(.a, span:name)",
        expect!["{ true } | by(resource.service.name) | coalesce() | select(.a, name)"],
    );
    check(
        "({ .a } | count() > 2) && ({ .b } | avg(duration) < 1s)",
        expect!["({ .a } | count() > 2) && ({ .b } | avg(duration) < 1s)"],
    );
    check("({ .a })", expect!["{ .a }"]);
    check("(({ .a } | { .b }))", expect!["({ .a } | { .b })"]);
    check(
        "({ .a } || { .b }) | { .c }",
        expect!["{ .a } || { .b } | { .c }"],
    );
}

#[test]
fn aggregates_compare_with_numbers_and_each_other() {
    check(
        "{} | max(duration) >= 1.5s",
        expect!["{ true } | max(duration) >= 1.5s"],
    );
    check(
        "{} | min(.a + 1) != -3",
        expect!["{ true } | min(.a + 1) != -3"],
    );
    check(
        "{} | sum(span.bytes) = 2.5",
        expect!["{ true } | sum(span.bytes) = 2.5"],
    );
    check("{} | 2 < count()", expect!["{ true } | 2 < count()"]);
    check(
        "{} | max(duration) > 2 * avg(duration) + 1",
        expect!["{ true } | max(duration) > (2 * avg(duration)) + 1"],
    );
    check(
        "{} | (count() + 1) * 2 > 3",
        expect!["{ true } | (count() + 1) * 2 > 3"],
    );
}

#[test]
fn metrics_end_a_query() {
    check("{} | rate()", expect!["{ true } | rate()"]);
    check(
        "{} | count_over_time() by (name, .a)",
        expect!["{ true } | count_over_time() by(name, .a)"],
    );
    check(
        "{} | min_over_time(duration)",
        expect!["{ true } | min_over_time(duration)"],
    );
    check(
        "{} | max_over_time(.a)",
        expect!["{ true } | max_over_time(.a)"],
    );
    check(
        "{} | sum_over_time(span.bytes) by (kind)",
        expect!["{ true } | sum_over_time(span.bytes) by(kind)"],
    );
    check(
        "{} | avg_over_time(duration)",
        expect!["{ true } | avg_over_time(duration)"],
    );
    check(
        "{} | quantile_over_time(duration, .5, 0.99, 1)",
        expect!["{ true } | quantile_over_time(duration, 0.5, 0.99, 1.0)"],
    );
    // Each makes one series, however often it is there.
    check(
        "{} | quantile_over_time(duration, 1, .5, 1.0, .50)",
        expect!["{ true } | quantile_over_time(duration, 1.0, 0.5)"],
    );
    check(
        "{} | histogram_over_time(duration) by (name)",
        expect!["{ true } | histogram_over_time(duration) by(name)"],
    );
    check(
        "{} | compare({ status = error })",
        expect!["{ true } | compare({ status = error }, 10)"],
    );
    check(
        "{} | compare({}, 5, 100, 200)",
        expect!["{ true } | compare({ true }, 5, 100, 200)"],
    );
    check(
        "{} | rate() by(name) | topk(5) > 10 <= 2s | bottomk(3) != -0.5",
        expect!["{ true } | rate() by(name) | topk(5) > 10 <= 2 | bottomk(3) != -0.5"],
    );
    check(
        "{ .a } >> { .b } | { .c } | rate()",
        expect!["{ .a } >> { .b } | { .c } | rate()"],
    );
}

#[test]
fn hints_follow_anything_and_the_last_ones_count() {
    check(
        "{} with (most_recent=true)",
        expect!["{ true } with (most_recent=true)"],
    );
    check(
        "{} | rate() with(sample=0.1, exemplars=10)",
        expect!["{ true } | rate() with (sample=0.1, exemplars=10)"],
    );
    check("count()>.5with(a=1)", expect!["count() > 0.5 with (a=1)"]);
    check("{} with (a=1) with (b=2)", expect!["{ true } with (b=2)"]);
}

#[test]
fn space_and_comments_mean_nothing() {
    check(
        "\t{\n.a // the first\n&& /* the\nsecond */ .b}\r\n",
        expect!["{ .a && .b }"],
    );
}

#[test]
fn a_field_parses_by_itself() {
    let field: Field = "span.\"a b\"".parse().unwrap();
    assert_eq!(field.to_string(), "span.\"a b\"");
    assert_eq!(parse_field("span:name").unwrap().to_string(), "name");
    let error = parse_field("span.a = 1").unwrap_err();
    assert_eq!(error.offset, 7);
}

#[test]
fn a_list_prints_for_the_reader_only() {
    let list = Static::Array(vec![
        Static::Int(1),
        Static::String("a".to_owned()),
        Static::Nil,
    ]);
    assert_eq!(list.to_string(), "[1, `a`, nil]");
}
