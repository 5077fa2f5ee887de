//! Regular expressions as Go reads them, on the `regex` crate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may be, in bytes, roughly.
const MAX_COMPILED: usize = 256 * 1024;

/// How many lookups in Unicode's tables a query may need: each takes up to 0.5 ms, before the size of anything is known.
const MAX_TABLES: usize = 100;

/// A compiled regular expression that has to match a whole string.
///
/// The syntax is that of Go's RE2, which Tempo uses, where the `regex` crate's own differs: `\d`, `\w`, `\s` and `\b` know
/// only ASCII, a brace that begins no repetition is itself (`/books/{id}`), and so is a bracket within brackets. `.`
/// matches line ends too. Matching takes time linear in the text. Two patterns are equal if their texts are.
///
/// ```
/// let pattern = traceql::Pattern::new("/books/{id}(/.*)?").unwrap();
/// assert!(pattern.is_match("/books/{id}/pages"));
/// assert!(!pattern.is_match("GET /books/{id}"));
/// ```
#[derive(Clone)]
pub struct Pattern(Arc<(String, Regex)>);

impl Pattern {
    /// How many patterns a query may have.
    pub const MAX_PER_QUERY: usize = 100;

    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in a few words: it is malformed, its compiled form would be larger than 256 KiB, or it has
    /// more than 100 classes like `\pL` or 5 like `(?i)[^é]`.
    pub fn new(source: &str) -> Result<Pattern, PatternError> {
        let compiled = Budget::new().compile(source);
        compiled.map_err(|message| PatternError { message })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }

    /// Whether it matches `text` from its beginning to its end.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.1.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(source: &str) -> Result<Pattern, PatternError> {
        Pattern::new(source)
    }
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatternError {
    /// Lower case, in one line and without a full stop.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PatternError {}

/// What is left for the patterns of one query, so that all of them together take some 50 ms at most.
#[derive(Debug)]
pub(crate) struct Budget {
    compiled: usize,
    tables: usize,
}

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget {
            compiled: 0,
            tables: MAX_TABLES,
        }
    }

    /// Compiles the query's next pattern; the nth may have the nth part of the size.
    pub(crate) fn compile(&mut self, source: &str) -> Result<Pattern, String> {
        self.compiled += 1;
        if self.compiled > Pattern::MAX_PER_QUERY {
            return Err(format!("a query has at most {}", Pattern::MAX_PER_QUERY));
        }
        let translated = translate(source);
        let tables = tables(&translated);
        let left = self.tables.checked_sub(tables);
        self.tables = left.ok_or("it has too many classes of Unicode's")?;
        let compile = |pattern: &str| {
            let mut builder = RegexBuilder::new(pattern);
            builder.dot_matches_new_line(true).nest_limit(100);
            builder.size_limit(MAX_COMPILED / self.compiled);
            builder.dfa_size_limit(1 << 20).build()
        };
        // The pattern by itself first where it could close the group around it, as `a)|(b` does.
        let alone = translated.contains(')').then(|| compile(&translated));
        let whole = alone
            .transpose()
            .and_then(|_| compile(&format!("^(?:{translated})$")));
        let regex = whole.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            error => {
                // The message draws the pattern and an arrow above its last line, which says why.
                let message = error.to_string();
                let why = message.lines().last().unwrap_or_default();
                why.trim_start_matches("error: ").to_owned()
            }
        })?;
        Ok(Pattern(Arc::new((source.to_owned(), regex))))
    }
}

/// How many lookups in Unicode's tables a pattern needs, roughly.
fn tables(translated: &str) -> usize {
    let count = |part| translated.matches(part).count();
    let mut flags = translated.split("(?").skip(1);
    let ignores_case = flags.any(|flags| {
        let end = flags.find([':', ')', '<']).unwrap_or(flags.len());
        flags[..end].contains('i')
    });
    // Every character of a class is looked up then, and it may have a million.
    let wide = if !ignores_case {
        0
    } else if translated.is_ascii() && !translated.contains("\\x") {
        count("[^")
    } else {
        count("[")
    };
    count("\\p") + count("\\P") + 20 * wide
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

/// Rewrites Go's syntax as the crate's where they differ.
fn translate(source: &str) -> String {
    let mut translated = String::with_capacity(source.len() + 16);
    let mut rest = source.chars();
    let mut in_class = false;
    while let Some(char) = rest.next() {
        let ahead = rest.as_str();
        match char {
            '\\' => escape(&mut rest, in_class, &mut translated),
            '[' if !in_class => {
                in_class = true;
                translated.push('[');
                // `]` is itself at the beginning of a class, even after `^`, in both syntaxes.
                for first in ['^', ']'] {
                    if rest.as_str().starts_with(first) {
                        rest.next();
                        translated.push(first);
                    }
                }
            }
            '[' if ahead.starts_with(':') && ahead.contains(":]") => {
                let len = ahead.find(":]").map_or(0, |end| end + 2);
                translated.push('[');
                translated.push_str(&ahead[..len]);
                rest = ahead[len..].chars();
            }
            '[' | '&' | '~' if in_class => translated.extend(['\\', char]),
            // `[a--z]` would subtract.
            '-' if in_class && ahead.starts_with('-') => translated.push_str("\\-"),
            ']' if in_class => {
                in_class = false;
                translated.push(']');
            }
            '{' if !in_class && !is_repetition(ahead) => translated.push_str("\\{"),
            _ => translated.push(char),
        }
    }
    translated
}

fn escape(rest: &mut std::str::Chars<'_>, in_class: bool, translated: &mut String) {
    let ahead = rest.as_str();
    match rest.next() {
        Some('d') => translated.push_str("[0-9]"),
        Some('D') => translated.push_str("[^0-9]"),
        Some('w') => translated.push_str("[0-9A-Za-z_]"),
        Some('W') => translated.push_str("[^0-9A-Za-z_]"),
        Some('s') => translated.push_str("[\\t\\n\\f\\r ]"),
        Some('S') => translated.push_str("[^\\t\\n\\f\\r ]"),
        Some('b') if !in_class => translated.push_str("(?-u:\\b)"),
        // Between two bytes of one character is no ASCII word boundary either, and no place to be in a string.
        Some('B') if !in_class => translated.push_str("(?-u:\\b{start-half}\\b{end-half}|\\B)"),
        Some('Q') => {
            let quoted = &ahead[1..];
            let end = quoted.find("\\E").unwrap_or(quoted.len());
            translated.push_str(&regex::escape(&quoted[..end]));
            *rest = quoted[(end + 2).min(quoted.len())..].chars();
        }
        // `\<` would be the beginning of a word.
        Some(char @ ('<' | '>')) => translated.push(char),
        Some(char) => {
            translated.extend(['\\', char]);
            // The brace of `\x{e9}` and `\p{Greek}` begins no repetition.
            if matches!(char, 'x' | 'p' | 'P') && rest.as_str().starts_with('{') {
                rest.next();
                translated.push('{');
            }
        }
        None => translated.push('\\'),
    }
}

/// Whether what follows a brace makes it a repetition: `2}`, `2,}` or `2,3}`.
fn is_repetition(ahead: &str) -> bool {
    ahead.split_once('}').is_some_and(|(counts, _)| {
        let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !least.is_empty() && is_number(least) && is_number(most)
    })
}
