//! Bars that lie, each with its name to the left and its number to the right.

use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color as _, RGBColor};

use super::{FADED, GRID, bold, draw, faded, number, plain, text, ticks};

const WIDTH: i32 = 860;
const LEFT: i32 = 190;
const RIGHT: i32 = 150;
const TOP: i32 = 68;
const BAR: i32 = 24;
const ROW: i32 = 36;
const GROUP: i32 = 14;
const BOTTOM: i32 = 44;

/// A chart of bars.
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// What the numbers are, e.g. `ns per span`.
    pub(crate) unit: &'static str,
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) colour: RGBColor,
    /// Put one after the other: the first in full colour, the second paler.
    pub(crate) parts: Vec<f64>,
    /// How far the rounds spread.
    pub(crate) spread: Option<(f64, f64)>,
    /// Said behind it.
    pub(crate) label: String,
    /// Begins a group with this name.
    pub(crate) group: Option<String>,
}

impl Bars {
    pub(crate) fn svg(&self) -> anyhow::Result<String> {
        let groups = self.bars.iter().filter(|bar| bar.group.is_some()).count() as i32;
        let inner = self.bars.len() as i32 * ROW + groups * (GROUP + 14);
        let height = TOP + inner + BOTTOM;
        let highest = self.bars.iter().map(Bar::reach).fold(0.0, f64::max);
        let ticks = ticks(highest);
        let end = ticks.last().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        let across = f64::from(WIDTH - LEFT - RIGHT);
        let x = |value: f64| LEFT + (value.clamp(0.0, end) / end * across).round() as i32;
        let size = (WIDTH as u32, height as u32);
        draw(size, &self.title, &self.subtitle, |area| {
            for tick in &ticks {
                let line = vec![(x(*tick), TOP), (x(*tick), TOP + inner)];
                area.draw(&PathElement::new(line, GRID))?;
                let at = (x(*tick), TOP + inner + 12);
                text(area, &number(*tick), at, faded(12.0), HPos::Center)?;
            }
            let at = (LEFT + (across / 2.0) as i32, TOP + inner + 32);
            text(area, self.unit, at, faded(12.0), HPos::Center)?;
            let mut top = TOP;
            for bar in &self.bars {
                if let Some(group) = &bar.group {
                    top += GROUP + 14;
                    text(area, group, (16, top - 9), bold(13.0), HPos::Left)?;
                }
                let (upper, lower) = (top + (ROW - BAR) / 2, top + (ROW + BAR) / 2);
                let middle = top + ROW / 2;
                let (mut from, mut shade) = (0.0, 1.0);
                for part in &bar.parts {
                    let corners = [(x(from), upper), (x(from + part), lower)];
                    let style = bar.colour.mix(shade).filled();
                    area.draw(&Rectangle::new(corners, style))?;
                    (from, shade) = (from + part, 0.45);
                }
                if let Some((low, high)) = bar.spread {
                    let line = vec![(x(low), middle), (x(high), middle)];
                    area.draw(&PathElement::new(line, FADED.stroke_width(2)))?;
                    for end in [low, high] {
                        let line = vec![(x(end), middle - 5), (x(end), middle + 5)];
                        area.draw(&PathElement::new(line, FADED.stroke_width(2)))?;
                    }
                }
                text(
                    area,
                    &bar.name,
                    (LEFT - 10, middle),
                    plain(14.0),
                    HPos::Right,
                )?;
                let at = (x(bar.reach()) + 8, middle);
                text(area, &bar.label, at, plain(13.0), HPos::Left)?;
                top += ROW;
            }
            Ok(())
        })
    }
}

impl Bar {
    fn reach(&self) -> f64 {
        let high = self.spread.map_or(0.0, |(_, high)| high);
        self.parts.iter().sum::<f64>().max(high)
    }
}
