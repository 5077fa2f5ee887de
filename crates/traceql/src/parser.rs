//! Tokens to a tree, checked while it grows.
//!
//! Types are checked where a node is made, since only then its place in the query is known. Recursion is bounded by
//! [`MAX_DEPTH`], and so is the depth of what comes out, whatever walks it later: `&&` and `||` make lists, and every
//! other operator counts its operands' depth.

mod field;
mod metrics;
mod types;

use crate::ast::{
    Aggregate, Arithmetic, Comparison, Field, FieldExpression, Form, Hint, Kin, Pipeline, Query,
    Relation, ScalarExpression, ScalarFilter, SpansetExpression, Stage,
};
use crate::lexer::{self, Lexer, Token, error};
use crate::pattern::Budget;
use crate::value::Static;
use crate::{MAX_DEPTH, MAX_LEN, ParseError};
use types::Type;

pub(crate) fn parse(query: &str) -> Result<Query, ParseError> {
    if query.len() > MAX_LEN {
        return Err(error(MAX_LEN, "the query is longer than 128 KiB"));
    }
    let mut parser = Parser::new(query)?;
    let query = parser.query()?;
    parser.expect_end()?;
    Ok(query)
}

pub(crate) fn parse_field(field: &str) -> Result<Field, ParseError> {
    if field.len() > MAX_LEN {
        return Err(error(MAX_LEN, "the field is longer than 128 KiB"));
    }
    let mut parser = Parser::new(field)?;
    let field = parser.field()?;
    parser.expect_end()?;
    Ok(field)
}

struct Parser<'q> {
    lexer: Lexer<'q>,
    token: Token<'q>,
    /// Where `token` begins.
    offset: usize,
    /// Brackets and prefixes around `token`.
    depth: usize,
    patterns: Budget,
    /// Whether `token` stands right after a `-`, where the least int has a magnitude that no other has.
    after_minus: bool,
    /// Where the next number begins that is a stage or begins one, once that was looked for.
    scalar_at: Option<usize>,
}

/// A spanset expression or pipeline, and how deep it is.
struct Deep<T> {
    node: T,
    depth: usize,
}

/// How a pipeline that stands in parentheses may end.
enum Ended {
    WithStage,
    /// With `| count()`, which no stage is. The offset is the aggregate's.
    WithNumber(usize),
}

impl<'q> Parser<'q> {
    fn new(query: &'q str) -> Result<Parser<'q>, ParseError> {
        let mut lexer = Lexer::new(query);
        let (offset, token) = lexer.next()?;
        Ok(Parser {
            lexer,
            token,
            offset,
            depth: 0,
            patterns: Budget::new(),
            after_minus: false,
            scalar_at: None,
        })
    }

    fn query(&mut self) -> Result<Query, ParseError> {
        let (pipeline, ended) = self.pipeline()?;
        let Pipeline { stages } = pipeline.node;
        if let Ended::WithNumber(at) = ended {
            return Err(error(
                at,
                "a number is no stage: compare it, as in `count() > 2`",
            ));
        }
        let metrics = self.metrics()?;
        let mut hints = Vec::new();
        while self.eat_word("with")? {
            hints = self.hints()?;
        }
        Ok(Query {
            pipeline: Pipeline { stages },
            metrics,
            hints,
        })
    }

    /// Stages up to what is none; a `|` before a metrics function is left where it is.
    fn pipeline(&mut self) -> Result<(Deep<Pipeline>, Ended), ParseError> {
        let mut stages = Vec::new();
        let mut depth = self.stage(&mut stages)?;
        let mut ended = Ended::WithStage;
        while self.is_mark("|") && !self.metrics_ahead()? {
            self.advance()?;
            let at = self.offset;
            let before = stages.len();
            depth = depth.max(self.stage(&mut stages)?);
            if stages.len() == before {
                ended = Ended::WithNumber(at);
                break;
            }
        }
        depth = self.deep_enough(depth + 1)?;
        let node = Pipeline { stages };
        Ok((Deep { node, depth }, ended))
    }

    /// Adds one stage, unless it is a number that nothing is compared with, and returns how deep it is.
    ///
    /// As all that calls itself by way of others, it leaves what takes room on the stack to functions of its own.
    fn stage(&mut self, stages: &mut Vec<Stage>) -> Result<usize, ParseError> {
        if self.scalar_ahead()? {
            return self.scalar_stage(stages);
        }
        if self.is_mark("{") || self.is_mark("(") {
            let spansets = self.spansets(SpansetLevel::Logic)?;
            stages.push(Stage::Spansets(spansets.node));
            return Ok(spansets.depth);
        }
        self.word_stage(stages)
    }

    fn word_stage(&mut self, stages: &mut Vec<Stage>) -> Result<usize, ParseError> {
        let is_first = stages.is_empty();
        let word = match self.token {
            Token::Word(word) => word,
            _ => "",
        };
        match word {
            "by" => {
                self.advance()?;
                self.expect("(")?;
                let at = self.offset;
                let key = self.field_expression()?;
                self.expect(")")?;
                if !key.reads_span {
                    return Err(error(
                        at,
                        "`by` needs something of the span, not only literals",
                    ));
                }
                stages.push(Stage::By(key.node));
                Ok(key.depth)
            }
            "select" => {
                self.advance()?;
                stages.push(Stage::Select(self.field_list()?));
                Ok(1)
            }
            "coalesce" if !is_first => {
                self.advance()?;
                self.expect("(")?;
                self.expect(")")?;
                stages.push(Stage::Coalesce);
                Ok(1)
            }
            _ if is_first => Err(self.unexpected("`{`, `(`, an aggregate, `by` or `select`")),
            _ => Err(self.unexpected("a stage, as `{`, `count()`, `by`, `select` or `rate()`")),
        }
    }

    fn scalar_stage(&mut self, stages: &mut Vec<Stage>) -> Result<usize, ParseError> {
        let left = self.scalar(Level::Sum)?;
        let at = self.offset;
        let Some(op) = comparison(&self.token) else {
            if stages.is_empty() {
                return Err(self.unexpected("a comparison, as in `count() > 2`"));
            }
            return Ok(left.depth);
        };
        self.advance()?;
        let right = self.scalar(Level::Sum)?;
        types::check(op.as_str(), left.ty, right.ty, at)?;
        if !left.aggregates && !right.aggregates {
            return Err(error(
                at,
                "one side has to be computed from spans, as `count()` is",
            ));
        }
        stages.push(Stage::Scalar(ScalarFilter {
            left: left.node,
            op,
            right: right.node,
        }));
        Ok(left.depth.max(right.depth) + 1)
    }

    fn spansets(&mut self, level: SpansetLevel) -> Result<Deep<SpansetExpression>, ParseError> {
        let mut left = self.spanset_operand()?;
        // The logical operator whose list `left` is, while it may still grow.
        let mut open = None;
        loop {
            match spanset_operator(&self.token) {
                Some(SpansetOperator::Logic(is_and)) if level == SpansetLevel::Logic => {
                    self.advance()?;
                    let right = self.spansets(SpansetLevel::Relation)?;
                    left = joined(left, is_and, right, open == Some(is_and));
                    open = Some(is_and);
                }
                Some(SpansetOperator::Relation(relation)) => {
                    self.advance()?;
                    let right = self.spanset_operand()?;
                    left = related(left, relation, right);
                    open = None;
                }
                Some(SpansetOperator::Logic(_)) | None => return Ok(left),
            }
            self.deep_enough(left.depth)?;
        }
    }

    fn spanset_operand(&mut self) -> Result<Deep<SpansetExpression>, ParseError> {
        match self.token {
            Token::Mark("{") => {
                let filter = self.filter()?;
                let node = SpansetExpression::Filter(filter.node);
                let depth = filter.depth;
                Ok(Deep { node, depth })
            }
            Token::Mark("(") => self.spanset_group(),
            _ => Err(self.unexpected("`{` or `(`")),
        }
    }

    fn spanset_group(&mut self) -> Result<Deep<SpansetExpression>, ParseError> {
        self.enter()?;
        self.advance()?;
        let (pipeline, ended) = self.pipeline()?;
        if let Ended::WithNumber(at) = ended {
            let why = "comparing pipelines as numbers is not supported: compare this one inside its parentheses";
            return Err(error(at, why));
        }
        self.expect(")")?;
        self.depth -= 1;
        Ok(grouped(pipeline))
    }

    /// `{ expression }`
    fn filter(&mut self) -> Result<Deep<FieldExpression>, ParseError> {
        self.expect("{")?;
        if self.is_mark("}") {
            self.advance()?;
            let node = FieldExpression::Static(Static::Bool(true));
            return Ok(Deep { node, depth: 1 });
        }
        let at = self.offset;
        let expression = self.field_expression()?;
        if !matches!(expression.ty, Type::Unknown | Type::Bool) {
            let what = expression.ty;
            return Err(error(
                at,
                format!("a filter has to be true or false, not {what}"),
            ));
        }
        if !self.is_mark("}") {
            return Err(self.unexpected("an operator or `}`"));
        }
        self.advance()?;
        Ok(Deep {
            node: expression.node,
            depth: expression.depth,
        })
    }

    /// Whether a number begins here, and no pipeline: both may begin with any number of parentheses.
    fn scalar_ahead(&mut self) -> Result<bool, ParseError> {
        if self.scalar_at.is_none_or(|at| at < self.offset) {
            self.scalar_at = self.find_scalar()?;
        }
        Ok(self.scalar_at == Some(self.offset))
    }

    /// Where the number begins that the parentheses here lead to. Those that are open where it is compared are pipelines'.
    fn find_scalar(&self) -> Result<Option<usize>, ParseError> {
        let mut lexer = self.lexer.clone();
        let (mut offset, mut token) = (self.offset, self.token.clone());
        let mut opened = Vec::new();
        while token == Token::Mark("(") && opened.len() <= MAX_DEPTH {
            opened.push(offset);
            (offset, token) = lexer.next()?;
        }
        let is_number = matches!(
            token,
            Token::Word("count" | "min" | "max" | "avg" | "sum")
                | Token::Int(_)
                | Token::Float(_)
                | Token::Duration(_)
                | Token::Mark("-")
        );
        if !is_number {
            return Ok(None);
        }
        // How many parentheses are open: those here, and others that are within the number.
        let mut leading = opened.len();
        let mut inner = 0_usize;
        let mut in_call = 0_usize;
        let mut after_word = false;
        while leading > 0 {
            match token {
                Token::Mark("(") if in_call > 0 || after_word => in_call += 1,
                Token::Mark(")") if in_call > 0 => in_call -= 1,
                Token::Mark("(") => inner += 1,
                Token::Mark(")") if inner > 0 => inner -= 1,
                Token::Mark(")") => leading -= 1,
                Token::End => break,
                Token::Mark("|") if in_call == 0 => break,
                _ if in_call == 0 && comparison(&token).is_some() => break,
                _ => {}
            }
            after_word = matches!(token, Token::Word(_));
            token = lexer.next()?.1;
        }
        Ok(Some(opened.get(leading).copied().unwrap_or(offset)))
    }

    fn scalar(&mut self, level: Level) -> Result<Scalar, ParseError> {
        let first = self.scalar_operand()?;
        self.scalar_rest(first, level)
    }

    /// The operators behind `left` that bind as tightly, with their operands. As in filters, a bracket behind an operator is
    /// no level of its own.
    fn scalar_rest(&mut self, mut left: Scalar, level: Level) -> Result<Scalar, ParseError> {
        while let Some((op, binds)) = arithmetic(&self.token) {
            if binds < level {
                break;
            }
            let at = self.offset;
            self.advance()?;
            // A power binds from the right, so its chain is a nest.
            self.enter()?;
            let level = if op == Arithmetic::Power {
                binds
            } else {
                binds.tighter()
            };
            let right = match self.is_mark("(") {
                true => {
                    let first = self.scalar_bracketed()?;
                    self.scalar_rest(first, level)?
                }
                false => self.scalar(level)?,
            };
            self.depth -= 1;
            let ty = types::check(op.as_str(), left.ty, right.ty, at)?;
            left = Scalar {
                node: ScalarExpression::Arithmetic {
                    op,
                    left: Box::new(left.node),
                    right: Box::new(right.node),
                },
                ty,
                aggregates: left.aggregates || right.aggregates,
                depth: self.deep_enough(left.depth.max(right.depth) + 1)?,
            };
        }
        Ok(left)
    }

    fn scalar_bracketed(&mut self) -> Result<Scalar, ParseError> {
        self.advance()?;
        let scalar = self.scalar(Level::Sum)?;
        self.expect(")")?;
        Ok(scalar)
    }

    fn scalar_operand(&mut self) -> Result<Scalar, ParseError> {
        let function = match self.token {
            Token::Mark("(") => {
                self.enter()?;
                let scalar = self.scalar_bracketed()?;
                self.depth -= 1;
                return Ok(scalar);
            }
            Token::Word("count") => {
                self.advance()?;
                self.expect("(")?;
                self.expect(")")?;
                return Ok(Scalar {
                    node: ScalarExpression::Count,
                    ty: Type::Int,
                    aggregates: true,
                    depth: 1,
                });
            }
            Token::Word("min") => Aggregate::Min,
            Token::Word("max") => Aggregate::Max,
            Token::Word("avg") => Aggregate::Avg,
            Token::Word("sum") => Aggregate::Sum,
            _ => {
                let (node, ty) = self.number("an aggregate or a number")?;
                return Ok(Scalar {
                    node: ScalarExpression::Static(node),
                    ty,
                    aggregates: false,
                    depth: 1,
                });
            }
        };
        self.advance()?;
        self.expect("(")?;
        let at = self.offset;
        let of = self.field_expression()?;
        self.expect(")")?;
        if !of.ty.is_number() && of.ty != Type::Unknown {
            return Err(error(
                at,
                format!("an aggregate needs a number, not {}", of.ty),
            ));
        }
        if !of.reads_span {
            return Err(error(
                at,
                "an aggregate needs something of the span, not only literals",
            ));
        }
        Ok(Scalar {
            node: ScalarExpression::Aggregate {
                function,
                of: of.node,
            },
            ty: of.ty,
            aggregates: true,
            depth: of.depth + 1,
        })
    }

    /// A literal number or duration with its sign.
    fn number(&mut self, expected: &str) -> Result<(Static, Type), ParseError> {
        let is_negative = self.eat("-")?;
        let at = self.offset;
        let number = match self.token {
            Token::Int(magnitude) => (Static::Int(signed(magnitude, is_negative, at)?), Type::Int),
            Token::Float(float) => {
                let float = if is_negative { -float } else { float };
                (Static::Float(float), Type::Float)
            }
            Token::Duration(magnitude) => {
                let nanoseconds = signed(magnitude, is_negative, at)?;
                (Static::Duration(nanoseconds), Type::Duration)
            }
            _ => return Err(self.unexpected(expected)),
        };
        self.advance()?;
        Ok(number)
    }

    fn field_list(&mut self) -> Result<Vec<Field>, ParseError> {
        self.expect("(")?;
        let mut fields = vec![self.field()?];
        while self.eat(",")? {
            fields.push(self.field()?);
        }
        if !self.is_mark(")") {
            return Err(self.unexpected("`,` or `)`"));
        }
        self.advance()?;
        Ok(fields)
    }

    fn field(&mut self) -> Result<Field, ParseError> {
        match self.eat_field()? {
            Some(field) => Ok(field),
            None => Err(self.unexpected("an attribute or intrinsic")),
        }
    }

    fn hints(&mut self) -> Result<Vec<Hint>, ParseError> {
        self.expect("(")?;
        let mut hints = Vec::new();
        loop {
            let Token::Word(name) = self.token else {
                return Err(self.unexpected("the name of a hint"));
            };
            self.advance()?;
            self.expect("=")?;
            let (value, _) = self
                .eat_literal()?
                .ok_or_else(|| self.unexpected("a literal"))?;
            let name = name.to_owned();
            hints.push(Hint { name, value });
            if !self.eat(",")? {
                break;
            }
        }
        self.expect(")")?;
        Ok(hints)
    }

    fn advance(&mut self) -> Result<(), ParseError> {
        (self.offset, self.token) = self.lexer.next()?;
        Ok(())
    }

    fn is_mark(&self, mark: &str) -> bool {
        matches!(self.token, Token::Mark(found) if found == mark)
    }

    fn eat(&mut self, mark: &str) -> Result<bool, ParseError> {
        let found = self.is_mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn eat_word(&mut self, word: &str) -> Result<bool, ParseError> {
        let found = self.token == Token::Word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: &str) -> Result<(), ParseError> {
        if self.eat(mark)? {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{mark}`")))
        }
    }

    fn expect_end(&self) -> Result<(), ParseError> {
        if self.token == Token::End {
            Ok(())
        } else {
            Err(self.unexpected("an operator, `|` or the end of the query"))
        }
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        let found = match &self.token {
            Token::End => "the end of the query".to_owned(),
            Token::Word(word) => format!("`{}`", shortened(word)),
            Token::Attribute(..) => "an attribute".to_owned(),
            Token::Intrinsic(intrinsic) => format!("`{}`", intrinsic.as_str()),
            Token::Parent => "`parent.`".to_owned(),
            Token::String(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Duration(_) => "a duration".to_owned(),
            Token::Mark(mark) => format!("`{mark}`"),
        };
        error(self.offset, format!("expected {expected}, found {found}"))
    }

    /// One more bracket or prefix around what follows.
    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        self.deep_enough(self.depth).map(drop)
    }

    fn deep_enough(&self, depth: usize) -> Result<usize, ParseError> {
        if depth > MAX_DEPTH {
            let why = format!("the query nests more than {MAX_DEPTH} levels deep");
            return Err(error(self.offset, why));
        }
        Ok(depth)
    }
}

/// A number computed from a spanset, and what is known of it.
struct Scalar {
    node: ScalarExpression,
    ty: Type,
    aggregates: bool,
    depth: usize,
}

/// `left && right` or `left || right`. If `grows`, `left` is a list of that operator which takes `right` as one more.
fn joined(
    left: Deep<SpansetExpression>,
    is_and: bool,
    right: Deep<SpansetExpression>,
    grows: bool,
) -> Deep<SpansetExpression> {
    let grown = left.depth.max(right.depth + 1);
    let node = match left.node {
        SpansetExpression::And(mut all) if grows => {
            all.push(right.node);
            SpansetExpression::And(all)
        }
        SpansetExpression::Or(mut any) if grows => {
            any.push(right.node);
            SpansetExpression::Or(any)
        }
        node => {
            let operands = vec![node, right.node];
            let depth = grown.max(left.depth + 1);
            let node = if is_and {
                SpansetExpression::And(operands)
            } else {
                SpansetExpression::Or(operands)
            };
            return Deep { node, depth };
        }
    };
    Deep { node, depth: grown }
}

fn related(
    left: Deep<SpansetExpression>,
    relation: Relation,
    right: Deep<SpansetExpression>,
) -> Deep<SpansetExpression> {
    Deep {
        depth: left.depth.max(right.depth) + 1,
        node: SpansetExpression::Related {
            left: Box::new(left.node),
            relation,
            right: Box::new(right.node),
        },
    }
}

/// What stands in parentheses; those that only group leave no trace in the tree.
fn grouped(pipeline: Deep<Pipeline>) -> Deep<SpansetExpression> {
    let Deep {
        node: mut pipeline,
        depth,
    } = pipeline;
    let node = match (pipeline.stages.pop(), pipeline.stages.is_empty()) {
        (Some(Stage::Spansets(alone)), true) => alone,
        (last, _) => {
            pipeline.stages.extend(last);
            SpansetExpression::Pipeline(pipeline)
        }
    };
    Deep { node, depth }
}

#[derive(Clone, Copy, PartialEq)]
enum SpansetLevel {
    Logic,
    Relation,
}

/// How tightly an operator of fields or scalars binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Level {
    Logic,
    Comparison,
    Sum,
    Not,
    Product,
    Power,
}

impl Level {
    fn tighter(self) -> Level {
        match self {
            Level::Logic => Level::Comparison,
            Level::Comparison => Level::Sum,
            Level::Sum => Level::Not,
            Level::Not => Level::Product,
            Level::Product | Level::Power => Level::Power,
        }
    }
}

enum SpansetOperator {
    /// `&&`, else `||`.
    Logic(bool),
    Relation(Relation),
}

fn spanset_operator(token: &Token<'_>) -> Option<SpansetOperator> {
    let Token::Mark(mark) = token else {
        return None;
    };
    let (form, kin) = match mark.as_bytes() {
        b"&&" => return Some(SpansetOperator::Logic(true)),
        b"||" => return Some(SpansetOperator::Logic(false)),
        [b'!', kin @ ..] => (Form::Not, kin),
        [b'&', kin @ ..] => (Form::Union, kin),
        kin => (Form::Right, kin),
    };
    let kin = match kin {
        b">" => Kin::Child,
        b">>" => Kin::Descendant,
        b"<" => Kin::Parent,
        b"<<" => Kin::Ancestor,
        b"~" => Kin::Sibling,
        _ => return None,
    };
    Some(SpansetOperator::Relation(Relation { kin, form }))
}

fn comparison(token: &Token<'_>) -> Option<Comparison> {
    let Token::Mark(mark) = token else {
        return None;
    };
    Some(match *mark {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(token: &Token<'_>) -> Option<(Arithmetic, Level)> {
    let Token::Mark(mark) = token else {
        return None;
    };
    Some(match *mark {
        "+" => (Arithmetic::Add, Level::Sum),
        "-" => (Arithmetic::Subtract, Level::Sum),
        "*" => (Arithmetic::Multiply, Level::Product),
        "/" => (Arithmetic::Divide, Level::Product),
        "%" => (Arithmetic::Modulo, Level::Product),
        "^" => (Arithmetic::Power, Level::Power),
        _ => return None,
    })
}

/// The magnitude and sign of a literal in 64 bits.
fn signed(magnitude: u64, is_negative: bool, at: usize) -> Result<i64, ParseError> {
    let signed = if is_negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    };
    signed.ok_or_else(|| error(at, "the number does not fit into 64 bits"))
}

/// A word of the query, at a length that suits a message.
fn shortened(word: &str) -> &str {
    word.char_indices()
        .nth(40)
        .map_or(word, |(end, _)| &word[..end])
}

fn named_intrinsic(word: &str) -> Option<Field> {
    lexer::intrinsic(word).map(Field::Intrinsic)
}
