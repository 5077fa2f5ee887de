//! What stands between the braces of a filter and in the parentheses of `by` and the aggregates.

use super::{Level, Parser, arithmetic, comparison, named_intrinsic, signed, types};
use crate::ast::{Attribute, Field, FieldExpression, Intrinsic, Scope};
use crate::lexer::{Token, error};
use crate::value::{Kind, Static, Status};
use crate::{ParseError, Pattern};
use types::Type;

/// An expression and what is known of it.
pub(super) struct Expression {
    pub(super) node: FieldExpression,
    pub(super) ty: Type,
    /// Whether any part of it depends on the span.
    pub(super) reads_span: bool,
    pub(super) depth: usize,
    /// A number without a sign or parentheses, which a sign before it becomes part of.
    magnitude: Option<u64>,
    /// Where it begins.
    at: usize,
}

impl Parser<'_> {
    pub(super) fn field_expression(&mut self) -> Result<Expression, ParseError> {
        self.binary(Level::Logic)
    }

    fn binary(&mut self, level: Level) -> Result<Expression, ParseError> {
        let first = self.prefixed()?;
        self.rest(first, level)
    }

    /// What an operator or a sign takes, to the right of it. A bracket right behind that is no level of its own, so that
    /// what prints with parentheses that it did not have is not deeper for them.
    fn binary_behind(&mut self, level: Level) -> Result<Expression, ParseError> {
        if !self.is_mark("(") {
            return self.binary(level);
        }
        let first = self.bracketed()?;
        self.rest(first, level)
    }

    /// The operators behind `left` that bind as tightly, with their operands.
    fn rest(&mut self, mut left: Expression, level: Level) -> Result<Expression, ParseError> {
        // The logical operator whose list `left` is, while it may still grow.
        let mut open = None;
        while let Some((mark, binds)) = operator(&self.token) {
            if binds < level {
                break;
            }
            let at = self.offset;
            self.advance()?;
            if matches!(mark, "=" | "!=") && self.eat_word("nil")? {
                left = self.nil_test(mark, left)?;
                open = None;
                continue;
            }
            // A power binds from the right, so its chain is a nest.
            self.enter()?;
            let right = if mark == "^" {
                self.binary_behind(binds)?
            } else {
                self.binary_behind(binds.tighter())?
            };
            self.depth -= 1;
            left = self.combined(mark, at, left, right, open == Some(mark))?;
            open = (binds == Level::Logic).then_some(mark);
        }
        Ok(left)
    }

    /// `left op right`. If `grows`, `left` is a list of that operator which takes `right` as one more.
    fn combined(
        &mut self,
        mark: &'static str,
        at: usize,
        left: Expression,
        right: Expression,
        grows: bool,
    ) -> Result<Expression, ParseError> {
        let op = Token::Mark(mark);
        let ty = types::check(mark, left.ty, right.ty, at)?;
        let reads_span = left.reads_span || right.reads_span;
        let mut depth = left.depth.max(right.depth) + 1;
        let node = match (mark, left.node) {
            ("&&", FieldExpression::And(mut all)) if grows => {
                depth = left.depth.max(right.depth + 1);
                all.push(right.node);
                FieldExpression::And(all)
            }
            ("||", FieldExpression::Or(mut any)) if grows => {
                depth = left.depth.max(right.depth + 1);
                any.push(right.node);
                FieldExpression::Or(any)
            }
            ("&&", left) => FieldExpression::And(vec![left, right.node]),
            ("||", left) => FieldExpression::Or(vec![left, right.node]),
            ("=~" | "!~", left) => {
                let FieldExpression::Static(Static::String(source)) = right.node else {
                    return Err(error(
                        right.at,
                        format!("`{mark}` needs a string on its right"),
                    ));
                };
                // A trace's id is kept without leading zeros.
                let source = match &left {
                    FieldExpression::Field(Field::Intrinsic(Intrinsic::TraceId)) => {
                        source.trim_start_matches('0')
                    }
                    _ => &source,
                };
                FieldExpression::Match {
                    value: Box::new(left),
                    negated: mark == "!~",
                    pattern: self.pattern(source, right.at)?,
                }
            }
            (_, node) => {
                let left = Box::new(node);
                let right = Box::new(right.node);
                match (comparison(&op), arithmetic(&op)) {
                    (Some(op), _) => FieldExpression::Compare { op, left, right },
                    (None, Some((op, _))) => FieldExpression::Arithmetic { op, left, right },
                    (None, None) => return Err(self.unexpected("an operator")),
                }
            }
        };
        Ok(Expression {
            node,
            ty,
            reads_span,
            depth: self.deep_enough(depth)?,
            magnitude: None,
            at: left.at,
        })
    }

    fn pattern(&mut self, source: &str, at: usize) -> Result<Pattern, ParseError> {
        let invalid = |why| error(at, format!("this regular expression is refused: {why}"));
        self.patterns.compile(source).map_err(invalid)
    }

    /// `of = nil` or `of != nil`.
    fn nil_test(&mut self, mark: &str, of: Expression) -> Result<Expression, ParseError> {
        let always = match &of.node {
            _ if mark != "=" => None,
            FieldExpression::Field(Field::Intrinsic(intrinsic)) => Some(intrinsic.as_str()),
            FieldExpression::Field(Field::Attribute(Attribute { scope, name }))
                if *scope == Some(Scope::Resource) && name == "service.name" =>
            {
                Some("resource.service.name")
            }
            _ => None,
        };
        if let Some(name) = always {
            return Err(error(of.at, format!("`{name}` is never nil")));
        }
        let operand = Box::new(of.node);
        Ok(Expression {
            node: if mark == "=" {
                FieldExpression::Missing(operand)
            } else {
                FieldExpression::Exists(operand)
            },
            ty: Type::Bool,
            reads_span: of.reads_span,
            depth: self.deep_enough(of.depth + 1)?,
            magnitude: None,
            at: of.at,
        })
    }

    fn prefixed(&mut self) -> Result<Expression, ParseError> {
        match self.token {
            Token::Mark("-") => self.prefix(Level::Sum),
            Token::Mark("!") => self.prefix(Level::Not),
            Token::Mark("(") => self.group(),
            Token::Word("nil") => self.nil_first(),
            _ => self.operand(),
        }
    }

    /// `-a` or `!a`.
    fn prefix(&mut self, level: Level) -> Result<Expression, ParseError> {
        let at = self.offset;
        self.enter()?;
        self.advance()?;
        self.after_minus = level == Level::Sum && !self.is_mark("(");
        let of = self.binary_behind(level.tighter())?;
        self.depth -= 1;
        self.prefix_of(level, at, of)
    }

    fn prefix_of(&self, level: Level, at: usize, of: Expression) -> Result<Expression, ParseError> {
        if level == Level::Sum && of.magnitude.is_some() {
            return self.negative_literal(of, at);
        }
        let fits = match level {
            Level::Sum => of.ty.is_number(),
            _ => of.ty == Type::Bool,
        };
        if !fits && of.ty != Type::Unknown {
            let op = if level == Level::Sum { "-" } else { "!" };
            return Err(error(at, format!("`{op}` does not take {}", of.ty)));
        }
        let operand = Box::new(of.node);
        Ok(Expression {
            node: match level {
                Level::Sum => FieldExpression::Negate(operand),
                _ => FieldExpression::Not(operand),
            },
            ty: of.ty,
            reads_span: of.reads_span,
            depth: self.deep_enough(of.depth + 1)?,
            magnitude: None,
            at,
        })
    }

    fn group(&mut self) -> Result<Expression, ParseError> {
        self.enter()?;
        let inner = self.bracketed()?;
        self.depth -= 1;
        Ok(inner)
    }

    /// `(a)`, which whoever calls it has counted.
    fn bracketed(&mut self) -> Result<Expression, ParseError> {
        self.advance()?;
        let mut inner = self.field_expression()?;
        if !self.is_mark(")") {
            return Err(self.unexpected("an operator or `)`"));
        }
        self.advance()?;
        inner.magnitude = None;
        Ok(inner)
    }

    fn negative_literal(&self, of: Expression, at: usize) -> Result<Expression, ParseError> {
        let magnitude = of.magnitude.unwrap_or_default();
        let node = match of.node {
            FieldExpression::Static(Static::Float(float)) => Static::Float(-float),
            FieldExpression::Static(Static::Duration(_)) => {
                Static::Duration(signed(magnitude, true, of.at)?)
            }
            _ => Static::Int(signed(magnitude, true, of.at)?),
        };
        Ok(Expression {
            node: FieldExpression::Static(node),
            magnitude: None,
            at,
            ..of
        })
    }

    fn operand(&mut self) -> Result<Expression, ParseError> {
        let at = self.offset;
        let expression = |node, ty, reads_span| Expression {
            node,
            ty,
            reads_span,
            depth: 1,
            magnitude: None,
            at,
        };
        let magnitude = match self.token {
            Token::Int(magnitude) | Token::Duration(magnitude) => Some(magnitude),
            Token::Float(_) => Some(0),
            _ => None,
        };
        if let Some((literal, ty)) = self.eat_literal()? {
            return Ok(Expression {
                magnitude,
                ..expression(FieldExpression::Static(literal), ty, false)
            });
        }
        match self.eat_field()? {
            Some(field) => {
                let ty = match &field {
                    Field::Attribute(_) => Type::Unknown,
                    Field::Intrinsic(intrinsic) => Type::of(*intrinsic),
                };
                Ok(expression(FieldExpression::Field(field), ty, true))
            }
            None => Err(self.unexpected("an attribute, an intrinsic or a literal")),
        }
    }

    /// `nil = a`, which is `a = nil`, or `nil != a`. Not even nil equals nil.
    fn nil_first(&mut self) -> Result<Expression, ParseError> {
        let at = self.offset;
        self.advance()?;
        let mark = match self.token {
            Token::Mark(mark @ ("=" | "!=")) => mark,
            _ => return Err(self.unexpected("`=` or `!=`, which is all that takes nil")),
        };
        self.advance()?;
        if self.eat_word("nil")? {
            return Ok(Expression {
                node: FieldExpression::Static(Static::Bool(false)),
                ty: Type::Bool,
                reads_span: false,
                depth: 1,
                magnitude: None,
                at,
            });
        }
        self.enter()?;
        let of = self.binary(Level::Comparison.tighter())?;
        self.depth -= 1;
        self.nil_test(mark, of)
    }

    /// A literal, if there is one here; numbers without their signs.
    pub(super) fn eat_literal(&mut self) -> Result<Option<(Static, Type)>, ParseError> {
        let at = self.offset;
        let after_minus = std::mem::take(&mut self.after_minus);
        let literal = match &self.token {
            Token::String(string) => (Static::String(string.clone().into_owned()), Type::String),
            // As a magnitude the least int fits; the greatest is one less.
            Token::Int(magnitude) if *magnitude == 1 << 63 && !after_minus => {
                return Err(error(at, "the number does not fit into 64 bits"));
            }
            Token::Int(magnitude) => (Static::Int(*magnitude as i64), Type::Int),
            Token::Float(float) => (Static::Float(*float), Type::Float),
            Token::Duration(magnitude) if *magnitude == 1 << 63 && !after_minus => {
                return Err(error(at, "the duration does not fit into 64 bits"));
            }
            Token::Duration(magnitude) => (Static::Duration(*magnitude as i64), Type::Duration),
            Token::Word(word) => match word_literal(word) {
                Some(literal) => literal,
                None => return Ok(None),
            },
            Token::End
            | Token::Attribute(..)
            | Token::Intrinsic(_)
            | Token::Parent
            | Token::Mark(_) => return Ok(None),
        };
        self.advance()?;
        Ok(Some(literal))
    }

    /// An attribute or intrinsic, if there is one here.
    pub(super) fn eat_field(&mut self) -> Result<Option<Field>, ParseError> {
        let field = match &self.token {
            Token::Parent | Token::Word("parent") => {
                return Err(error(self.offset, "`parent` is not supported"));
            }
            Token::Attribute(scope, name) => Field::Attribute(Attribute {
                scope: *scope,
                name: name.clone().into_owned(),
            }),
            Token::Intrinsic(intrinsic) => Field::Intrinsic(*intrinsic),
            Token::Word(word) => match named_intrinsic(word) {
                Some(field) => field,
                None => return Ok(None),
            },
            Token::End
            | Token::String(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Duration(_)
            | Token::Mark(_) => return Ok(None),
        };
        self.advance()?;
        Ok(Some(field))
    }
}

/// The operator between two operands, and how it binds.
fn operator(token: &Token<'_>) -> Option<(&'static str, Level)> {
    let Token::Mark(mark) = *token else {
        return None;
    };
    let binds = match mark {
        "&&" | "||" => Level::Logic,
        "=~" | "!~" => Level::Comparison,
        _ if comparison(token).is_some() => Level::Comparison,
        _ => arithmetic(token)?.1,
    };
    Some((mark, binds))
}

fn word_literal(word: &str) -> Option<(Static, Type)> {
    let status = |status| (Static::Status(status), Type::Status);
    let kind = |kind| (Static::Kind(kind), Type::Kind);
    Some(match word {
        "true" => (Static::Bool(true), Type::Bool),
        "false" => (Static::Bool(false), Type::Bool),
        "minInt" => (Static::Int(i64::MIN), Type::Int),
        "maxInt" => (Static::Int(i64::MAX), Type::Int),
        "ok" => status(Status::Ok),
        "error" => status(Status::Error),
        "unset" => status(Status::Unset),
        "unspecified" => kind(Kind::Unspecified),
        "internal" => kind(Kind::Internal),
        "server" => kind(Kind::Server),
        "client" => kind(Kind::Client),
        "producer" => kind(Kind::Producer),
        "consumer" => kind(Kind::Consumer),
        _ => return None,
    })
}
