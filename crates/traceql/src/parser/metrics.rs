//! What follows the pipeline of a metrics query.

use std::collections::HashSet;

use super::{Parser, comparison};
use crate::ast::{Field, Metrics, MetricsFunction, SecondStage};
use crate::lexer::{Token, error};
use crate::value::Static;
use crate::{MAX_GROUP_BY, ParseError};

impl Parser<'_> {
    /// Whether the `|` here is followed by a metrics function.
    pub(super) fn metrics_ahead(&self) -> Result<bool, ParseError> {
        let (_, next) = self.lexer.clone().next()?;
        Ok(matches!(
            next,
            Token::Word(
                "rate"
                    | "count_over_time"
                    | "min_over_time"
                    | "max_over_time"
                    | "sum_over_time"
                    | "avg_over_time"
                    | "quantile_over_time"
                    | "histogram_over_time"
                    | "compare"
            )
        ))
    }

    /// `| rate() by (…) | topk (3) > 10`, if it is there.
    pub(super) fn metrics(&mut self) -> Result<Option<Metrics>, ParseError> {
        if !self.eat("|")? {
            return Ok(None);
        }
        let at = self.offset;
        let function = self.metrics_function()?;
        let is_compare = matches!(function, MetricsFunction::Compare { .. });
        let by_at = self.offset;
        let by = if !is_compare && self.eat_word("by")? {
            self.field_list()?
        } else {
            Vec::new()
        };
        // Tempo keeps one of its labels for the bucket, and one for the average's weight.
        let reserved = matches!(
            function,
            MetricsFunction::AvgOverTime(_)
                | MetricsFunction::QuantileOverTime { .. }
                | MetricsFunction::HistogramOverTime(_)
        );
        let most = MAX_GROUP_BY - usize::from(reserved);
        if by.len() > most {
            let name = function.as_str();
            return Err(error(
                by_at,
                format!("`{name}` takes at most {most} fields to group by"),
            ));
        }
        let mut then = Vec::new();
        loop {
            if self.eat("|")? {
                then.push(self.selection()?);
            } else if let Some(op) = comparison(&self.token) {
                self.advance()?;
                let (value, _) = self.number("a number or duration")?;
                let value = match value {
                    Static::Int(int) => int as f64,
                    Static::Float(float) => float,
                    Static::Duration(nanoseconds) => nanoseconds as f64 / 1e9,
                    _ => return Err(self.unexpected("a number or duration")),
                };
                then.push(SecondStage::Filter { op, value });
            } else {
                break;
            }
        }
        if is_compare && !then.is_empty() {
            return Err(error(at, "nothing can be made of the series of `compare`"));
        }
        Ok(Some(Metrics { function, by, then }))
    }

    fn metrics_function(&mut self) -> Result<MetricsFunction, ParseError> {
        let Token::Word(name) = self.token else {
            return Err(self.unexpected("a metrics function"));
        };
        self.advance()?;
        self.expect("(")?;
        let function = match name {
            "rate" => MetricsFunction::Rate,
            "count_over_time" => MetricsFunction::CountOverTime,
            "min_over_time" => MetricsFunction::MinOverTime(self.field()?),
            "max_over_time" => MetricsFunction::MaxOverTime(self.field()?),
            "sum_over_time" => MetricsFunction::SumOverTime(self.field()?),
            "avg_over_time" => MetricsFunction::AvgOverTime(self.field()?),
            "histogram_over_time" => MetricsFunction::HistogramOverTime(self.field()?),
            "quantile_over_time" => self.quantiles()?,
            _ => self.compare()?,
        };
        self.expect(")")?;
        Ok(function)
    }

    fn quantiles(&mut self) -> Result<MetricsFunction, ParseError> {
        let field: Field = self.field()?;
        let (mut quantiles, mut seen) = (Vec::new(), HashSet::new());
        self.expect(",")?;
        loop {
            let quantile = match self.token {
                Token::Int(int) => int as f64,
                Token::Float(float) => float,
                _ => return Err(self.unexpected("a number from 0 to 1")),
            };
            if quantile > 1.0 {
                return Err(error(self.offset, "a quantile is from 0 to 1"));
            }
            // As in Tempo, what is there twice is one series.
            if seen.insert(quantile.to_bits()) {
                quantiles.push(quantile);
            }
            self.advance()?;
            if !self.eat(",")? {
                return Ok(MetricsFunction::QuantileOverTime { field, quantiles });
            }
        }
    }

    fn compare(&mut self) -> Result<MetricsFunction, ParseError> {
        let selection = self.filter()?.node;
        let mut top = 10;
        let mut window = None;
        if self.eat(",")? {
            top = self.at_least_one("how many values to return, at least 1")?;
            if self.eat(",")? {
                let start = self.whole("the selection's start in Unix nanoseconds")?;
                self.expect(",")?;
                let at = self.offset;
                let end = self.whole("the selection's end in Unix nanoseconds")?;
                window = match (start, end) {
                    (0, 0) => None,
                    (1.., _) if start < end => Some((start, end)),
                    _ => return Err(error(at, "the selection has to end after its start")),
                };
            }
        }
        Ok(MetricsFunction::Compare {
            selection,
            top,
            window,
        })
    }

    fn selection(&mut self) -> Result<SecondStage, ParseError> {
        let is_top = match self.token {
            Token::Word("topk") => true,
            Token::Word("bottomk") => false,
            _ => return Err(self.unexpected("`topk` or `bottomk`")),
        };
        self.advance()?;
        self.expect("(")?;
        let count = self.at_least_one("how many series, at least 1")?;
        self.expect(")")?;
        Ok(if is_top {
            SecondStage::TopK(count)
        } else {
            SecondStage::BottomK(count)
        })
    }

    fn at_least_one(&mut self, expected: &str) -> Result<u64, ParseError> {
        let at = self.offset;
        match self.whole(expected)? {
            0 => Err(error(at, format!("expected {expected}"))),
            count => Ok(count),
        }
    }

    fn whole(&mut self, expected: &str) -> Result<u64, ParseError> {
        match self.token {
            Token::Int(int) if i64::try_from(int).is_ok() => {
                self.advance()?;
                Ok(int)
            }
            _ => Err(self.unexpected(expected)),
        }
    }
}
