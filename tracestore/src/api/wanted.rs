//! What Tempo's search took before there was TraceQL: tags that a trace has, and how long it took.
//!
//! It becomes a query. A trace has a tag if any of its spans or resources has it. Of a text a part is enough, of which
//! Tempo is sure only where it has a column; a number or a boolean is meant as a whole.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write};

use super::{Refusal, series};

/// Nothing, if nothing is set.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Values by names.
    pub(super) tags: BTreeMap<String, String>,
    /// Nanoseconds.
    pub(super) min_duration: Option<u64>,
    pub(super) max_duration: Option<u64>,
}

impl Wanted {
    /// The time that a parameter says, e.g. `100ms`.
    pub(super) fn duration(name: &str, value: Option<&str>) -> Result<Option<u64>, Refusal> {
        let parse = |value: &str| {
            let nanoseconds = series::units(value).filter(|time| *time < 9.2e18);
            nanoseconds.map(|time| time as u64).ok_or_else(|| {
                let value = value.escape_debug();
                Refusal::bad_request(format!("invalid {name}: \"{value}\" is not a duration"))
            })
        };
        value.map(parse).transpose()
    }

    /// Reads e.g. `service.name=shop http.url="/a b"`: <https://brandur.org/logfmt>.
    pub(super) fn logfmt(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
        let mut tags = BTreeMap::new();
        let mut rest = text;
        let at = |rest: &str| text.len() - rest.len() + 1;
        let unexpected = |rest: &str| {
            let found = rest.chars().next().unwrap_or(' ').escape_debug();
            Refusal::bad_request(format!(
                "invalid tags: unexpected '{found}' at pos {}",
                at(rest)
            ))
        };
        loop {
            rest = rest.trim_start_matches(is_space);
            if rest.is_empty() {
                return Ok(tags);
            }
            let key;
            (key, rest) = split_at(rest, |c| c == '=' || c == '"' || is_space(c));
            if key.is_empty() || rest.starts_with('"') {
                return Err(unexpected(rest));
            }
            let mut value = Cow::Borrowed("");
            if let Some(after) = rest.strip_prefix('=') {
                if after.starts_with('"') {
                    let end = end_of_quoted(after).ok_or_else(|| {
                        let at = at(after) + after.len();
                        Refusal::bad_request(format!(
                            "invalid tags: unterminated quoted value at pos {at}"
                        ))
                    })?;
                    let quoted;
                    (quoted, rest) = after.split_at(end);
                    let unquoted = serde_json::from_str(quoted).map_err(|_| {
                        let at = at(rest);
                        Refusal::bad_request(format!(
                            "invalid tags: invalid quoted value at pos {at}"
                        ))
                    })?;
                    value = Cow::Owned(unquoted);
                } else {
                    let plain;
                    (plain, rest) = split_at(after, |c| c == '=' || c == '"' || is_space(c));
                    if rest.starts_with(['=', '"']) {
                        return Err(unexpected(rest));
                    }
                    value = Cow::Borrowed(plain);
                }
            }
            if tags.insert(key.to_owned(), value.into_owned()).is_some() {
                let key = key.escape_debug();
                return Err(Refusal::bad_request(format!(
                    "invalid tags: tag {key} has been set twice"
                )));
            }
        }
    }

    /// `None` if nothing is wanted.
    pub(super) fn query(&self) -> Result<Option<traceql::Query>, Refusal> {
        if let (Some(min), Some(max)) = (self.min_duration, self.max_duration)
            && min > max
        {
            return Err(Refusal::bad_request(
                "invalid maxDuration: must be greater than minDuration",
            ));
        }
        let mut filters = Vec::new();
        for (key, value) in &self.tags {
            filters.push(filter(key, value)?);
        }
        for (op, time) in [(">=", self.min_duration), ("<=", self.max_duration)] {
            if let Some(time) = time {
                filters.push(format!("traceDuration {op} {time}ns"));
            }
        }
        if filters.is_empty() {
            return Ok(None);
        }
        let mut text = String::new();
        for (number, filter) in filters.iter().enumerate() {
            let and = if number == 0 { "" } else { " && " };
            let _ = write!(text, "{and}{{ {filter} }}");
        }
        let query = traceql::parse(&text).map_err(|error| {
            let message = error.message;
            Refusal::bad_request(format!("invalid tags: {message}"))
        })?;
        Ok(Some(query))
    }
}

fn is_space(c: char) -> bool {
    c <= ' '
}

fn split_at(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

/// The byte behind the closing quote of a text that begins with one.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn filter(key: &str, value: &str) -> Result<String, Refusal> {
    let part_of = |field: &str| {
        format!(
            "{field} =~ {}",
            quoted(&format!(".*{}.*", regex::escape(value)))
        )
    };
    Ok(match key {
        "name" => part_of("name"),
        "service.name" => part_of("resource.service.name"),
        "root.name" => part_of("rootName"),
        "root.service.name" => part_of("rootServiceName"),
        "status.code" if ["unset", "ok", "error"].contains(&value) => format!("status = {value}"),
        "status.code" => {
            return Err(Refusal::bad_request(
                "invalid tags: status.code is one of unset, ok and error",
            ));
        }
        key => {
            let key = quoted(key);
            let mut any = Vec::new();
            for scope in ["span", "resource"] {
                let field = format!("{scope}.{key}");
                any.push(part_of(&field));
                if matches!(value, "true" | "false") || value.parse::<i64>().is_ok() {
                    any.push(format!("{field} = {value}"));
                }
            }
            any.join(" || ")
        }
    })
}

/// As a string of TraceQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_names_and_values() {
        for (text, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("a=b", &[("a", "b")]),
            (
                "a=b  c.d=e/f\nlast",
                &[("a", "b"), ("c.d", "e/f"), ("last", "")],
            ),
            ("a= b=\"\"", &[("a", ""), ("b", "")]),
            (
                "a=\"b c\" d=\"\\\"e\\\\\\u00e9\"",
                &[("a", "b c"), ("d", "\"e\\\u{e9}")],
            ),
            ("\u{e9}=\u{1F980}", &[("\u{e9}", "\u{1F980}")]),
        ] {
            let tags = Wanted::logfmt(text).unwrap();
            let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(tags, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_tags_is_said_with_its_place() {
        for (text, expected) in [
            ("=b", "unexpected '=' at pos 1"),
            ("a\"=b", "unexpected '\\\"' at pos 2"),
            ("a=b=c", "unexpected '=' at pos 4"),
            ("a=b\"", "unexpected '\\\"' at pos 4"),
            ("a=\"b", "unterminated quoted value at pos 5"),
            ("a=\"\\x\"", "invalid quoted value at pos 7"),
            ("a=b a=c", "tag a has been set twice"),
        ] {
            let refusal = Wanted::logfmt(text).unwrap_err();
            assert_eq!(
                refusal.message,
                format!("invalid tags: {expected}"),
                "{text:?}"
            );
        }
    }

    fn query(tags: &str, min: Option<&str>, max: Option<&str>) -> Result<String, String> {
        let wanted = || {
            Wanted {
                tags: Wanted::logfmt(tags)?,
                min_duration: Wanted::duration("minDuration", min)?,
                max_duration: Wanted::duration("maxDuration", max)?,
            }
            .query()
        };
        match wanted() {
            Ok(query) => Ok(query.map_or(String::new(), |query| query.to_string())),
            Err(refusal) => Err(refusal.message),
        }
    }

    #[test]
    fn tags_and_durations_become_a_query() {
        for (tags, min, max, expected) in [
            ("", None, None, ""),
            (
                "service.name=a.b",
                None,
                None,
                "{ resource.service.name =~ `.*a\\.b.*` }",
            ),
            (
                "status.code=error",
                Some("1.5ms"),
                None,
                "{ status = error } && { traceDuration >= 1.5ms }",
            ),
            (
                "",
                Some("1s"),
                Some("1m"),
                "{ traceDuration >= 1s } && { traceDuration <= 1m0s }",
            ),
            (
                "a=b",
                None,
                None,
                "{ span.a =~ `.*b.*` || resource.a =~ `.*b.*` }",
            ),
            (
                "a=1",
                None,
                None,
                "{ span.a =~ `.*1.*` || span.a = 1 || resource.a =~ `.*1.*` || resource.a = 1 }",
            ),
        ] {
            let parsed = traceql::parse(expected).map(|query| query.to_string());
            assert_eq!(
                query(tags, min, max),
                Ok(parsed.unwrap_or_default()),
                "{tags}"
            );
        }
        for (tags, min, max, expected) in [
            ("status.code=2", None, None, "status.code is one of"),
            (
                "",
                Some("2s"),
                Some("1s"),
                "must be greater than minDuration",
            ),
            (
                "",
                Some("1"),
                None,
                "invalid minDuration: \"1\" is not a duration",
            ),
            ("", None, Some("99999999y"), "invalid maxDuration"),
        ] {
            let error = query(tags, min, max).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
