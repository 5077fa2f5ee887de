//! Trees to text that parses back to the same tree: no parenthesis that it prints with makes it too deep.
//!
//! Field expressions print as in Tempo, which names groups and aggregates in its answers by them: operands that are
//! neither literals nor fields stand in parentheses.

use std::fmt::{self, Display, Formatter, Write};

use crate::ast::{
    Aggregate, Attribute, Field, FieldExpression, Form, Hint, Intrinsic, Kin, Metrics,
    MetricsFunction, Pipeline, Query, Relation, ScalarExpression, SecondStage, SpansetExpression,
    Stage,
};
use crate::duration::Go;
use crate::lexer::is_name_char;
use crate::value::Static;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pipeline)?;
        if let Some(metrics) = &self.metrics {
            write!(f, " | {metrics}")?;
        }
        if !self.hints.is_empty() {
            f.write_str(" with (")?;
            list(f, &self.hints, ", ")?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        list(f, &self.stages, " | ")
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Spansets(spansets) => write!(f, "{spansets}"),
            Stage::Scalar(filter) => {
                write!(f, "{} {} {}", filter.left, filter.op.as_str(), filter.right)
            }
            Stage::By(key) => write!(f, "by({key})"),
            Stage::Coalesce => f.write_str("coalesce()"),
            Stage::Select(fields) => {
                f.write_str("select(")?;
                list(f, fields, ", ")?;
                f.write_char(')')
            }
        }
    }
}

impl Display for SpansetExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SpansetExpression::Filter(filter) => write!(f, "{{ {filter} }}"),
            SpansetExpression::And(all) => list_of(f, all, " && ", spanset_operand),
            SpansetExpression::Or(any) => list_of(f, any, " || ", spanset_operand),
            SpansetExpression::Related {
                left,
                relation,
                right,
            } => {
                spanset_operand(f, left)?;
                write!(f, " {relation} ")?;
                spanset_operand(f, right)
            }
            SpansetExpression::Pipeline(pipeline) => match &pipeline.stages[..] {
                // Its parentheses would be taken for ones that only group.
                [Stage::Spansets(alone)] => write!(f, "{alone}"),
                _ => write!(f, "({pipeline})"),
            },
        }
    }
}

fn spanset_operand(f: &mut Formatter<'_>, operand: &SpansetExpression) -> fmt::Result {
    match operand {
        SpansetExpression::Filter(_) => write!(f, "{operand}"),
        SpansetExpression::Pipeline(pipeline) => match &pipeline.stages[..] {
            [Stage::Spansets(alone)] => spanset_operand(f, alone),
            _ => write!(f, "{operand}"),
        },
        SpansetExpression::And(_)
        | SpansetExpression::Or(_)
        | SpansetExpression::Related { .. } => write!(f, "({operand})"),
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::Right => "",
            Form::Not => "!",
            Form::Union => "&",
        })?;
        f.write_str(match self.kin {
            Kin::Child => ">",
            Kin::Descendant => ">>",
            Kin::Parent => "<",
            Kin::Ancestor => "<<",
            Kin::Sibling => "~",
        })
    }
}

impl Display for ScalarExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ScalarExpression::Static(number) => write!(f, "{number}"),
            ScalarExpression::Count => f.write_str("count()"),
            ScalarExpression::Aggregate { function, of } => write!(f, "{function}({of})"),
            ScalarExpression::Arithmetic { op, left, right } => {
                scalar_operand(f, left)?;
                write!(f, " {} ", op.as_str())?;
                scalar_operand(f, right)
            }
        }
    }
}

fn scalar_operand(f: &mut Formatter<'_>, operand: &ScalarExpression) -> fmt::Result {
    match operand {
        ScalarExpression::Arithmetic { .. } => write!(f, "({operand})"),
        ScalarExpression::Static(_)
        | ScalarExpression::Count
        | ScalarExpression::Aggregate { .. } => write!(f, "{operand}"),
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Avg => "avg",
            Aggregate::Sum => "sum",
        })
    }
}

impl Display for FieldExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            FieldExpression::Static(literal) => write!(f, "{literal}"),
            FieldExpression::Field(field) => write!(f, "{field}"),
            FieldExpression::And(all) => list_of(f, all, " && ", operand),
            FieldExpression::Or(any) => list_of(f, any, " || ", operand),
            FieldExpression::Compare { op, left, right } => binary(f, left, op.as_str(), right),
            FieldExpression::Arithmetic { op, left, right } => binary(f, left, op.as_str(), right),
            FieldExpression::Match {
                value,
                negated,
                pattern,
            } => {
                operand(f, value)?;
                f.write_str(if *negated { " !~ " } else { " =~ " })?;
                string(f, pattern.as_str())
            }
            FieldExpression::Exists(of) => {
                operand(f, of)?;
                f.write_str(" != nil")
            }
            FieldExpression::Missing(of) => {
                operand(f, of)?;
                f.write_str(" = nil")
            }
            FieldExpression::Not(of) => {
                f.write_char('!')?;
                operand(f, of)
            }
            FieldExpression::Negate(of) => {
                f.write_char('-')?;
                match &**of {
                    // Without parentheses the sign would become the literal's own.
                    FieldExpression::Static(literal) => write!(f, "({literal})"),
                    of => operand(f, of),
                }
            }
        }
    }
}

fn binary(
    f: &mut Formatter<'_>,
    left: &FieldExpression,
    op: &str,
    right: &FieldExpression,
) -> fmt::Result {
    match left {
        // A sign binds looser than what may follow.
        FieldExpression::Static(literal) if is_negative(literal) => write!(f, "({literal})")?,
        left => operand(f, left)?,
    }
    write!(f, " {op} ")?;
    operand(f, right)
}

fn operand(f: &mut Formatter<'_>, operand: &FieldExpression) -> fmt::Result {
    match operand {
        FieldExpression::Static(_) | FieldExpression::Field(_) => write!(f, "{operand}"),
        _ => write!(f, "({operand})"),
    }
}

fn is_negative(literal: &Static) -> bool {
    match literal {
        // The least int prints as a word.
        Static::Int(int) => *int < 0 && *int != i64::MIN,
        Static::Float(float) => float.is_sign_negative(),
        Static::Duration(nanoseconds) => *nanoseconds < 0,
        Static::Nil
        | Static::String(_)
        | Static::Bool(_)
        | Static::Status(_)
        | Static::Kind(_)
        | Static::Array(_) => false,
    }
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Static::Nil => f.write_str("nil"),
            Static::Int(i64::MIN) => f.write_str("minInt"),
            Static::Int(int) => write!(f, "{int}"),
            Static::Float(float) => write!(f, "{float:?}"),
            Static::String(text) => string(f, text),
            Static::Bool(bool) => write!(f, "{bool}"),
            Static::Duration(nanoseconds) => write!(f, "{}", Go(*nanoseconds)),
            Static::Status(status) => write!(f, "{status}"),
            Static::Kind(kind) => write!(f, "{kind}"),
            Static::Array(items) => {
                f.write_char('[')?;
                list(f, items, ", ")?;
                f.write_char(']')
            }
        }
    }
}

/// In backticks, as Tempo prints it, unless these would change it.
fn string(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    if !text.contains(['`', '\r']) {
        return write!(f, "`{text}`");
    }
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Field::Attribute(attribute) => write!(f, "{attribute}"),
            Field::Intrinsic(intrinsic) => write!(f, "{intrinsic}"),
        }
    }
}

impl Display for Intrinsic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scope = self.scope.map_or("", |scope| scope.as_str());
        write!(f, "{scope}.")?;
        let bare = |c: char| is_name_char(c) && c != '"';
        // `.5` is a number.
        let is_number = self.scope.is_none() && self.name.starts_with(|c: char| c.is_ascii_digit());
        if !self.name.is_empty() && self.name.chars().all(bare) && !is_number {
            return f.write_str(&self.name);
        }
        f.write_char('"')?;
        for c in self.name.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.function)?;
        if !self.by.is_empty() {
            f.write_str(" by(")?;
            list(f, &self.by, ", ")?;
            f.write_char(')')?;
        }
        self.then.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.as_str())?;
        if let Some(field) = self.field() {
            write!(f, "{field}")?;
        }
        if let MetricsFunction::QuantileOverTime { quantiles, .. } = self {
            quantiles
                .iter()
                .try_for_each(|quantile| write!(f, ", {quantile:?}"))?;
        }
        if let MetricsFunction::Compare {
            selection,
            top,
            window,
        } = self
        {
            write!(f, "{{ {selection} }}, {top}")?;
            if let Some((start, end)) = window {
                write!(f, ", {start}, {end}")?;
            }
        }
        f.write_char(')')
    }
}

impl Display for SecondStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SecondStage::TopK(count) => write!(f, "| topk({count})"),
            SecondStage::BottomK(count) => write!(f, "| bottomk({count})"),
            SecondStage::Filter { op, value } => {
                let op = op.as_str();
                if value.fract() == 0.0
                    && value.abs() < 1e15
                    && !(*value == 0.0 && value.is_sign_negative())
                {
                    write!(f, "{op} {value}")
                } else {
                    write!(f, "{op} {value:?}")
                }
            }
        }
    }
}

impl Display for Hint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    list_of(f, items, separator, |f, item| write!(f, "{item}"))
}

fn list_of<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    print: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        print(f, item)?;
    }
    Ok(())
}
