//! A chart: lines through measurements, with the range of each.

use super::{Area, Colour, Drawn, FAINT, GRID, INK, PALETTE, shown, text, text_width, write};
use crate::spread::Spread;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Lines over one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// What is along the bottom.
    pub x: String,
    /// What is along the side, with its unit.
    pub y: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it stands for.
    pub name: String,
    /// In the order of x.
    pub marks: Vec<Mark>,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Where along the bottom.
    pub x: f64,
    /// The range and the middle of it.
    pub y: Spread,
}

const TITLE: u32 = 15;
const SMALL: u32 = 12;
/// Height of a line of the legend.
const LINE: i32 = 20;

impl Chart {
    /// Draws it into an area. There is at least one mark.
    pub fn draw(&self, area: &Area) -> Drawn {
        let (width, height) = area.dim_in_pixel();
        write(area, (14, 10), TITLE, INK, &self.title)?;
        let top = self.legend(area, width as i32 - 14)?;
        let below = area.margin(top, 8, 4, 18);
        let marks = || self.series.iter().flat_map(|series| &series.marks);
        let xs: Vec<f64> = marks().map(|mark| mark.x).collect();
        let (least, most) = xs.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
        let pad = if most > least { 0.04 * (most - least) } else { 1.0 };
        let highest = marks().map(|mark| mark.y.max).fold(f64::MIN_POSITIVE, f64::max);
        let range = (least - pad)..(most + pad);
        let mut chart = ChartBuilder::on(&below)
            .set_label_area_size(LabelAreaPosition::Left, 58)
            .set_label_area_size(LabelAreaPosition::Bottom, 44)
            .build_cartesian_2d(Bottom { inner: range.into(), ticks: ticks(xs) }, 0.0..1.1 * highest)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.rgb())
            .axis_style(FAINT.rgb())
            .label_style(text(SMALL, INK, HPos::Center, VPos::Center))
            .axis_desc_style(text(SMALL, FAINT, HPos::Center, VPos::Center))
            .x_desc(shown(&self.x))
            .y_desc(shown(&self.y))
            .y_labels(((height as usize) / 50).max(3))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        for (i, series) in self.series.iter().enumerate() {
            let colour = colour(i).rgb();
            let middle = |mark: &Mark| (mark.x, mark.y.median);
            let line: Vec<_> = series.marks.iter().map(middle).collect();
            chart.draw_series(std::iter::once(PathElement::new(line, colour.stroke_width(2))))?;
            let ranges = series.marks.iter().map(|mark| {
                let ends = vec![(mark.x, mark.y.min), (mark.x, mark.y.max)];
                PathElement::new(ends, colour.stroke_width(2))
            });
            chart.draw_series(ranges)?;
            chart.draw_series(series.marks.iter().map(|m| Circle::new(middle(m), 4, colour.filled())))?;
        }
        Ok(())
    }

    /// What the colours mean; where it ends.
    fn legend(&self, area: &Area, right: i32) -> Result<i32, DrawingAreaErrorKind<std::io::Error>> {
        let (mut x, mut y) = (14, 36);
        for (i, series) in self.series.iter().enumerate() {
            let width = 26 + text_width(&series.name, SMALL);
            if x + width > right && x > 14 {
                (x, y) = (14, y + LINE);
            }
            let colour = colour(i).rgb();
            area.draw(&PathElement::new([(x, y + 6), (x + 18, y + 6)], colour.stroke_width(2)))?;
            area.draw(&Circle::new((x + 9, y + 6), 4, colour.filled()))?;
            write(area, (x + 24, y), SMALL, INK, &series.name)?;
            x += width + 18;
        }
        Ok(y + LINE)
    }
}

/// An axis whose labels are where measurements are.
struct Bottom {
    inner: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Bottom {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, x: &f64, limit: (i32, i32)) -> i32 {
        self.inner.map(x, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.inner.range()
    }
}

fn colour(series: usize) -> Colour {
    PALETTE[series % PALETTE.len()]
}

/// Those of the values that have room for a label each, the first and the last among them.
fn ticks(mut xs: Vec<f64>) -> Vec<f64> {
    xs.sort_by(f64::total_cmp);
    let (first, last) = (xs[0], xs[xs.len() - 1]);
    let room = 0.09 * (last - first);
    let mut kept = vec![first];
    for x in xs {
        let after = x - kept[kept.len() - 1];
        if after > 0.0 && after >= room && (x == last || last - x >= room) {
            kept.push(x);
        }
    }
    kept
}

/// A number on an axis: `512` and `20k`, not `512.000` and `20000`.
fn short(x: f64) -> String {
    match x {
        x if x.abs() >= 1e6 => format!("{:.1}M", x / 1e6),
        x if x.abs() >= 1e4 && x % 1e3 == 0.0 => format!("{:.0}k", x / 1e3),
        x if x.fract() == 0.0 => format!("{x:.0}"),
        x if x.abs() >= 10.0 => format!("{x:.0}"),
        x => format!("{x:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_run_into_each_other() {
        assert_eq!(ticks(vec![0.0, 1.0, 512.0, 512.0, 4096.0]), [0.0, 512.0, 4096.0]);
        assert_eq!(ticks(vec![1.0, 2.0, 4.0, 8.0]), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(ticks(vec![7.0]), [7.0]);
        assert_eq!([0.0, 4096.0, 16384.0, 2.5, 97.5].map(short), ["0", "4096", "16384", "2.5", "98"]);
    }
}
