//! Text to tokens, one at a time.
//!
//! Words, numbers, strings and comments are Go's, as in Tempo. An attribute is one token: its name ends only at white
//! space or one of `{ } ( ) = ~ ! < > & | ^ ,`, so `.a+1` is an attribute whose name is `a+1`.

use std::borrow::Cow;

use crate::ast::{Intrinsic, Scope};
use crate::{ParseError, duration};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'q> {
    End,
    Word(&'q str),
    Attribute(Option<Scope>, Cow<'q, str>),
    Intrinsic(Intrinsic),
    /// `parent.`: whatever follows.
    Parent,
    String(Cow<'q, str>),
    Int(u64),
    Float(f64),
    /// Nanoseconds, at most 2^63.
    Duration(u64),
    /// One of [`PUNCTUATION`].
    Mark(&'static str),
}

/// Longer ones before their beginnings.
const PUNCTUATION: [&str; 35] = [
    "!>>", "!<<", "&>>", "&<<", "!=", "!~", "!>", "!<", "=~", ">=", ">>", "<=", "<<", "&&", "&~",
    "&>", "&<", "||", "{", "}", "(", ")", ",", "=", "!", ">", "<", "+", "-", "*", "/", "%", "^",
    "|", "~",
];

#[derive(Clone, Debug)]
pub(crate) struct Lexer<'q> {
    query: &'q str,
    /// Where the next token is looked for.
    offset: usize,
}

impl<'q> Lexer<'q> {
    pub(crate) fn new(query: &'q str) -> Lexer<'q> {
        Lexer { query, offset: 0 }
    }

    /// Where the last token ended.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Where the next token begins, even if it is none.
    pub(crate) fn next_start(&mut self) -> Result<usize, ParseError> {
        self.skip_space()?;
        Ok(self.offset)
    }

    /// The next token and where it begins.
    pub(crate) fn next(&mut self) -> Result<(usize, Token<'q>), ParseError> {
        self.skip_space()?;
        let start = self.offset;
        let rest = &self.query[start..];
        let Some(first) = rest.chars().next() else {
            return Ok((start, Token::End));
        };
        let second = rest[first.len_utf8()..].chars().next();
        let token = match first {
            '"' => self.interpreted_string()?,
            '`' => self.raw_string()?,
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                self.offset += 1;
                Token::Attribute(None, self.attribute_name()?)
            }
            '.' | '0'..='9' => self.number()?,
            '_' => self.word()?,
            _ if first.is_alphabetic() => self.word()?,
            _ => match PUNCTUATION.iter().find(|mark| rest.starts_with(**mark)) {
                Some(mark) => self.mark(mark),
                None => return Err(error(start, format!("unexpected character {first:?}"))),
            },
        };
        Ok((start, token))
    }

    fn mark(&mut self, mark: &'static str) -> Token<'q> {
        self.offset += mark.len();
        Token::Mark(mark)
    }

    fn skip_space(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.query[self.offset..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.offset += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.offset += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let end = comment.find("*/");
                let end = end.ok_or_else(|| error(self.offset, "the comment has no end"))?;
                self.offset += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Result<Token<'q>, ParseError> {
        let start = self.offset;
        let word = self.take_word();
        let after = self.query[self.offset..].bytes().next();
        let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
        match (after, scope) {
            (Some(b'.'), _) if word == "parent" => {
                self.offset += 1;
                Ok(Token::Parent)
            }
            (Some(b'.'), Some(scope)) => {
                self.offset += 1;
                let name = self.attribute_name()?;
                Ok(Token::Attribute(Some(scope), name))
            }
            (Some(b':'), _) if word == "trace" || scope.is_some_and(|s| s != Scope::Resource) => {
                self.offset += 1;
                self.skip_space()?;
                let name = self.take_word();
                let intrinsic = scoped_intrinsic(word, name).ok_or_else(|| {
                    error(start, format!("there is no intrinsic `{word}:{name}`"))
                })?;
                Ok(Token::Intrinsic(intrinsic))
            }
            _ => Ok(Token::Word(word)),
        }
    }

    fn take_word(&mut self) -> &'q str {
        let rest = &self.query[self.offset..];
        let end = rest.find(|c: char| !(c == '_' || c.is_alphanumeric()));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.offset += word.len();
        word
    }

    /// Bare and quoted pieces up to the first character that belongs to no name.
    fn attribute_name(&mut self) -> Result<Cow<'q, str>, ParseError> {
        let start = self.offset;
        let rest = &self.query[start..];
        let end = rest
            .find(|c| c == '"' || !is_name_char(c))
            .unwrap_or(rest.len());
        self.offset += end;
        if !rest[end..].starts_with('"') {
            return if end == 0 {
                Err(error(start, "expected the name of an attribute"))
            } else {
                Ok(Cow::Borrowed(&rest[..end]))
            };
        }
        let mut name = rest[..end].to_owned();
        while let Some(c) = self.query[self.offset..].chars().next() {
            if c == '"' {
                self.quoted_part(&mut name)?;
            } else if is_name_char(c) {
                self.offset += c.len_utf8();
                name.push(c);
            } else {
                break;
            }
        }
        Ok(Cow::Owned(name))
    }

    fn quoted_part(&mut self, name: &mut String) -> Result<(), ParseError> {
        let start = self.offset;
        let mut chars = self.query[start + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.offset = start + 1 + at + 1;
                    return Ok(());
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => name.push(c),
                    _ => {
                        let why = "in the name of an attribute only \\\" and \\\\ are escapes";
                        return Err(error(start + 1 + at, why));
                    }
                },
                _ => name.push(c),
            }
        }
        Err(error(start, "the quoted name has no end"))
    }

    fn raw_string(&mut self) -> Result<Token<'q>, ParseError> {
        let start = self.offset + 1;
        let end = self.query[start..].find('`');
        let end = end.ok_or_else(|| error(self.offset, "the string has no end"))?;
        self.offset = start + end + 1;
        let text = &self.query[start..start + end];
        Ok(Token::String(if text.contains('\r') {
            Cow::Owned(text.replace('\r', ""))
        } else {
            Cow::Borrowed(text)
        }))
    }

    fn interpreted_string(&mut self) -> Result<Token<'q>, ParseError> {
        let start = self.offset + 1;
        let rest = &self.query[start..];
        let plain = rest.find(['"', '\\', '\n']).unwrap_or(rest.len());
        if rest[plain..].starts_with('"') {
            self.offset = start + plain + 1;
            return Ok(Token::String(Cow::Borrowed(&rest[..plain])));
        }
        // Bytes, because `\xc3\xa9` is one character.
        let mut bytes = rest.as_bytes()[..plain].to_vec();
        let mut chars = rest[plain..].char_indices();
        loop {
            match chars.next() {
                Some((at, '"')) => {
                    self.offset = start + plain + at + 1;
                    let text = String::from_utf8(bytes);
                    let text = text.map_err(|_| error(start - 1, "the string is not UTF-8"))?;
                    return Ok(Token::String(Cow::Owned(text)));
                }
                Some((at, '\\')) => {
                    if !unescape(&mut chars, &mut bytes) {
                        return Err(error(start + plain + at, "there is no such escape"));
                    }
                }
                None | Some((_, '\n')) => {
                    return Err(error(start - 1, "the string has no end in its line"));
                }
                Some((_, c)) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }

    fn number(&mut self) -> Result<Token<'q>, ParseError> {
        let start = self.offset;
        let rest = &self.query[start..];
        let digits = |from: usize| {
            let bytes = rest.as_bytes();
            from + bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut end = digits(0);
        let mut is_float = false;
        if rest[end..].starts_with('.') {
            is_float = true;
            end = digits(end + 1);
        }
        // A duration goes on with units; where it is none, the number ends and what follows is a mistake of its own.
        let unit = |c: char| matches!(c, 'n' | 's' | 'u' | 'm' | 'h' | 'µ' | 'd' | 'w' | 'y');
        let tail = rest[end..].find(|c: char| !(unit(c) || c.is_ascii_digit() || c == '.'));
        let tail = end + tail.unwrap_or(rest.len() - end);
        if tail > end {
            if let Some(nanoseconds) = duration::parse(&rest[..tail]) {
                self.offset += tail;
                return Ok(Token::Duration(nanoseconds));
            }
            // What goes on as a word begins with one: `.5with (…)` ends a query too.
            let goes_on = |c: char| c == '_' || c.is_alphanumeric();
            if !rest[tail..].starts_with(goes_on) {
                let why = "not a duration, or one of more than 292 years";
                return Err(error(start, why));
            }
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                is_float = true;
                end = exponent;
            }
        }
        self.offset += end;
        let text = &rest[..end];
        if is_float {
            let float = text.parse().ok().filter(|float: &f64| float.is_finite());
            return float
                .map(Token::Float)
                .ok_or_else(|| error(start, "the number is too large"));
        }
        let int = text.parse().ok().filter(|int| *int <= 1 << 63);
        int.map(Token::Int)
            .ok_or_else(|| error(start, "the number does not fit into 64 bits"))
    }
}

/// Whether a bare name may contain it; a quote is looked at before.
pub(crate) fn is_name_char(c: char) -> bool {
    let ends = [
        '{', '}', '(', ')', '=', '~', '!', '<', '>', '&', '|', '^', ',',
    ];
    !c.is_whitespace() && !ends.contains(&c)
}

/// The intrinsic that a word without a scope names.
pub(crate) fn intrinsic(word: &str) -> Option<Intrinsic> {
    Some(match word {
        "duration" => Intrinsic::Duration,
        "name" => Intrinsic::Name,
        "status" => Intrinsic::Status,
        "statusMessage" => Intrinsic::StatusMessage,
        "kind" => Intrinsic::Kind,
        "traceDuration" => Intrinsic::TraceDuration,
        "rootName" => Intrinsic::RootName,
        "rootServiceName" => Intrinsic::RootServiceName,
        "nestedSetParent" => Intrinsic::NestedSetParent,
        "nestedSetLeft" => Intrinsic::NestedSetLeft,
        "nestedSetRight" => Intrinsic::NestedSetRight,
        _ => return None,
    })
}

fn scoped_intrinsic(scope: &str, name: &str) -> Option<Intrinsic> {
    Some(match (scope, name) {
        ("trace", "duration") => Intrinsic::TraceDuration,
        ("trace", "rootName") => Intrinsic::RootName,
        ("trace", "rootService") => Intrinsic::RootServiceName,
        ("trace", "id") => Intrinsic::TraceId,
        ("span", "duration") => Intrinsic::Duration,
        ("span", "name") => Intrinsic::Name,
        ("span", "kind") => Intrinsic::Kind,
        ("span", "status") => Intrinsic::Status,
        ("span", "statusMessage") => Intrinsic::StatusMessage,
        ("span", "id") => Intrinsic::SpanId,
        ("span", "parentID") => Intrinsic::ParentId,
        ("span", "childCount") => Intrinsic::ChildCount,
        ("event", "name") => Intrinsic::EventName,
        ("event", "timeSinceStart") => Intrinsic::EventTimeSinceStart,
        ("link", "traceID") => Intrinsic::LinkTraceId,
        ("link", "spanID") => Intrinsic::LinkSpanId,
        ("instrumentation", "name") => Intrinsic::InstrumentationName,
        ("instrumentation", "version") => Intrinsic::InstrumentationVersion,
        _ => return None,
    })
}

/// What stands after a backslash, as Go has it. False if that is no escape.
fn unescape(chars: &mut std::str::CharIndices<'_>, bytes: &mut Vec<u8>) -> bool {
    let Some((_, first)) = chars.next() else {
        return false;
    };
    let mut digits = |count: usize, radix: u32, value: u32| {
        (0..count).try_fold(value, |value, _| {
            let digit = chars.next()?.1.to_digit(radix)?;
            Some(value * radix + digit)
        })
    };
    let byte = |value: Option<u32>| value.and_then(|value| u8::try_from(value).ok());
    let byte = match first {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' | '"' => Some(first as u8),
        'x' => byte(digits(2, 16, 0)),
        '0'..='7' => byte(digits(2, 8, first as u32 - '0' as u32)),
        'u' | 'U' => {
            let count = if first == 'u' { 4 } else { 8 };
            let Some(char) = digits(count, 16, 0).and_then(char::from_u32) else {
                return false;
            };
            bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
            return true;
        }
        _ => None,
    };
    bytes.extend(byte);
    byte.is_some()
}

pub(crate) fn error(offset: usize, message: impl Into<String>) -> ParseError {
    ParseError {
        offset,
        message: message.into(),
    }
}
