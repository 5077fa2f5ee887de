//! Where and why a text is no query.

use expect_test::{Expect, expect};
use traceql::parse;

/// The query with a caret under the offset, and the message.
fn check(query: &str, expected: Expect) {
    let error = parse(query).unwrap_err();
    let column = query[..error.offset].chars().count();
    let shown = format!("{query}\n{:>1$}\n{2}\n", "^", column + 1, error.message);
    expected.assert_eq(&shown);
}

#[test]
fn what_is_missing_or_too_much_has_a_place() {
    check(
        "",
        expect![[r#"

        ^
        expected `{`, `(`, an aggregate, `by` or `select`, found the end of the query
    "#]],
    );
    check(
        "{",
        expect![[r#"
        {
         ^
        expected an attribute, an intrinsic or a literal, found the end of the query
    "#]],
    );
    check(
        "{ .a = ",
        expect![[r#"
        { .a = 
               ^
        expected an attribute, an intrinsic or a literal, found the end of the query
    "#]],
    );
    check(
        "{ .a = 1",
        expect![[r#"
        { .a = 1
                ^
        expected an operator or `}`, found the end of the query
    "#]],
    );
    check(
        "{ .a == 1 }",
        expect![[r#"
        { .a == 1 }
              ^
        expected an attribute, an intrinsic or a literal, found `=`
    "#]],
    );
    check(
        "{ (.a }",
        expect![[r#"
        { (.a }
              ^
        expected an operator or `)`, found `}`
    "#]],
    );
    check(
        "{ .a } }",
        expect![[r#"
        { .a } }
               ^
        expected an operator, `|` or the end of the query, found `}`
    "#]],
    );
    check(
        "{ .a .b }",
        expect![[r#"
        { .a .b }
             ^
        expected an operator or `}`, found an attribute
    "#]],
    );
    check(
        "{ .a } >> ",
        expect![[r#"
        { .a } >> 
                  ^
        expected `{` or `(`, found the end of the query
    "#]],
    );
    check(
        "{ .a } | ",
        expect![[r#"
        { .a } | 
                 ^
        expected a stage, as `{`, `count()`, `by`, `select` or `rate()`, found the end of the query
    "#]],
    );
    check(
        "{ .a } | count()",
        expect![[r#"
        { .a } | count()
                 ^
        a number is no stage: compare it, as in `count() > 2`
    "#]],
    );
    check(
        "({ .a } | count()) > ({ .b } | count())",
        expect![[r#"
        ({ .a } | count()) > ({ .b } | count())
                  ^
        comparing pipelines as numbers is not supported: compare this one inside its parentheses
    "#]],
    );
    check(
        "coalesce()",
        expect![[r#"
        coalesce()
        ^
        expected `{`, `(`, an aggregate, `by` or `select`, found `coalesce`
    "#]],
    );
    check(
        "undefined != nil} | rate() by(undefined)",
        expect![[r#"
        undefined != nil} | rate() by(undefined)
        ^
        expected `{`, `(`, an aggregate, `by` or `select`, found `undefined`
    "#]],
    );
    check(
        "{ nil }",
        expect![[r#"
        { nil }
              ^
        expected `=` or `!=`, which is all that takes nil, found `}`
    "#]],
    );
    check(
        "{ nil > 1 }",
        expect![[r#"
        { nil > 1 }
              ^
        expected `=` or `!=`, which is all that takes nil, found `>`
    "#]],
    );
}

#[test]
fn words_are_known_or_not() {
    check(
        "{ foo = 1 }",
        expect![[r#"
        { foo = 1 }
          ^
        expected an attribute, an intrinsic or a literal, found `foo`
    "#]],
    );
    check(
        "{ span:foo = 1 }",
        expect![[r#"
        { span:foo = 1 }
          ^
        there is no intrinsic `span:foo`
    "#]],
    );
    check(
        "{ resource:name = 1 }",
        expect![[r#"
        { resource:name = 1 }
          ^
        expected an attribute, an intrinsic or a literal, found `resource`
    "#]],
    );
    check(
        "{ span. = 1 }",
        expect![[r#"
        { span. = 1 }
               ^
        expected the name of an attribute
    "#]],
    );
    check(
        "{ parent.a = 1 }",
        expect![[r#"
        { parent.a = 1 }
          ^
        `parent` is not supported
    "#]],
    );
    check(
        "{ parent = 1 }",
        expect![[r#"
        { parent = 1 }
          ^
        `parent` is not supported
    "#]],
    );
    check(
        "{} | select(parent.span.a)",
        expect![[r#"
        {} | select(parent.span.a)
                    ^
        `parent` is not supported
    "#]],
    );
    check(
        "{} | frequency()",
        expect![[r#"
        {} | frequency()
             ^
        expected a stage, as `{`, `count()`, `by`, `select` or `rate()`, found `frequency`
    "#]],
    );
    check(
        "{} with (rate)",
        expect![[r#"
        {} with (rate)
                     ^
        expected `=`, found `)`
    "#]],
    );
    check(
        "{} with (\"rate\"=1)",
        expect![[r#"
        {} with ("rate"=1)
                 ^
        expected the name of a hint, found a string
    "#]],
    );
    check(
        "{} with (rate=-1)",
        expect![[r#"
        {} with (rate=-1)
                      ^
        expected a literal, found `-`
    "#]],
    );
}

#[test]
fn tokens_end() {
    check(
        "{ .a = \"x }",
        expect![[r#"
        { .a = "x }
               ^
        the string has no end in its line
    "#]],
    );
    check(
        "{ .a = `x }",
        expect![[r#"
        { .a = `x }
               ^
        the string has no end
    "#]],
    );
    check(
        "{ .a = \"\\q\" }",
        expect![[r#"
        { .a = "\q" }
                ^
        there is no such escape
    "#]],
    );
    check(
        "{ .a = \"\\xff\" }",
        expect![[r#"
        { .a = "\xff" }
               ^
        the string is not UTF-8
    "#]],
    );
    check(
        "{ span.\"a }",
        expect![[r#"
        { span."a }
               ^
        the quoted name has no end
    "#]],
    );
    check(
        "{ span.\"\\n\" }",
        expect![[r#"
        { span."\n" }
                ^
        in the name of an attribute only \" and \\ are escapes
    "#]],
    );
    check(
        "{ .a /* }",
        expect![[r#"
        { .a /* }
             ^
        the comment has no end
    "#]],
    );
    check(
        "{ größe = 'x' }",
        expect![[r#"
        { größe = 'x' }
          ^
        expected an attribute, an intrinsic or a literal, found `größe`
    "#]],
    );
    check(
        "{ .größe = 'x' }",
        expect![[r#"
        { .größe = 'x' }
                   ^
        unexpected character '\''
    "#]],
    );
}

#[test]
fn numbers_fit() {
    check(
        "{ .a = 9223372036854775808 }",
        expect![[r#"
        { .a = 9223372036854775808 }
               ^
        the number does not fit into 64 bits
    "#]],
    );
    check(
        "{ .a = 99999999999999999999999 }",
        expect![[r#"
        { .a = 99999999999999999999999 }
               ^
        the number does not fit into 64 bits
    "#]],
    );
    check(
        "{ .a = 1e999 }",
        expect![[r#"
        { .a = 1e999 }
               ^
        the number is too large
    "#]],
    );
    check(
        "{ duration > 293y }",
        expect![[r#"
        { duration > 293y }
                     ^
        not a duration, or one of more than 292 years
    "#]],
    );
    check(
        "{ duration > 1.5d }",
        expect![[r#"
        { duration > 1.5d }
                     ^
        not a duration, or one of more than 292 years
    "#]],
    );
    check(
        "{ duration > 5 s }",
        expect![[r#"
        { duration > 5 s }
                       ^
        expected an operator or `}`, found `s`
    "#]],
    );
    check(
        "{} | compare({}, 99999999999999999999)",
        expect![[r#"
        {} | compare({}, 99999999999999999999)
                         ^
        the number does not fit into 64 bits
    "#]],
    );
}

#[test]
fn types_fit() {
    check(
        "{ duration > `1s` }",
        expect![[r#"
        { duration > `1s` }
                   ^
        `>` needs two values of one type, not a duration and a string
    "#]],
    );
    check(
        "{ status = 2 }",
        expect![[r#"
        { status = 2 }
                 ^
        `=` needs two values of one type, not a status and an int
    "#]],
    );
    check(
        "{ status > ok }",
        expect![[r#"
        { status > ok }
                 ^
        `>` does not take a status
    "#]],
    );
    check(
        "{ kind = ok }",
        expect![[r#"
        { kind = ok }
               ^
        `=` needs two values of one type, not a kind and a status
    "#]],
    );
    check(
        "{ name }",
        expect![[r#"
        { name }
          ^
        a filter has to be true or false, not a string
    "#]],
    );
    check(
        "{ .a + 1 }",
        expect![[r#"
        { .a + 1 }
          ^
        a filter has to be true or false, not an int
    "#]],
    );
    check(
        "{ name + 1 = 2 }",
        expect![[r#"
        { name + 1 = 2 }
               ^
        `+` needs two values of one type, not a string and an int
    "#]],
    );
    check(
        "{ (.a = 1) + 1 = 2 }",
        expect![[r#"
        { (.a = 1) + 1 = 2 }
                   ^
        `+` needs two values of one type, not a boolean and an int
    "#]],
    );
    check(
        "{ true && 1 }",
        expect![[r#"
        { true && 1 }
               ^
        `&&` needs two values of one type, not a boolean and an int
    "#]],
    );
    check(
        "{ !duration }",
        expect![[r#"
        { !duration }
          ^
        `!` does not take a duration
    "#]],
    );
    check(
        "{ -name = `x` }",
        expect![[r#"
        { -name = `x` }
          ^
        `-` does not take a string
    "#]],
    );
    check(
        "{ .a =~ 1 }",
        expect![[r#"
        { .a =~ 1 }
             ^
        `=~` does not take an int
    "#]],
    );
    check(
        "{ .a =~ .b }",
        expect![[r#"
        { .a =~ .b }
                ^
        `=~` needs a string on its right
    "#]],
    );
    check(
        "{ duration =~ `x` }",
        expect![[r#"
        { duration =~ `x` }
                   ^
        `=~` needs two values of one type, not a duration and a string
    "#]],
    );
    check(
        "{ .a =~ `(` }",
        expect![[r#"
            { .a =~ `(` }
                    ^
            this regular expression is refused: unclosed group
        "#]],
    );
    check(
        "{ .a =~ `x)|(y` }",
        expect![[r#"
            { .a =~ `x)|(y` }
                    ^
            this regular expression is refused: unopened group
        "#]],
    );
    check(
        "{ name = nil }",
        expect![[r#"
        { name = nil }
          ^
        `name` is never nil
    "#]],
    );
    check(
        "{ nil = resource.service.name }",
        expect![[r#"
        { nil = resource.service.name }
                ^
        `resource.service.name` is never nil
    "#]],
    );
}

#[test]
fn stages_make_sense() {
    check(
        "{} | by(1)",
        expect![[r#"
        {} | by(1)
                ^
        `by` needs something of the span, not only literals
    "#]],
    );
    check(
        "{} | avg(1) > 2",
        expect![[r#"
        {} | avg(1) > 2
                 ^
        an aggregate needs something of the span, not only literals
    "#]],
    );
    check(
        "{} | avg(name) > 2",
        expect![[r#"
        {} | avg(name) > 2
                 ^
        an aggregate needs a number, not a string
    "#]],
    );
    check(
        "{} | count() > `x`",
        expect![[r#"
        {} | count() > `x`
                       ^
        expected an aggregate or a number, found a string
    "#]],
    );
    check(
        "{} | 1 < 2",
        expect![[r#"
        {} | 1 < 2
               ^
        one side has to be computed from spans, as `count()` is
    "#]],
    );
    check(
        "{} | select()",
        expect![[r#"
        {} | select()
                    ^
        expected an attribute or intrinsic, found `)`
    "#]],
    );
    check(
        "{} | rate() | topk(0)",
        expect![[r#"
        {} | rate() | topk(0)
                           ^
        expected how many series, at least 1
    "#]],
    );
    check(
        "{} | rate() | { .a }",
        expect![[r#"
        {} | rate() | { .a }
                      ^
        expected `topk` or `bottomk`, found `{`
    "#]],
    );
    check(
        "{} | quantile_over_time(duration)",
        expect![[r#"
        {} | quantile_over_time(duration)
                                        ^
        expected `,`, found `)`
    "#]],
    );
    check(
        "{} | quantile_over_time(duration, 2)",
        expect![[r#"
        {} | quantile_over_time(duration, 2)
                                          ^
        a quantile is from 0 to 1
    "#]],
    );
    check(
        "{} | rate() by (.a, .b, .c, .d, .e, .f)",
        expect![[r#"
        {} | rate() by (.a, .b, .c, .d, .e, .f)
                    ^
        `rate` takes at most 5 fields to group by
    "#]],
    );
    check(
        "{} | avg_over_time(.x) by (.a, .b, .c, .d, .e)",
        expect![[r#"
            {} | avg_over_time(.x) by (.a, .b, .c, .d, .e)
                                   ^
            `avg_over_time` takes at most 4 fields to group by
        "#]],
    );
    check(
        "{} | compare({}) by (.a)",
        expect![[r#"
        {} | compare({}) by (.a)
                         ^
        expected an operator, `|` or the end of the query, found `by`
    "#]],
    );
    check(
        "{} | compare({}) > 1",
        expect![[r#"
        {} | compare({}) > 1
             ^
        nothing can be made of the series of `compare`
    "#]],
    );
    check(
        "{} | compare({}, 0)",
        expect![[r#"
        {} | compare({}, 0)
                         ^
        expected how many values to return, at least 1
    "#]],
    );
    check(
        "{} | compare({}, 10, 200, 100)",
        expect![[r#"
        {} | compare({}, 10, 200, 100)
                                  ^
        the selection has to end after its start
    "#]],
    );
}
