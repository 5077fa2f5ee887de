//! Lines over a scale, each with its name at its end.

use plotters::element::{Circle, PathElement};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color as _, RGBColor};

use super::{GRID, coloured, draw, faded, number, text, ticks};
use crate::figure::Figure;

const WIDTH: i32 = 860;
const HEIGHT: i32 = 440;
const LEFT: i32 = 76;
const RIGHT: i32 = 180;
const TOP: i32 = 92;
const BOTTOM: i32 = 52;

/// How far apart two names at the right must be, in pixels.
const APART: i32 = 18;

/// A chart of lines.
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether each doubling of x is as wide as the one before.
    pub(crate) doubling: bool,
    pub(crate) series: Vec<Series>,
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: RGBColor,
    /// Beside another one of the same colour.
    pub(crate) pale: bool,
    pub(crate) points: Vec<(f64, Figure)>,
}

impl Lines {
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let highest = points().map(|(_, figure)| figure.high).fold(0.0, f64::max);
        let y_ticks = ticks(highest);
        let end = y_ticks
            .last()
            .copied()
            .unwrap_or(1.0)
            .max(f64::MIN_POSITIVE);
        let mut x_ticks: Vec<_> = points().map(|(x, _)| *x).collect();
        x_ticks.sort_by(f64::total_cmp);
        x_ticks.dedup();
        let scale = |x: f64| {
            if self.doubling {
                x.max(f64::MIN_POSITIVE).log2()
            } else {
                x
            }
        };
        let first = x_ticks.first().copied().map_or(0.0, scale);
        let last = x_ticks.last().copied().map_or(1.0, scale);
        let (across, down) = (
            f64::from(WIDTH - LEFT - RIGHT),
            f64::from(HEIGHT - TOP - BOTTOM),
        );
        let x = |value: f64| {
            let share = (scale(value) - first) / (last - first).max(f64::MIN_POSITIVE);
            LEFT + (share * across).round() as i32
        };
        let y = |value: f64| HEIGHT - BOTTOM - (value.clamp(0.0, end) / end * down).round() as i32;
        draw(
            (WIDTH as u32, HEIGHT as u32),
            &self.title,
            &self.subtitle,
            |area| {
                for tick in &y_ticks {
                    let line = vec![(LEFT, y(*tick)), (WIDTH - RIGHT, y(*tick))];
                    area.draw(&PathElement::new(line, GRID))?;
                    text(
                        area,
                        &number(*tick),
                        (LEFT - 8, y(*tick)),
                        faded(12.0),
                        HPos::Right,
                    )?;
                }
                for tick in &x_ticks {
                    let at = (x(*tick), HEIGHT - BOTTOM + 14);
                    text(area, &number(*tick), at, faded(12.0), HPos::Center)?;
                }
                text(area, self.y, (16, TOP - 22), faded(12.0), HPos::Left)?;
                let at = (LEFT + (across / 2.0) as i32, HEIGHT - 14);
                text(area, self.x, at, faded(12.0), HPos::Center)?;
                for series in &self.series {
                    let colour = series.colour;
                    let line: Vec<_> = series
                        .points
                        .iter()
                        .map(|(at, it)| (x(*at), y(it.median)))
                        .collect();
                    for (at, figure) in &series.points {
                        let spread = vec![(x(*at), y(figure.low)), (x(*at), y(figure.high))];
                        area.draw(&PathElement::new(spread, colour.mix(0.5).stroke_width(2)))?;
                    }
                    let width = if series.pale { 2 } else { 3 };
                    let style = colour.mix(if series.pale { 0.6 } else { 1.0 });
                    area.draw(&PathElement::new(line.clone(), style.stroke_width(width)))?;
                    for at in line {
                        area.draw(&Circle::new(at, 4, colour.filled()))?;
                    }
                }
                for (series, (end, at)) in self.names(x, y) {
                    let style = coloured(13.0, series.colour);
                    let (at, side) = match end < WIDTH - RIGHT {
                        // Other lines go on behind it.
                        true => ((end, at - 14), HPos::Center),
                        false => ((end + 12, at), HPos::Left),
                    };
                    text(area, &series.name, at, style, side)?;
                }
                Ok(())
            },
        )
    }

    /// Where each name stands: behind the end of its line, or as near as those of lines that end there too let it.
    fn names(&self, x: impl Fn(f64) -> i32, y: impl Fn(f64) -> i32) -> Vec<(&Series, (i32, i32))> {
        let ends = self.series.iter().filter_map(|series| {
            let (last, figure) = series.points.last()?;
            Some((series, (x(*last), y(figure.median))))
        });
        let mut names: Vec<_> = ends.collect();
        // From the lowest upwards, line end by line end.
        names.sort_by_key(|(_, (end, at))| (*end, std::cmp::Reverse(*at)));
        let mut below = (i32::MIN, i32::MAX);
        for (_, (end, at)) in &mut names {
            if below.0 == *end {
                *at = (*at).min(below.1 - APART);
            }
            below = (*end, *at);
        }
        names
    }
}
