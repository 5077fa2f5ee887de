//! Inputs that are long, deep or expensive: each has an answer soon, on a small stack.

use std::thread;
use std::time::{Duration, Instant};

use traceql::{MAX_DEPTH, MAX_LEN, Parent, evaluate, parse};

use crate::forest::Forest;

/// Parses on a stack of 512 KiB and does with the tree what may recurse. Whether it was a query.
///
/// The bound on time holds for an optimised build, and another is only there to find what takes for ever; another program may take the
/// processor, so the best of some counts.
fn survives(query: &str) -> bool {
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 10_000 } else { 100 });
    let query = query.to_owned();
    let walk = move || {
        let took = (0..5).map(|_| {
            let start = Instant::now();
            drop(parse(&query));
            start.elapsed()
        });
        let is_soon = took.into_iter().any(|took| took < bound);
        let Ok(tree) = parse(&query) else {
            return (false, is_soon);
        };
        let printed = tree.to_string();
        if printed.len() <= MAX_LEN {
            assert_eq!(parse(&printed).unwrap(), tree.clone());
        }
        drop(format!("{tree:?}"));
        drop((tree.fields().len(), tree.trace_condition()));
        let forest = Forest::new("a: span.a = 1\n b: span.b = true\n c: name = `c`");
        drop(evaluate(&tree, &forest));
        (true, is_soon)
    };
    let thread = thread::Builder::new().stack_size(512 * 1024);
    let (is_query, is_soon) = thread.spawn(walk).unwrap().join().unwrap();
    assert!(is_soon, "it takes more than {bound:?}");
    is_query
}

/// As many repetitions as a query may hold.
fn filled(open: &str, unit: &str, close: &str) -> String {
    let count = (MAX_LEN - open.len() - close.len()) / unit.len();
    format!("{open}{}{close}", unit.repeat(count))
}

#[test]
fn a_query_is_at_most_128_kib() {
    let query = format!("{{ .a = `{}` }}", "x".repeat(MAX_LEN));
    let error = parse(&query).unwrap_err();
    assert_eq!(error.offset, MAX_LEN);
    assert!(survives(&filled("{ .a = `", "x", "` }")));
}

#[test]
fn brackets_prefixes_and_operands_nest_to_a_limit() {
    for (levels, start, open, inner, close, end) in [
        (1, "{ ", "(", ".a", ")", " }"),
        (1, "", "(", "{}", ")", ""),
        (1, "{ ", "!", ".a", "", " }"),
        (1, "{ ", "!(", ".a", ")", " }"),
        (1, "{ ", "- ", ".a", "", " = 1 }"),
        (1, "{ ", "-(", ".a", ")", " = 1 }"),
        (1, "{ .a", " ^ .b", "", "", " = 1 }"),
        (1, "{ .a", " ^ (.b", "", ")", " = 1 }"),
        (1, "{ .a", " + (.b", "", ")", " = 1 }"),
        (2, "{ .a", " && (.b || (.c", "", "))", " }"),
        (2, "{ .a", " ^ -(.b", "", ")", " = 1 }"),
        (1, "count()", " ^ 2", "", "", " > 1"),
        (1, "count()", " - (2", "", ")", " > 1"),
        (1, "", "(1 + ", "count()", ")", " > 1"),
    ] {
        let nested =
            |count: usize| [start, &open.repeat(count), inner, &close.repeat(count), end].concat();
        assert!(survives(&nested((MAX_DEPTH - 3) / levels)), "{open}");
        let error = parse(&nested(MAX_DEPTH / levels + 1)).unwrap_err();
        assert_eq!(error.message, "the query nests more than 100 levels deep");
        assert!(!survives(&nested(20_000)));
    }
}

#[test]
fn unfinished_input_of_any_kind_ends() {
    let units = [
        "(",
        ")",
        "{",
        "}",
        "!",
        "-",
        "^",
        "{(",
        "({",
        "{.a&&(",
        "{!(-",
        "nil=",
        "{nil=",
        "\"",
        "`",
        "\\",
        "{.a=\"\\u",
        "//",
        "/*",
        "/*/",
        ".",
        "..",
        "1",
        "1.",
        "1h",
        "1.5h",
        "é",
        "\u{a0}",
        "\0",
        ",",
        "|",
        "||",
        "{}|",
        "{}>>",
        "by(",
        "count(",
        "{}|by(",
        "{}|rate()|",
        "with(",
        "{}with(a=1)",
        "span.\"",
        "span:",
        "parent.",
        "{}|select(.a,",
        "count()+",
        "(count()",
        "(1",
        "{.a=~`",
        "&>",
        "!~",
        "duration",
        "1e",
        "1e+",
        "{.a^",
    ];
    for unit in units {
        survives(&filled("", unit, ""));
        survives(&filled("{ ", unit, ""));
        survives(&filled("{} | ", unit, ""));
        survives(&filled("{} | rate() ", unit, ""));
    }
}

#[test]
fn chains_of_and_and_or_may_be_long() {
    assert!(survives(&filled("{ .a = 1 ", "&& .b = 2", " }")));
    assert!(survives(&filled("{ .a = 1 ", "|| span.status = 2", " }")));
    assert!(survives(&filled("{}", "&&{}", "")));
    assert!(survives(&filled("{}", " || { .a = `x` }", "")));
    assert!(survives(&filled("{}", " | { .a = `x` }", "")));
    assert!(survives(&filled("{} | select(.a", ",.b", ")")));
    assert!(survives(&filled("{}", "with(a=1)", "")));
    assert!(survives(&filled("{} | rate() > 1", "> 1", "")));
}

#[test]
fn chains_of_other_operators_nest() {
    assert!(!survives(&filled("{ .a = 1 ", "&& .b || .c", " }")));
    assert!(!survives(&filled("{ .a ", "= .b ", " }")));
    assert!(!survives(&filled("{ .a", " + .b", " = 1 }")));
    assert!(!survives(&filled("{ .a", " ^ .b", " = 1 }")));
    assert!(!survives(&filled("{}", ">>{}", "")));
    assert!(!survives(&filled("count()", "+count()", "> 1")));
    assert!(!survives(&filled(&"(".repeat(90), "1+", "count() > 1")));
    assert!(!survives(&filled("{ .a", "=nil", "}")));
    // The depth counts what is nested in the first operand too, where no bracket is open any more.
    let sum = |inner: &str| format!("({inner}{})", " + .a".repeat(55));
    assert!(parse(&format!("{{ {} = 1 }}", sum(".a"))).is_ok());
    assert!(parse(&format!("{{ {} = 1 }}", sum(&sum(".a")))).is_err());
}

#[test]
fn regular_expressions_are_bounded_in_size_and_number() {
    assert!(survives("{ .a =~ `(a+)+$` }"));
    assert!(survives("{ .a =~ `((a*)*)*b` }"));
    assert!(!survives(r"{ .a =~ `((\pL{100}){100}){100}` }"));
    assert!(!survives(&filled("{ .a =~ `", "a", "` }")));
    assert!(!survives(&filled("{ .a =~ `", "(", "` }")));
    assert!(!survives(&filled("{ .a =~ `", "(a|b)", "` }")));
    assert!(!survives(&filled("{ .a =~ `", "[^a]", "` }")));
    assert!(!survives(&filled("{ .a =~ `x` ", "|| .a =~ `x`", " }")));
    // As many as there may be, each about as large as it may be.
    let costly = r"|| .a =~ `.{150}(?i:straße)[^x]{20}`".repeat(99);
    survives(&format!("{{ .a {costly} }}"));
    let costly = r"|| .a =~ `(?i:\pL)`".repeat(99);
    survives(&format!("{{ .a {costly} }}"));
    assert!(!survives(&filled("{ .a =~ `", r"\pL", "` }")));
    assert!(!survives(&filled(
        "{ .a =~ `(?i)",
        r"[\x{0}-\x{10FFFF}]",
        "` }"
    )));
    let costly = format!("|| .a =~ `{}`", "a|".repeat(600)).repeat(99);
    survives(&format!("{{ .a {costly} }}"));
}

#[test]
fn a_trace_may_be_deep() {
    let mut forest = Forest::default();
    for span in 0..100_000_usize {
        forest.add("", span.checked_sub(1).map_or(Parent::None, Parent::Span));
    }
    let walk = move || {
        for (query, count) in [
            ("{} >> {}", 99_999),
            ("{} &<< {}", 100_000),
            ("{} !> {}", 1),
            ("{ nestedSetLeft > 50000 }", 50_000),
            ("{ span:childCount = 0 }", 1),
        ] {
            let found = evaluate(&parse(query).unwrap(), &forest).unwrap();
            assert_eq!(found[0].spans.len(), count, "{query}");
        }
    };
    let thread = thread::Builder::new().stack_size(512 * 1024);
    thread.spawn(walk).unwrap().join().unwrap();
}

#[test]
fn a_usual_query_takes_microseconds() {
    let query = "{ resource.service.name = `shop` && span.http.response.status_code >= 500 } | rate() by (name)";
    parse(query).unwrap();
    let fastest = (0..100).map(|_| {
        let start = Instant::now();
        parse(query).unwrap();
        start.elapsed()
    });
    let bound = if cfg!(debug_assertions) { 500 } else { 20 };
    assert!(fastest.min().unwrap() < Duration::from_micros(bound));
}
