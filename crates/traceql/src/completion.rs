//! What may stand at a place of a query that is being typed.
//!
//! There is no second grammar here: every word of the language is tried at the place, and offered if the parser finds
//! nothing wrong with it. So types count too: after `status = ` there are statuses, and after `status ` no `>`. Names and
//! values of attributes only a store knows; here it says which ones are wanted.

mod vocabulary;

use std::ops::Range;

use crate::ast::{Attribute, Field, Intrinsic, Scope};
use crate::lexer::{self, Lexer, Token};
use crate::parse;
use vocabulary::{HINTS, QUANTILES, VOCABULARY};
pub use vocabulary::{Word, WordKind};

/// The longest query, in bytes, that anything is offered for: people do not type more.
const MAX_LEN: usize = 4096;

/// Brackets around the place: with each the parser looks further ahead.
const MAX_OPEN: usize = 20;

/// Around how many brackets a comparison is tried. Arithmetic is seldom deeper.
const MAX_COMPARED: usize = 4;

/// What may stand at a place of a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// The bytes of the query that a completion stands for: what is there already of a word, a name or a string.
    pub replaces: Range<usize>,
    /// Words of the language, whatever of them is typed already. The likely ones come first.
    pub words: Vec<&'static Word>,
    /// Whether the name of an attribute may stand here.
    pub attributes: Option<AttributesOf>,
    /// The field whose values may stand here.
    pub values: Option<ValuesOf>,
}

/// Which attributes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributesOf {
    /// No scope was typed yet.
    Every,
    /// A dot without a scope, which looks everywhere.
    Unscoped,
    /// Of this scope.
    Scope(Scope),
}

/// Which values are wanted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ValuesOf {
    /// The field that is compared.
    pub field: Field,
    /// `=`, `!~` and so on.
    pub operator: &'static str,
    /// A query for the spans that everything else in the same braces is true for.
    pub beside: Option<String>,
}

/// What may stand at this byte of a query. What stands after it is not looked at, but for the end of a word.
///
/// What people type takes a tenth of a millisecond, the longest query some ten. Nothing is offered inside of a comment, after
/// a mistake, within more than 20 brackets, in a query of more than 4 KiB, or if there is no such byte.
///
/// ```
/// let words = |query: &str| {
///     let found = traceql::complete(query, query.len());
///     found.words.iter().map(|word| word.text).collect::<Vec<_>>()
/// };
/// assert_eq!(words("{ status "), ["=", "!="]);
/// assert_eq!(words("{ status = ")[..3], ["error", "ok", "unset"]);
/// ```
pub fn complete(query: &str, offset: usize) -> Completion {
    let mut completion = Completion {
        replaces: offset..offset,
        words: Vec::new(),
        attributes: None,
        values: None,
    };
    if query.len() > MAX_LEN || !query.is_char_boundary(offset) {
        return completion;
    }
    let Some(typed) = Typed::read(&query[..offset]) else {
        return completion;
    };
    if typed.open.len() > MAX_OPEN {
        return completion;
    }
    let before = typed.before();
    let closing = typed.closing();
    completion.replaces = typed.from..word_end(query, typed.from, offset);
    let within = typed.call();
    let special = match within {
        Some("with") => HINTS,
        Some("quantile_over_time") => QUANTILES,
        _ => &[],
    };
    let values = typed.compared();
    let words = special.iter().chain(VOCABULARY).filter(|word| {
        let closing = if word.kind.is_within_brackets() {
            &closing[..]
        } else {
            &[]
        };
        typed.is_likely(word) && fits(&before, word.text, word.tails, closing, word.is_field())
    });
    completion.words = words.collect();
    if typed.ends_with_field() {
        // It is there to be compared, though a boolean would be a filter.
        let is_mark = |word: &&Word| word.kind == WordKind::Mark;
        completion.words.sort_by_key(is_mark);
    }
    let word = &query[typed.from..offset];
    let is_literal = word.starts_with(|c: char| matches!(c, '"' | '`') || c.is_ascii_digit());
    if !is_literal
        && within != Some("with")
        && fits(&before, ".x", vocabulary::AFTER_FIELD, &closing, true)
    {
        completion.attributes = Some(match word.split_once('.') {
            None => AttributesOf::Every,
            Some((scope, _)) => Scope::ALL
                .into_iter()
                .find(|known| known.as_str() == scope)
                .map_or(AttributesOf::Unscoped, AttributesOf::Scope),
        });
    }
    completion.values = values.map(|(field, operator)| ValuesOf {
        field: field.clone(),
        operator,
        beside: typed.beside(query, completion.replaces.end),
    });
    completion
}

/// A query up to where it is typed.
struct Typed<'q> {
    text: &'q str,
    tokens: Vec<Placed<'q>>,
    /// The brackets that are open, by their places in `tokens`.
    open: Vec<usize>,
    /// Where the word begins that is being typed; the end of `text` if there is none.
    from: usize,
}

struct Placed<'q> {
    range: Range<usize>,
    token: Token<'q>,
    /// What a word or attribute names.
    field: Option<Field>,
}

impl<'q> Typed<'q> {
    /// `None` inside of a comment.
    fn read(text: &'q str) -> Option<Typed<'q>> {
        let mut lexer = Lexer::new(text);
        let mut typed = Typed {
            text,
            tokens: Vec::new(),
            open: Vec::new(),
            from: text.len(),
        };
        loop {
            let start = lexer.next_start().ok()?;
            match lexer.next() {
                Ok((_, Token::End)) => break,
                Ok((_, token)) => typed.push(start..lexer.offset(), token),
                // A string or name without an end.
                Err(_) => {
                    typed.from = start;
                    return Some(typed);
                }
            }
        }
        let last = typed.tokens.last();
        let space = &text[last.map_or(0, |last| last.range.end)..];
        if space.rsplit('\n').next()?.contains("//") {
            return None;
        }
        if let Some(Placed { range, token, .. }) = last
            && range.end == text.len()
            && is_word(token)
        {
            typed.from = range.start;
            typed.tokens.pop();
        }
        Some(typed)
    }

    fn push(&mut self, range: Range<usize>, token: Token<'q>) {
        match token {
            Token::Mark("{" | "(") => self.open.push(self.tokens.len()),
            Token::Mark("}" | ")") => drop(self.open.pop()),
            _ => {}
        }
        let field = match &token {
            Token::Attribute(scope, name) => Some(Field::Attribute(Attribute {
                scope: *scope,
                name: name.clone().into_owned(),
            })),
            Token::Intrinsic(intrinsic) => Some(Field::Intrinsic(*intrinsic)),
            Token::Word(word) => lexer::intrinsic(word).map(Field::Intrinsic),
            _ => None,
        };
        self.tokens.push(Placed {
            range,
            token,
            field,
        });
    }

    /// What stands before the word. Regular expressions take long to compile, and any one fits where one does.
    fn before(&self) -> String {
        let mut before = String::with_capacity(self.from + 1);
        let mut copied = 0;
        for pair in self.tokens.windows(2) {
            let [operator, string] = pair else { continue };
            if matches!(operator.token, Token::Mark("=~" | "!~"))
                && matches!(string.token, Token::String(_))
            {
                before.push_str(&self.text[copied..string.range.start]);
                before.push_str("\"\"");
                copied = string.range.end;
            }
        }
        before.push_str(&self.text[copied..self.from]);
        // Marks would join into others.
        before.push(' ');
        before
    }

    /// The word before the parenthesis that is open.
    fn call(&self) -> Option<&'q str> {
        let open = *self.open.last()?;
        let before = &self.tokens[open.checked_sub(1)?].token;
        match (&self.tokens[open].token, before) {
            (Token::Mark("("), Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// What closes the brackets that are open.
    fn closing(&self) -> Vec<&'static str> {
        let open = self.open.iter().rev();
        let close = open.map(|open| match self.tokens[*open].token {
            Token::Mark("{") => " }",
            _ => ")",
        });
        close.collect()
    }

    /// Whether people write such a thing here. The language has more: an attribute may be compared with a status, and a
    /// comparison with another one.
    fn is_likely(&self, word: &Word) -> bool {
        let compared = self.compared().map(|(field, _)| field);
        match word.kind {
            WordKind::Status | WordKind::Kind => !matches!(compared, Some(Field::Attribute(_))),
            WordKind::Duration => matches!(
                compared,
                Some(Field::Intrinsic(
                    Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart
                ))
            ),
            // Before the first operand a `-` is a sign.
            WordKind::Operator => {
                self.has_operand() && !(self.is_compared() && is_operator_of_values(word.text))
            }
            WordKind::Stage => !self.tokens.is_empty(),
            // Any word is the name of a hint for the parser.
            WordKind::Intrinsic | WordKind::Scope | WordKind::Literal => {
                self.call() != Some("with")
            }
            WordKind::Mark | WordKind::Metrics | WordKind::Hint => true,
        }
    }

    /// Whether something ends here that an operator may follow.
    fn has_operand(&self) -> bool {
        let last = self.tokens.last().map(|last| &last.token);
        last.is_some_and(|token| !matches!(token, Token::Mark(mark) if !matches!(*mark, "}" | ")")))
    }

    /// Whether a field ends here that nothing is compared with yet.
    fn ends_with_field(&self) -> bool {
        let last = self.tokens.last();
        last.is_some_and(|last| last.field.is_some()) && !self.is_compared()
    }

    /// Whether a comparison ends here.
    fn is_compared(&self) -> bool {
        match &self.tokens[..] {
            [.., operator, value] => {
                is_comparison(&operator.token) && !matches!(value.token, Token::Mark(_))
            }
            _ => false,
        }
    }

    /// What is compared with the word, and how.
    fn compared(&self) -> Option<(&Field, &'static str)> {
        let [.., of, operator] = &self.tokens[..] else {
            return None;
        };
        match operator.token {
            Token::Mark(mark) if is_comparison(&operator.token) => Some((of.field.as_ref()?, mark)),
            _ => None,
        }
    }

    /// The filter around the comparison that is being typed, without this comparison, which ends at `end`.
    fn beside(&self, query: &str, end: usize) -> Option<String> {
        let is_filter = |open: &usize| self.tokens[*open].token == Token::Mark("{");
        let level = self.open.iter().rposition(is_filter)?;
        let filter = self.tokens[self.open[level]].range.start;
        let [.., of, _] = &self.tokens[..] else {
            return None;
        };
        let before = format!("{}true ", &query[filter..of.range.start]);
        let closed = ")".repeat(self.open.len() - level - 1);
        let rest = filter_end(query, end, self.open.len() - level);
        let rest = rest.map(|rest| format!("{before}{}", &query[end..rest]));
        let alone = format!("{before}{closed} }}");
        rest.into_iter()
            .chain([alone])
            .find(|query| parse(query).is_ok())
    }
}

/// Where so many brackets that are open at `from` are closed.
fn filter_end(query: &str, from: usize, mut open: usize) -> Option<usize> {
    let mut lexer = Lexer::new(&query[from..]);
    while open > 0 {
        match lexer.next().ok()?.1 {
            Token::Mark("{" | "(") => open += 1,
            Token::Mark("}" | ")") => open -= 1,
            Token::End => return None,
            _ => {}
        }
    }
    Some(from + lexer.offset())
}

/// Where the word ends that begins at `from` and has `offset` in it or at its end.
fn word_end(query: &str, from: usize, offset: usize) -> usize {
    if from == offset {
        return offset;
    }
    let mut lexer = Lexer::new(&query[from..]);
    let Ok((_, token)) = lexer.next() else {
        return offset;
    };
    let end = (from + lexer.offset()).max(offset);
    // A quote that was only opened takes what follows for its string.
    let is_other = |c| matches!(c, '&' | '|' | '{' | '}' | '=');
    let goes_on = is_word(&token) || matches!(token, Token::String(_));
    if goes_on && !query[offset..end].contains(is_other) {
        end
    } else {
        offset
    }
}

/// Whether more letters would make another one of it.
fn is_word(token: &Token<'_>) -> bool {
    match token {
        Token::Word(_)
        | Token::Attribute(..)
        | Token::Intrinsic(_)
        | Token::Parent
        | Token::Int(_)
        | Token::Float(_)
        | Token::Duration(_) => true,
        Token::End | Token::String(_) | Token::Mark(_) => false,
    }
}

fn is_comparison(token: &Token<'_>) -> bool {
    matches!(
        token,
        Token::Mark("=" | "!=" | "<" | "<=" | ">" | ">=" | "=~" | "!~")
    )
}

fn is_operator_of_values(operator: &str) -> bool {
    !matches!(operator, "&&" | "||")
}

/// Whether the parser finds nothing wrong with the word up to the end of one of its tails, within brackets that are closed
/// then. A number has to be compared with something; of a field, and what is computed from it, it can be asked too whether
/// it is there.
fn fits(before: &str, word: &str, tails: &[&str], closing: &[&str], is_field: bool) -> bool {
    let most = if is_field { MAX_COMPARED } else { 0 };
    let compared = (0..closing.len()).take(most);
    let compared = compared.map(|at| (at, " != nil"));
    let compared = compared.chain([(closing.len(), ""), (closing.len(), " > 1")]);
    let mut ends = compared.map(|(at, comparison)| {
        let (inner, outer) = closing.split_at(at);
        format!("{}{comparison}{}", inner.concat(), outer.concat())
    });
    ends.any(|end| {
        tails.iter().any(|tail| {
            let tried = format!("{before}{word}{tail}{end}");
            match parse(&tried) {
                Ok(_) => true,
                Err(error) => error.offset >= tried.len(),
            }
        })
    })
}
