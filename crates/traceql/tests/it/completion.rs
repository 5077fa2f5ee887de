//! What may be typed next, at the `|` of a query that is being typed.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use traceql::{Completion, complete, parse};

use crate::generate;

/// Splits at the only `¦`.
fn at(query: &str) -> (String, usize) {
    let offset = query.find('¦').unwrap();
    (query.replace('¦', ""), offset)
}

fn completed(query: &str) -> Completion {
    let (query, offset) = at(query);
    complete(&query, offset)
}

fn words(query: &str) -> Vec<&'static str> {
    completed(query)
        .words
        .iter()
        .map(|word| word.text)
        .collect()
}

/// The words, what names and values are wanted, and what they stand for.
fn check(query: &str, expected: Expect) {
    let (text, _) = at(query);
    let found = completed(query);
    let words: Vec<_> = found.words.iter().map(|word| word.text).collect();
    let mut shown = format!("{}\n", words.join("  "));
    if !found.replaces.is_empty() {
        shown += &format!("instead of: {}\n", &text[found.replaces.clone()]);
    }
    if let Some(of) = found.attributes {
        shown += &format!("attributes: {of:?}\n");
    }
    if let Some(of) = found.values {
        let beside = of.beside.unwrap_or_default();
        shown += &format!("values: {} {} beside {beside}\n", of.field, of.operator);
    }
    expected.assert_eq(&shown);
}

#[test]
fn each_place_takes_what_the_parser_takes() {
    check(
        "¦",
        expect![[r#"
            {
        "#]],
    );
    check(
        "{ ¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            attributes: Every
        "#]],
    );
    check(
        "{ status ¦",
        expect![[r#"
        =  !=
    "#]],
    );
    check(
        "{ status = ¦",
        expect![[r#"
            error  ok  unset  status  span.  resource.  event.  link.  instrumentation.  .  instrumentation:name  instrumentation:version
            attributes: Every
            values: status = beside { true  }
        "#]],
    );
    check(
        "{ duration ¦",
        expect![[r#"
        =  !=  >  >=  <  <=  +  -  *  /  %  ^
    "#]],
    );
    check(
        "{ duration > ¦",
        expect![[r#"
            10ms  100ms  1s  10s  duration  span.  resource.  event.  link.  instrumentation.  .  traceDuration  event:timeSinceStart  span:childCount  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight
            attributes: Every
            values: duration > beside { true  }
        "#]],
    );
    check(
        "{ .a ¦",
        expect![[r#"
        =  !=  >  >=  <  <=  =~  !~  &&  ||  +  -  *  /  %  ^  }
    "#]],
    );
    check(
        "{ name ¦",
        expect![[r#"
        =  !=  >  >=  <  <=  =~  !~
    "#]],
    );
    check(
        "{ status = error ¦",
        expect![[r#"
        }  &&  ||
    "#]],
    );
    check(
        "{ } ¦",
        expect![[r#"
        |  &&  ||  >>  >  <<  <  ~  !>>  !>  !<<  !<  !~  &>>  &>  &<<  &<  &~  with (
    "#]],
    );
    check(
        "{ } | ¦",
        expect![[r#"
        {  by (  rate()  count_over_time()  quantile_over_time(  histogram_over_time(  avg_over_time(  max_over_time(  min_over_time(  sum_over_time(  compare(  count()  avg(  max(  min(  sum(  select(  coalesce()
    "#]],
    );
    check(
        "{ } | avg(¦",
        expect![[r#"
            duration  span.  resource.  event.  link.  instrumentation.  .  traceDuration  event:timeSinceStart  span:childCount  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight
            attributes: Every
        "#]],
    );
    check(
        "{ } | avg(duration) ¦",
        expect![[r#"
            =  !=  >  >=  <  <=  +  -  *  /  %  ^
        "#]],
    );
    check(
        "{ } | rate() ¦",
        expect![[r#"
            |  by (  =  !=  >  >=  <  <=  with (
        "#]],
    );
    check(
        "{ } | rate() by (¦",
        expect![[r#"
        name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight
        attributes: Every
    "#]],
    );
    check(
        "{ } | rate() by (name ¦",
        expect![[r#"
        )  ,
    "#]],
    );
    check(
        "{ } | quantile_over_time(duration, ¦",
        expect![[r#"
            0.5  0.9  0.95  0.99
        "#]],
    );
    check(
        "{ } | rate() | ¦",
        expect![[r#"
        topk(  bottomk(
    "#]],
    );
    check(
        "{ } with (¦",
        expect![[r#"
        most_recent = true  exemplars = true  sample = true
    "#]],
    );
}

#[test]
fn a_word_that_is_typed_is_replaced_as_a_whole() {
    check(
        "{ sta¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: sta
            attributes: Every
        "#]],
    );
    check(
        "{ resource.serv¦ice.name = `a` }",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: resource.service.name
            attributes: Scope(Resource)
        "#]],
    );
    check(
        "{ span.¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: span.
            attributes: Scope(Span)
        "#]],
    );
    check(
        "{ .¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: .
            attributes: Unscoped
        "#]],
    );
    check(
        "{ span.\"odd na¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: span."odd na
            attributes: Scope(Span)
        "#]],
    );
    check(
        "{ span:¦",
        expect![[r#"
            name  status  duration  kind  span.  resource.  event.  link.  instrumentation.  .  traceDuration  rootName  rootServiceName  statusMessage  event:name  event:timeSinceStart  span:id  span:parentID  span:childCount  trace:id  link:traceID  link:spanID  instrumentation:name  instrumentation:version  nestedSetParent  nestedSetLeft  nestedSetRight  true  false  }
            instead of: span:
            attributes: Every
        "#]],
    );
}

#[test]
fn values_are_those_beside_the_rest_of_the_filter() {
    let beside = |query: &str| {
        let values = completed(query).values.unwrap();
        values.beside.unwrap_or_default()
    };
    for (query, expected) in [
        ("{ name = ¦", "{ true  }"),
        ("{ name = ¦ }", "{ true  }"),
        ("{ name = \"GE¦\" }", "{ true  }"),
        ("{ name = \"GE¦ }", "{ true  }"),
        (
            "{ .a = 1 && name = ¦ && .b = 2 }",
            "{ .a = 1 && true  && .b = 2 }",
        ),
        // What follows makes no sense, so it is left out.
        ("{ .a = 1 && name = ¦ .b }", "{ .a = 1 && true  }"),
        ("{ (.a = 1 || name = ¦", "{ (.a = 1 || true ) }"),
        (
            "{ .x } >> ({ .a = 1 && name = ¦} | count() > 2)",
            "{ .a = 1 && true }",
        ),
        // Nothing can be added to a boolean.
        ("{ .a + name = ¦ }", ""),
    ] {
        assert_eq!(beside(query), expected, "{query}");
    }
}

#[test]
fn what_people_hardly_write_is_not_offered() {
    for (query, missing) in [
        ("{ span.a = ¦", "error"),
        ("{ status = error ¦", "="),
        ("{ span.a > ¦", "10ms"),
        ("{ } with (¦", "name"),
        ("{ ¦", "-"),
        ("¦", "by ("),
    ] {
        assert!(!words(query).contains(&missing), "{query}");
    }
    assert!(words("{ span.a = ¦").contains(&"nil"));
    assert!(words("{ duration > ¦").contains(&"10ms"));
}

#[test]
fn nothing_is_offered_where_nothing_helps() {
    for query in [
        "{ } /* a ¦",
        "{ } // a ¦",
        "{ name = = ¦",
        "} ¦",
        "{ duration > \"a\" && ¦",
    ] {
        let found = completed(query);
        assert_eq!((found.words, found.attributes), (vec![], None), "{query}");
    }
    let long = format!("{{ name = `{}` && ", "a".repeat(5000));
    assert!(complete(&long, long.len()).words.is_empty());
    assert!(
        complete("{ ü", 3).words.is_empty(),
        "no character begins here"
    );
    assert!(complete("{ ", 9).words.is_empty());
    let nested = |levels| format!("{}{{ ¦", "(".repeat(levels));
    assert!(!words(&nested(19)).is_empty());
    assert!(words(&nested(20)).is_empty());
}

#[test]
fn regular_expressions_before_the_place_cost_nothing() {
    let query = "{ name =~ `(\\\\p{L}{50}){20}` && ¦";
    assert_eq!(words(query), words("{ name =~ `a` && ¦"));
    assert!(
        words("{ name =~ `(` && ¦").contains(&"status"),
        "the mistake is told elsewhere"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_place_of_a_query_has_an_answer(query in generate::query()) {
        let query = query.to_string();
        for (offset, _) in query.char_indices().step_by(3).take(40) {
            let found = complete(&query, offset);
            prop_assert!(found.replaces.start <= offset && offset <= found.replaces.end);
            prop_assert!(query.get(found.replaces.clone()).is_some());
            if let Some(beside) = found.values.and_then(|values| values.beside) {
                prop_assert!(parse(&beside).is_ok(), "{beside}");
            }
        }
    }

    #[test]
    fn a_field_of_a_query_is_offered_where_it_stands(query in generate::query()) {
        let query = query.to_string();
        for (space, _) in query.match_indices(' ').take(20) {
            let word = &query[space + 1..];
            let word = &word[..word.find([' ', ')', ',']).unwrap_or(word.len())];
            let found = complete(&query, space + 1);
            let is_string = found.replaces.start <= space;
            if matches!(word, "name" | "duration" | "status" | "span:childCount") && !is_string {
                let offered = found.words.iter().any(|offered| offered.text == word);
                prop_assert!(offered, "{word} at {space} of {query}");
            }
        }
    }
}
