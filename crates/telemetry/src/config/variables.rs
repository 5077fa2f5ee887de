//! Reads variables, and remembers what is wrong with them.

use std::fmt;

use http::HeaderName;

/// Longest part of a bad value that is repeated, in characters.
const SHOWN: usize = 200;

/// A variable that cannot be used as it is. It stops nothing.
///
/// Prints as one line, whatever the value is:
/// ``OTEL_TRACES_SAMPLER_ARG: `7` is not a number from 0 to 1; using 1``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    value: Option<String>,
    wrong: String,
    used: String,
    is_unsupported: bool,
}

impl Problem {
    pub(crate) fn new(
        variable: &str,
        value: &str,
        wrong: impl Into<String>,
        used: impl Into<String>,
    ) -> Self {
        Self {
            variable: variable.to_owned(),
            value: Some(value.to_owned()),
            wrong: wrong.into(),
            used: used.into(),
            is_unsupported: false,
        }
    }

    /// A variable of the specification that nothing follows here, whatever it says.
    pub(crate) fn unsupported(variable: &str, value: &str, used: &str) -> Self {
        Self::without_use(variable, value, "is not supported", used)
    }

    /// A value that is right and yet not, or not wholly, followed.
    pub(crate) fn without_use(
        variable: &str,
        value: &str,
        wrong: &str,
        used: impl Into<String>,
    ) -> Self {
        // A header or an endpoint may have a password in it.
        let problem = match variable.ends_with("_HEADERS") || value.contains('@') {
            true => Self::secret(variable, wrong, used),
            false => Self::new(variable, value, wrong, used),
        };
        Self {
            is_unsupported: true,
            ..problem
        }
    }

    /// One whose value nobody may read in a log.
    pub(crate) fn secret(
        variable: &str,
        wrong: impl Into<String>,
        used: impl Into<String>,
    ) -> Self {
        Self {
            value: None,
            ..Self::new(variable, "", wrong, used)
        }
    }

    /// A header whose value nobody may read in a log.
    ///
    /// Its key is shown only if that is the name of a header: `Authorization: Basic dXNlcjpwYXNz=` has its secret in
    /// front of the first `=`.
    pub(crate) fn header(variable: &str, key: &str, wrong: &str, used: &str) -> Self {
        // An escape may hide anything, and a name has no use for one.
        if !key.contains('%') && key.trim().parse::<HeaderName>().is_ok() {
            Self::new(variable, key, wrong, used)
        } else {
            Self::secret(variable, format!("has a part that {wrong}"), used)
        }
    }

    /// Its name.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// Its value, or the part of it that is wrong; nothing if that may be a secret.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// What is used instead.
    pub fn used(&self) -> &str {
        &self.used
    }

    /// Whether the value may well be right, and it is only that nothing here follows the variable.
    pub fn is_unsupported(&self) -> bool {
        self.is_unsupported
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            wrong,
            used,
            is_unsupported: _,
        } = self;
        write!(f, "{variable}: ")?;
        if let Some(value) = value {
            let shown: String = value.chars().take(SHOWN).collect();
            let more = if shown.len() < value.len() { "..." } else { "" };
            write!(f, "`{}{more}` ", shown.escape_debug())?;
        }
        write!(f, "{wrong}; using {used}")
    }
}

/// The environment, or what a test says that it is.
pub(crate) struct Variables<'e> {
    lookup: &'e dyn Fn(&str) -> Option<String>,
    pub(crate) problems: Vec<Problem>,
}

impl<'e> Variables<'e> {
    pub(crate) fn new(lookup: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            problems: Vec::new(),
        }
    }

    /// To read the same variables again, and report on them apart.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.lookup)
    }

    /// The value, without blanks around it. An empty one is as if it were unset.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reads the first of several variables that has a good value. Those before it that have bad ones are reported.
    ///
    /// `none` is what is used if there is no good value, in words.
    pub(crate) fn first<T>(
        &mut self,
        names: &[&str],
        expected: &str,
        none: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let mut bad = Vec::new();
        let mut good = None;
        for name in names {
            let Some(value) = self.get(name) else {
                continue;
            };
            if let Some(parsed) = parse(&value) {
                good = Some((parsed, value));
                break;
            }
            bad.push((*name, value));
        }
        for (name, value) in bad {
            let used = good.as_ref().map_or(none, |(_, value)| value);
            self.report(Problem::new(
                name,
                &value,
                format!("is not {expected}"),
                used,
            ));
        }
        good.map(|(parsed, _)| parsed)
    }

    /// The same for what has a default that can be printed.
    pub(crate) fn read<T: fmt::Display>(
        &mut self,
        names: &[&str],
        expected: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let used = default.to_string();
        self.first(names, expected, &used, parse).unwrap_or(default)
    }

    /// A Boolean of the specification: true only if it says so.
    pub(crate) fn flag(&mut self, names: &[&str]) -> bool {
        self.read(names, "true or false", false, |value| {
            value.to_ascii_lowercase().parse().ok()
        })
    }

    /// The pairs of `key=value,key=value`, percent-decoded. If anything is no such pair none counts, as the specification of
    /// `OTEL_RESOURCE_ATTRIBUTES` has it, and each mistake is reported.
    pub(crate) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let list = self.get(name).unwrap_or_default();
        let mut pairs = Vec::new();
        let mut good = true;
        for (_, pair) in parts(&list) {
            match decode(pair) {
                Ok(pair) => pairs.push(pair),
                Err(wrong) => {
                    good = false;
                    self.report(Problem::new(name, pair, wrong, "none of it"));
                }
            }
        }
        if good { pairs } else { Vec::new() }
    }

    /// The same for headers, whose values are secret: what is no pair is left out and reported without its value, and
    /// without its name if it may have none.
    pub(crate) fn headers(&mut self, name: &str) -> Vec<(String, String)> {
        let list = self.get(name).unwrap_or_default();
        let mut pairs = Vec::new();
        for (nth, pair) in parts(&list) {
            let wrong = match decode(pair) {
                Ok((_, value)) if value.chars().all(|char| char == '=') => "has no value",
                Ok(pair) => {
                    pairs.push(pair);
                    continue;
                }
                Err(wrong) => wrong,
            };
            let rest = "the pairs that are good";
            // What has nothing behind its `=` may be a secret in base64, which ends like that.
            let key = pair
                .split_once('=')
                .filter(|(_, value)| value.contains(|char| char != '='));
            self.report(match key {
                Some((key, _)) => Problem::header(name, key, wrong, rest),
                None => {
                    let (nth, len) = (nth + 1, pair.chars().count());
                    let wrong =
                        format!("has a part, number {nth}, of {len} characters, that {wrong}");
                    Problem::secret(name, wrong, rest)
                }
            });
        }
        pairs
    }
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

/// Those of a list, with their places in it, but for empty ones.
fn parts(list: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = list.split(',').map(str::trim).enumerate();
    parts.filter(|(_, part)| !part.is_empty())
}

/// Splits and decodes a pair as W3C's baggage has it, without properties.
fn decode(pair: &str) -> Result<(String, String), &'static str> {
    let (key, value) = pair.split_once('=').ok_or("is not key=value")?;
    let text = |encoded: &str| {
        let decoded = percent_encoding::percent_decode_str(encoded.trim()).decode_utf8();
        decoded.map(|text| text.into_owned())
    };
    match (text(key), text(value)) {
        (Ok(key), _) if key.is_empty() => Err("has no key"),
        (Ok(key), Ok(value)) => Ok((key, value)),
        _ => Err("is not UTF-8 when decoded"),
    }
}
