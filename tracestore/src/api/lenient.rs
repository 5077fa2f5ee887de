//! What can be made of a query while it is typed.

use traceql::{FieldExpression, Query};

/// The query; or, if it is none yet, one of those conditions between the `&&` of its first braces that are complete, as of
/// `{ name = "GET" && span.`. `None` if nothing can be made of it.
pub(super) fn parse(text: &str) -> Option<Query> {
    if let Ok(query) = traceql::parse(text) {
        return Some(query);
    }
    if text.len() > traceql::MAX_LEN {
        return None;
    }
    let (_, inside) = text.split_once('{')?;
    let conditions = conditions(inside)?;
    let complete = conditions.iter().filter(|condition| is_complete(condition));
    let complete: Vec<&str> = complete.copied().collect();
    traceql::parse(&format!("{{ {} }}", complete.join(" && "))).ok()
}

/// A name alone is about to be compared with something.
fn is_complete(condition: &str) -> bool {
    if condition.trim().is_empty() {
        return false;
    }
    let Ok(query) = traceql::parse(&format!("{{ {condition} }}")) else {
        return false;
    };
    let filter = query.leading_filter();
    filter.is_some_and(|filter| !matches!(filter, FieldExpression::Field(_)))
}

/// What stands between `&&` up to the closing brace. `None` if that would not narrow down what is found: other conditions
/// suffice, or more than spans that pass these are asked for.
fn conditions(inside: &str) -> Option<Vec<&str>> {
    let mut conditions = Vec::new();
    let (mut begin, mut depth) = (0, 0_usize);
    let mut quote = None;
    let mut characters = inside.char_indices();
    while let Some((at, c)) = characters.next() {
        if let Some(open) = quote {
            match c {
                '\\' if open == '"' => {
                    characters.next();
                }
                c if c == open => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '"' | '`' => quote = Some(c),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if inside[at..].starts_with("||") && depth == 0 => return None,
            '&' if inside[at..].starts_with("&&") && depth == 0 => {
                conditions.push(&inside[begin..at]);
                begin = at + 2;
                characters.next();
            }
            '}' => {
                conditions.push(&inside[begin..at]);
                let rest = inside[at + 1..].trim_start();
                let is_all = rest.is_empty() || (rest.starts_with('|') && !rest.starts_with("||"));
                return is_all.then_some(conditions);
            }
            _ => {}
        }
    }
    conditions.push(&inside[begin..]);
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_complete_of_a_query_counts_while_it_is_typed() {
        let complete = "{ name = `GET` }";
        for (text, expected) in [
            (complete, Some(complete)),
            ("{ name = `GET` && }", Some(complete)),
            ("{ name = `GET` && span.", Some(complete)),
            ("{ name = `GET` && span.a", Some(complete)),
            ("{ name = `GET` && span.a = ", Some(complete)),
            ("{ name = `GET` && span.a = \"x && y", Some(complete)),
            ("{ span.a = && name = `GET` } | select(", Some(complete)),
            ("{ span.a = && (name = `GET`) && status > }", Some(complete)),
            ("{ span.a =~ \"[\" && name = `GET` }", Some(complete)),
            (
                "{ name = \"a } || \\\" && b\" && x = }",
                Some("{ name = \"a } || \\\" && b\" }"),
            ),
            ("{", Some("{ }")),
            ("{ span.a = }", Some("{ }")),
            (
                "{ (span.a = || name = `GET`) && status = error }",
                Some("{ status = error }"),
            ),
            ("{ name = `GET` || span.a = }", None),
            ("{ name = `GET` && span.a = } || { }", None),
            ("{ name = `GET` && span.a = } >> { }", None),
            ("{ name = `GET` && span.a = } extra", None),
            ("name = `GET`", None),
            ("", None),
            ("}}", None),
        ] {
            let expected = expected.map(|query| traceql::parse(query).unwrap());
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_long_or_deep_is_no_query_either() {
        let all = traceql::parse("{ }").ok();
        assert_eq!(parse(&"{".repeat(100_000)), all);
        assert_eq!(parse(&format!("{{ {}", "(".repeat(100_000))), all);
        assert_eq!(parse(&"{ a = && ".repeat(100_000)), None);
        let long = format!("{{ {} b =", "name = `x` && ".repeat(5000));
        assert!(parse(&long).is_some());
    }
}
