//! What holds for every query and every trace.

use proptest::collection::vec;
use proptest::prelude::*;
use traceql::{
    Attribute, Condition, Expressions, Field, Form, Intrinsic, Kin, Parent, Relation, Scope,
    Static, Structure, Trace, TraceCondition, evaluate, parse,
};

use crate::forest::Forest;
use crate::generate;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_query_parses_to_what_was_printed(query in generate::query()) {
        let printed = query.to_string();
        let parsed = parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}\n{error}")))?;
        prop_assert_eq!(&parsed, &query, "{}", printed);
        prop_assert_eq!(parsed.to_string(), printed);
    }

    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn any_pieces_have_an_answer(pieces in vec(prop::sample::select(PIECES.to_vec()), 0..30)) {
        answers(&pieces.concat());
        answers(&format!("{{ {} }}", pieces.join(" ")));
        answers(&format!("{{}} | {}", pieces.join(" ")));
    }

    #[test]
    fn a_damaged_query_has_an_answer(query in generate::query(), at in any::<prop::sample::Index>(), by in any::<char>()) {
        let mut text: Vec<_> = query.to_string().chars().collect();
        let at = at.index(text.len());
        text[at] = by;
        answers(&text.into_iter().collect::<String>());
    }

    #[test]
    fn structure_agrees_with_walks_up_the_tree(
        parents in vec((0..3_u8, 0..12_usize), 1..12),
        left in vec(any::<bool>(), 12),
        right in vec(any::<bool>(), 12),
        relation in generate::relation(),
    ) {
        let forest = random(&parents, &left, &right);
        let query = format!("{{ span.left }} {relation} {{ span.right }}");
        let found = evaluate(&parse(&query).unwrap(), &forest).unwrap();
        let found = found.first().map(|spanset| spanset.spans.clone()).unwrap_or_default();
        let structure = Structure::new(forest.len(), |span| forest.parent(span));
        prop_assert_eq!(found, walked(&structure, relation, &left, &right));
    }

    #[test]
    fn nested_sets_nest_as_the_parents_do(parents in vec((0..3_u8, 0..12_usize), 1..12)) {
        let forest = random(&parents, &[], &[]);
        let len = forest.len();
        let structure = Structure::new(len, |span| forest.parent(span));
        let number = |intrinsic, span| structure.value(intrinsic, span).unwrap();
        let left = |span| number(Intrinsic::NestedSetLeft, span);
        let right = |span| number(Intrinsic::NestedSetRight, span);
        for span in 0..len {
            let above: Vec<_> = ancestors(&structure, span).collect();
            for other in 0..len {
                let is_inside = left(other) < left(span) && right(other) > right(span);
                prop_assert_eq!(is_inside, above.contains(&other));
            }
            let children = (0..len).filter(|child| structure.parent(*child) == Parent::Span(span));
            prop_assert_eq!(number(Intrinsic::ChildCount, span), children.count() as i64);
            let parent = match structure.parent(span) {
                Parent::None => -1,
                Parent::Missing => 0,
                Parent::Span(above) => left(above),
            };
            prop_assert_eq!(number(Intrinsic::NestedSetParent, span), parent);
        }
        let mut numbers: Vec<_> = (0..len).flat_map(|span| [left(span), right(span)]).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (1..=2 * len as i64).collect::<Vec<_>>());
    }

    #[test]
    fn conditions_are_necessary(
        filter in generate::filter(),
        spans in vec(vec((0..3_usize, 0..5_usize, value()), 0..4), 1..6),
    ) {
        let forest = filled(&spans);
        let expressions = Expressions::new(&forest);
        let necessary = filter.condition();
        for span in 0..forest.len() {
            let matches = expressions.matches(&filter, span);
            let meets = meets(&expressions, &necessary.condition, span);
            prop_assert!(meets || !matches, "{filter} does not need {:?}", necessary);
            prop_assert!(!necessary.is_exact || matches == meets, "{filter} is not {:?}", necessary);
        }
    }

    #[test]
    fn trace_conditions_are_necessary(
        spansets in generate::spansets(),
        spans in vec(vec((0..3_usize, 0..5_usize, value()), 0..4), 1..6),
    ) {
        let forest = filled(&spans);
        let query = parse(&spansets.to_string()).unwrap();
        let expressions = Expressions::new(&forest);
        if evaluate(&query, &forest).is_ok_and(|found| !found.is_empty()) {
            let condition = query.trace_condition();
            prop_assert!(trace_meets(&expressions, &condition, forest.len()), "{query}: {condition:?}");
        }
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "|",
    "||",
    "&&",
    ">>",
    "!>",
    "&~",
    "~",
    "!~",
    "=~",
    "=",
    "!=",
    "<",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "!",
    ",",
    ".a",
    "span.b",
    "name",
    "span:id",
    "duration",
    "status",
    "error",
    "nil",
    "true",
    "1",
    "2.5",
    "1h",
    "\"x\"",
    "`.*`",
    "count()",
    "avg(",
    "by(",
    "select(",
    "coalesce()",
    "rate()",
    "quantile_over_time(",
    "topk(",
    "compare(",
    "with(",
    "a",
    "parent.",
    "é",
    "\u{2028}",
    "\\",
];

/// Whatever the answer is, it comes without a panic and points into the text.
fn answers(text: &str) {
    match parse(text) {
        Ok(query) => {
            let printed = query.to_string();
            assert_eq!(parse(&printed).unwrap(), query, "{printed}");
        }
        Err(error) => assert!(text.is_char_boundary(error.offset), "{error}"),
    }
}

/// Parents of every kind: 0 is none, 1 missing, 2 a span, which may be in a cycle or beyond the trace.
fn random(parents: &[(u8, usize)], left: &[bool], right: &[bool]) -> Forest {
    let mut forest = Forest::default();
    for (span, (kind, parent)) in parents.iter().enumerate() {
        let parent = match kind {
            0 => Parent::None,
            1 => Parent::Missing,
            _ => Parent::Span(*parent),
        };
        forest.add("", parent);
        for (name, values) in [("left", left), ("right", right)] {
            let value = values.get(span).copied().unwrap_or_default();
            forest.set(
                span,
                attribute(Some(Scope::Span), name),
                Static::Bool(value),
            );
        }
    }
    forest
}

fn attribute(scope: Option<Scope>, name: &str) -> Field {
    let name = name.to_owned();
    Field::Attribute(Attribute { scope, name })
}

fn ancestors(structure: &Structure, span: usize) -> impl Iterator<Item = usize> {
    let above = |span| match structure.parent(span) {
        Parent::Span(above) => Some(above),
        Parent::None | Parent::Missing => None,
    };
    std::iter::successors(above(span), move |span| above(*span))
}

/// What a relation means, pair by pair.
fn walked(structure: &Structure, relation: Relation, left: &[bool], right: &[bool]) -> Vec<usize> {
    let related = |kin, from: usize, to: usize| match kin {
        Kin::Child => structure.parent(to) == Parent::Span(from),
        Kin::Parent => structure.parent(from) == Parent::Span(to),
        Kin::Descendant => ancestors(structure, to).any(|above| above == from),
        Kin::Ancestor => ancestors(structure, from).any(|above| above == to),
        Kin::Sibling => {
            from != to
                && structure.parent(from) == structure.parent(to)
                && structure.parent(from) != Parent::Missing
        }
    };
    let spans: Vec<_> = (0..structure.len()).collect();
    let is_found = |span: &usize| {
        let from_left = spans
            .iter()
            .any(|from| left[*from] && related(relation.kin, *from, *span));
        let to_right = spans
            .iter()
            .any(|to| right[*to] && related(relation.kin, *span, *to));
        match relation.form {
            Form::Right => right[*span] && from_left,
            Form::Not => right[*span] && !from_left,
            Form::Union => (right[*span] && from_left) || (left[*span] && to_right),
        }
    };
    spans.iter().copied().filter(is_found).collect()
}

fn value() -> impl Strategy<Value = Static> {
    prop_oneof![
        (-3..3_i64).prop_map(Static::Int),
        (-3.0..3.0).prop_map(Static::Float),
        any::<bool>().prop_map(Static::Bool),
        "[a-c]".prop_map(Static::String),
    ]
}

/// Spans in a row, with values of attributes that the filters ask for.
fn filled(spans: &[Vec<(usize, usize, Static)>]) -> Forest {
    let mut forest = Forest::default();
    for (span, fields) in spans.iter().enumerate() {
        let parent = span.checked_sub(1).map_or(Parent::None, Parent::Span);
        forest.add("", parent);
        for (name, scope, value) in fields {
            let field = attribute(Some(Scope::ALL[*scope]), ["a", "b", "c"][*name]);
            forest.set(span, field, value.clone());
        }
    }
    forest
}

fn meets(expressions: &Expressions<'_, Forest>, condition: &Condition<'_>, span: usize) -> bool {
    let value = |field: &Field| expressions.field(field, span);
    match condition {
        Condition::All => true,
        Condition::Nothing => false,
        Condition::And(all) => all.iter().all(|one| meets(expressions, one, span)),
        Condition::Or(any) => any.iter().any(|one| meets(expressions, one, span)),
        Condition::Compare { field, op, literal } => {
            value(field).is_some_and(|value| value.compare(*op, literal.as_value().unwrap()))
        }
        Condition::Match {
            field,
            negated,
            pattern,
        } => value(field).is_some_and(|value| value.matches(pattern, *negated)),
        Condition::Exists(field) => value(field).is_some(),
        Condition::Missing(field) => value(field).is_none(),
    }
}

fn trace_meets(
    expressions: &Expressions<'_, Forest>,
    condition: &TraceCondition<'_>,
    len: usize,
) -> bool {
    match condition {
        TraceCondition::Some(condition) => (0..len).any(|span| meets(expressions, condition, span)),
        TraceCondition::And(all) => all.iter().all(|one| trace_meets(expressions, one, len)),
        TraceCondition::Or(any) => any.iter().any(|one| trace_meets(expressions, one, len)),
    }
}
