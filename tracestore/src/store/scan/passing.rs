//! The codes of values that pass a test.

use std::ops::Range;

use crate::{
    query::{Comparison, Operand, Test},
    span::Value,
    store::{
        column::Dictionary,
        part::{Damaged, Values},
        value::{self, Type},
    },
};

/// The codes of values that pass a test.
#[derive(Debug, PartialEq)]
pub(super) enum Passing {
    Ranges(Vec<Range<u32>>),
    /// By code.
    Set(Vec<bool>),
}

impl Passing {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Passing::Ranges(ranges) => ranges.iter().all(Range::is_empty),
            Passing::Set(set) => !set.contains(&true),
        }
    }
}

/// The codes of the values that pass: mostly found by bisection, since values ascend.
pub(super) fn passing(values: &Values<'_>, test: &Test) -> Result<Passing, Damaged> {
    let code = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let mut ranges = Vec::new();
    match test {
        Test::Present => {
            let scalars = of_type(values, Type::Bool)?.start..of_type(values, Type::String)?.end;
            ranges.extend([scalars, of_type(values, Type::Array)?]);
        }
        Test::Matches(_) | Test::MatchesNot(_) => {
            let mut set = vec![false];
            set.extend(values.whole()?.iter().map(|value| passes(value, test)));
            return Ok(Passing::Set(set));
        }
        Test::Compare(comparison, operand) => {
            for (
                of,
                Range {
                    start: less,
                    end: more,
                },
            ) in positions(values, operand)?
            {
                let all = of_type(values, of)?;
                let ordered = without_nans(values, of, &all)?;
                match comparison {
                    Comparison::Equal => ranges.push(less..more),
                    Comparison::NotEqual => ranges.extend([all.start..less, more..all.end]),
                    Comparison::Less => ranges.push(ordered.start..less),
                    Comparison::LessOrEqual => ranges.push(ordered.start..more),
                    Comparison::Greater => ranges.push(more..ordered.end),
                    Comparison::GreaterOrEqual => ranges.push(less..ordered.end),
                }
            }
            for index in of_type(values, Type::Array)? {
                if values.look(index, |value| passes(value, test))? {
                    ranges.push(index..index + 1);
                }
            }
        }
    }
    let codes = |indices: Range<usize>| code(indices.start)..code(indices.end);
    Ok(Passing::Ranges(ranges.into_iter().map(codes).collect()))
}

/// Whether one value passes. An array is equal to, or less than, or like what any of its items is,
/// and unequal to or unlike what all of them are.
pub(in crate::store) fn passes(value: &[u8], test: &Test) -> bool {
    if value::type_of(value) != Some(Type::Array) {
        let string = || value::decode_str(value);
        return match test {
            Test::Present => true,
            Test::Matches(pattern) => string().is_some_and(|text| pattern.is_match(text)),
            Test::MatchesNot(pattern) => string().is_some_and(|text| !pattern.is_match(text)),
            Test::Compare(..) => {
                let mut only = Dictionary::default();
                only.push(value);
                // What is in memory can be read.
                passing(&only.into(), test).is_ok_and(|passing| !passing.is_empty())
            }
        };
    }
    let Some(Value::Array(items)) = value::decode(value) else {
        return false;
    };
    let mut each = items.iter().map(|item| {
        let mut bytes = Vec::new();
        value::encode(item, &mut bytes);
        !matches!(item, Value::Array(_)) && passes(&bytes, test)
    });
    match test {
        Test::MatchesNot(_) | Test::Compare(Comparison::NotEqual, _) => each.all(|passes| passes),
        Test::Present | Test::Matches(_) | Test::Compare(..) => each.any(|passes| passes),
    }
}

fn of_type(values: &Values<'_>, of: Type) -> Result<Range<usize>, Damaged> {
    let bounds = value::bounds(of);
    let start = values.partition_point(0..values.len(), |value| value < &bounds.start[..])?;
    let end = values.partition_point(start..values.len(), |value| value < &bounds.end[..])?;
    Ok(start..end)
}

/// NaNs, which stand at both ends of the doubles, are neither less nor greater than anything.
fn without_nans(
    values: &Values<'_>,
    of: Type,
    all: &Range<usize>,
) -> Result<Range<usize>, Damaged> {
    if of != Type::Double {
        return Ok(all.clone());
    }
    let is_nan = |index: usize| {
        values.look(index, |value| {
            value::decode_double(value).is_some_and(f64::is_nan)
        })
    };
    let mut rest = all.clone();
    while !rest.is_empty() && is_nan(rest.start)? {
        rest.start += 1;
    }
    while !rest.is_empty() && is_nan(rest.end - 1)? {
        rest.end -= 1;
    }
    Ok(rest)
}

/// For each type that the operand can be compared with: the values that equal it, or where they
/// would stand.
fn positions(values: &Values<'_>, operand: &Operand) -> Result<Vec<(Type, Range<usize>)>, Damaged> {
    let exact = |of: Type, bytes: &[u8]| {
        let start = values.partition_point(0..values.len(), |value| value < bytes)?;
        let end = start + usize::from(values.look(start, |value| value == bytes)?);
        Ok((of, start..end))
    };
    let number = |of: Type, order: &dyn Fn(&[u8]) -> Option<std::cmp::Ordering>| {
        let all = without_nans(values, of, &of_type(values, of)?)?;
        let before = |wanted: &[std::cmp::Ordering], value: &[u8]| {
            order(value).is_some_and(|order| wanted.contains(&order))
        };
        use std::cmp::Ordering::{Equal, Less};
        let bisect = |wanted: &[std::cmp::Ordering]| {
            values.partition_point(all.clone(), |value| before(wanted, value))
        };
        Ok((of, bisect(&[Less])?..bisect(&[Less, Equal])?))
    };
    let mut bytes = Vec::new();
    match operand {
        Operand::String(text) => {
            value::encode_str(text, &mut bytes);
            Ok(vec![exact(Type::String, &bytes)?])
        }
        Operand::Bool(is) => {
            value::encode(&Value::Bool(*is), &mut bytes);
            Ok(vec![exact(Type::Bool, &bytes)?])
        }
        Operand::Int(operand) => {
            value::encode_int(*operand, &mut bytes);
            #[expect(clippy::cast_precision_loss, reason = "as the languages compare them")]
            let float = *operand as f64;
            Ok(vec![
                exact(Type::Int, &bytes)?,
                number(Type::Double, &|value| {
                    value::decode_double(value)?.partial_cmp(&float)
                })?,
            ])
        }
        Operand::Float(operand) if operand.is_nan() => Ok(Vec::new()),
        Operand::Float(operand) => Ok(vec![
            number(Type::Int, &|value| {
                #[expect(clippy::cast_precision_loss, reason = "as the languages compare them")]
                let value = value::decode_int(value)? as f64;
                value.partial_cmp(operand)
            })?,
            number(Type::Double, &|value| {
                value::decode_double(value)?.partial_cmp(operand)
            })?,
        ]),
    }
}
