//! Charts as SVG, for light pages and dark ones.

mod bars;
mod lines;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::element::Text;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, IntoFont as _, RGBColor, TextStyle};

pub(crate) use self::bars::{Bar, Bars};
pub(crate) use self::lines::{Lines, Series};

const FONT: &str = "sans-serif";

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FADED: RGBColor = RGBColor(101, 109, 118);
const GRID: RGBColor = RGBColor(225, 228, 232);

/// What takes their place where the reader prefers a dark page.
const DARK: [(RGBColor, &str); 4] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (FADED, "#9198a1"),
    (GRID, "#2d333b"),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on paper of this size, in pixels.
fn draw(
    (width, height): (u32, u32),
    title: &str,
    subtitle: &str,
    on: impl FnOnce(&Area) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        area.fill(&PAPER)?;
        text(&area, title, (16, 24), bold(17.0), HPos::Left)?;
        text(&area, subtitle, (16, 46), faded(13.0), HPos::Left)?;
        on(&area)?;
        area.present()?;
    }
    Ok(for_both_pages(&svg))
}

/// Adds the colours for dark pages: rules of a style sheet win over the attributes that are drawn.
fn for_both_pages(svg: &str) -> String {
    let rules: String = DARK
        .iter()
        .map(|(RGBColor(r, g, b), dark)| {
            let light = format!("#{r:02X}{g:02X}{b:02X}");
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media (prefers-color-scheme: dark){{{rules}}}</style>");
    let (head, rest) = svg.split_once(">\n").unwrap_or((svg, ""));
    format!("{head}>\n{style}\n{rest}")
}

fn text(
    area: &Area,
    text: &str,
    at: (i32, i32),
    style: TextStyle<'static>,
    side: HPos,
) -> anyhow::Result<()> {
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

fn plain(size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

fn bold(size: f64) -> TextStyle<'static> {
    let font = (FONT, size).into_font();
    font.style(plotters::style::FontStyle::Bold).color(&INK)
}

fn faded(size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&FADED)
}

fn coloured(size: f64, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour.to_rgba())
}

/// Round numbers from 0 to a little above the highest, about five of them.
fn ticks(highest: f64) -> Vec<f64> {
    let rough = highest.max(f64::MIN_POSITIVE) / 4.0;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * magnitude);
    let step = steps.into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * magnitude);
    let count = (highest / step).ceil() as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

/// A number as people write it: three digits that matter, and thousands kept apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let (whole, rest) = text
        .split_once('.')
        .map_or((text, None), |(w, r)| (w, Some(r)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let thousands = index > 0 && (whole.len() - index) % 3 == 0;
        if thousands && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::{for_both_pages, number, ticks};

    #[test]
    fn ticks_are_round_and_reach_the_highest() {
        assert_eq!(ticks(100.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(ticks(7.3), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert!(*ticks(2194.0).last().unwrap() >= 2194.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(0.256), "0.26");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(800_000.0), "800,000");
        assert_eq!(number(-1234.0), "-1,234");
    }

    #[test]
    fn a_dark_page_has_rules_of_its_own() {
        let svg = for_both_pages("<svg width=\"1\">\n<rect fill=\"#FFFFFF\"/>\n</svg>\n");
        assert!(svg.starts_with("<svg width=\"1\">\n<style>@media (prefers-color-scheme: dark){"));
        assert!(svg.contains("[fill=\"#FFFFFF\"]{fill:#0d1117}"));
        assert!(svg.ends_with("<rect fill=\"#FFFFFF\"/>\n</svg>\n"));
    }
}
