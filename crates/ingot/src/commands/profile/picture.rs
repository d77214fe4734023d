//! A step as a picture: a line of time for every layer, coloured by kind of work, and
//! what each kind takes against what its bytes would take at the memory's speed.

use super::measure::Phase;
use super::piece::{Kind, Piece};
use super::report::{Report, time};
use crate::commands::bench::short_name;
use crate::failure::Result;
use crate::plot::{
    Area, Colour, Drawn, FAINT, GRID, INK, PALETTE, Page, Picture, fill, text_width, write, write_left_of,
};
use crate::spread::Spread;
use std::path::Path;

const WIDTH: i32 = 960;
const MARGIN: i32 = 16;
/// Where lines of time and bars begin and end.
const LEFT: i32 = 96;
const RIGHT: i32 = WIDTH - MARGIN;
const SMALL: u32 = 12;
const HEAD: i32 = 66;

/// Draws all steps of a report into a file.
///
/// # Errors
/// If it cannot be written.
pub fn write_all(report: &Report, path: &Path) -> Result {
    let parts: Vec<Part> = report.phases.iter().map(Part::new).collect();
    let height = HEAD + parts.iter().map(Part::height).sum::<i32>();
    let title = format!("{}: where the time goes", short_name(&report.name));
    let about = format!("{} · ingot {}", report.device(), env!("CARGO_PKG_VERSION"));
    let picture = Picture::draw((WIDTH as u32, height as u32), |area| {
        write(area, (MARGIN, 14), 19, INK, &title)?;
        write(area, (MARGIN, 42), SMALL, FAINT, &about)?;
        let mut y = HEAD;
        for part in &parts {
            part.draw(area, y, report)?;
            y += part.height();
        }
        Ok(())
    });
    let tables = report.phases.iter().flat_map(|phase| {
        let named = move |(what, table)| (format!("{}, {what}", phase.name()), table);
        report.tables(phase, usize::MAX).into_iter().map(named)
    });
    let overheads: Vec<String> =
        report.phases.iter().map(|phase| format!("{}: {}.", phase.name(), report.overhead(phase))).collect();
    let about = format!("{}. {}", report.device(), overheads.join(" "));
    picture.write(path, &Page { title, about, tables: tables.collect() })
}

/// A step.
struct Part<'a> {
    phase: &'a Phase,
    lines: Vec<Line<'a>>,
    /// Seconds that fill the width.
    scale: f64,
}

/// Pieces beside each other.
struct Line<'a> {
    name: String,
    pieces: &'a [Piece],
    /// What of them is on this line, in seconds since the step began.
    from: f64,
    to: f64,
}

const LINE: i32 = 17;
const BAR: i32 = 26;

impl<'a> Part<'a> {
    fn new(phase: &'a Phase) -> Self {
        let runs: Vec<&[Piece]> = phase.pieces.chunk_by(|a, b| a.layer == b.layer).collect();
        let span = |run: &[Piece]| (run[0].span.start, run[run.len() - 1].span.end);
        let length = |run: &[Piece]| span(run).1 - span(run).0;
        // The longest layer fills the width, unless it was held up; what is longer, as heads
        // are, goes on below.
        let layers = runs.iter().filter(|run| run[0].layer.is_some()).map(|run| length(run));
        let layers: Vec<f64> = layers.collect();
        let scale = match layers.is_empty() {
            true => runs.iter().map(|run| length(run)).fold(1e-9, f64::max),
            false => {
                let usual = Spread::of(layers);
                usual.max.min(1.5 * usual.median).max(1e-9)
            }
        };
        let mut lines = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            let ((start, end), mut name) = (span(run), name(run, i == 0));
            let mut from = start;
            while lines.len() < MOST_LINES {
                let to = end.min(from + scale);
                lines.push(Line { name: std::mem::take(&mut name), pieces: run, from, to });
                // Not for the last bits of a sum.
                if end - to < 1e-3 * scale {
                    break;
                }
                from = to;
            }
        }
        Self { phase, lines, scale }
    }

    fn height(&self) -> i32 {
        let legend = 30;
        30 + legend + LINE * self.lines.len() as i32 + 56 + BAR * self.bars() + 24
    }

    /// One for each kind, and one for what is between.
    fn bars(&self) -> i32 {
        self.phase.kinds().len() as i32 + 1
    }

    fn draw(&self, area: &Area, top: i32, report: &Report) -> Drawn {
        write(area, (MARGIN, top), 15, INK, &sentence(&self.phase.name()))?;
        write_left_of(area, (RIGHT, top + 3), SMALL, FAINT, &report.overhead(self.phase))?;
        self.legend(area, top + 30)?;
        let lines = top + 60;
        let bottom = lines + LINE * self.lines.len() as i32;
        self.grid(area, lines, bottom)?;
        for (i, line) in self.lines.iter().enumerate() {
            self.line(area, lines + LINE * i as i32, line)?;
        }
        self.kinds(area, bottom + 56, report)
    }

    fn legend(&self, area: &Area, y: i32) -> Drawn {
        let mut x = LEFT;
        for (kind, sum) in self.phase.kinds() {
            fill(area, (x, y + 1), (x + 11, y + 12), colour(kind))?;
            write(area, (x + 17, y), SMALL, INK, &sum.name)?;
            x += 17 + text_width(&sum.name, SMALL) + 20;
        }
        Ok(())
    }

    /// Where a time is, counted from the beginning of a line.
    fn x(&self, seconds: f64) -> i32 {
        LEFT + (f64::from(RIGHT - LEFT) * seconds / self.scale).round() as i32
    }

    /// Marks of time below the lines, and where they are above.
    fn grid(&self, area: &Area, top: i32, bottom: i32) -> Drawn {
        let unit = round_part(self.scale / 6.0);
        for i in 0..=(self.scale / unit) as usize {
            let (at, x) = (unit * i as f64, self.x(unit * i as f64));
            fill(area, (x, top), (x, bottom + 4), GRID)?;
            let label = if i == 0 { "0".into() } else { mark(at) };
            write(area, (x - text_width(&label, SMALL) / 2, bottom + 8), SMALL, FAINT, &label)?;
        }
        Ok(())
    }

    fn line(&self, area: &Area, y: i32, line: &Line) -> Drawn {
        write_left_of(area, (LEFT - 10, y + 2), SMALL, FAINT, &line.name)?;
        for piece in line.pieces {
            let (from, to) = (piece.span.start.max(line.from), piece.span.end.min(line.to));
            if to > from {
                // A gap of a pixel between pieces that have room for one.
                let (from, to) = (self.x(from - line.from), self.x(to - line.from));
                let to = if to - from > 2 { to - 1 } else { to.max(from + 1) };
                fill(area, (from, y + 1), (to, y + LINE - 3), colour(piece.kind))?;
            }
        }
        Ok(())
    }

    /// A bar for the time of each kind, and in it a mark at what the memory would take.
    fn kinds(&self, area: &Area, top: i32, report: &Report) -> Drawn {
        let what = match report.limit {
            Some(_) => "Time by kind. The dark part is what its bytes take at the memory's speed",
            None => "Time by kind",
        };
        write(area, (LEFT, top - 24), SMALL, FAINT, what)?;
        let kinds = self.phase.kinds();
        let most = kinds.iter().map(|(_, sum)| sum.seconds).fold(self.phase.between, f64::max);
        // Words come after the longest bar.
        let x = |seconds: f64| LEFT + (f64::from(RIGHT - LEFT - 330) * seconds / most.max(1e-9)) as i32;
        let mut y = top;
        let mut bar = |name: &str, seconds: f64, floor: Option<f64>, colour: Colour, words: String| {
            write_left_of(area, (LEFT - 10, y + 3), SMALL, FAINT, name)?;
            fill(area, (LEFT, y), (x(seconds).max(LEFT + 1), y + 17), colour)?;
            if let Some(floor) = floor.filter(|floor| *floor > 0.0) {
                fill(area, (LEFT, y + 12), (x(floor.min(most)).max(LEFT + 1), y + 17), INK)?;
            }
            write(area, (x(seconds.max(floor.unwrap_or(0.0).min(most))) + 8, y + 3), SMALL, INK, &words)?;
            y += BAR;
            Drawn::Ok(())
        };
        let step = self.phase.pieces_seconds() + self.phase.between;
        for (kind, sum) in &kinds {
            let share = format!("{}, {:.1} %", time(sum.seconds), 100.0 * sum.seconds / step);
            let floor = report.limit.map(|limit| sum.cost.bytes() as f64 / limit);
            let speed = match (self.phase.rows, sum.speed(), sum.operations()) {
                (2.., _, Some(operations)) => format!(", {:.0} GFLOP/s", operations / 1e9),
                (1, Some(speed), _) => format!(", {}/s", crate::units::bytes(speed as u64)),
                _ => String::new(),
            };
            let of = floor.filter(|f| *f > 0.0 && self.phase.rows == 1);
            let of = of.map_or(String::new(), |f| format!(", {:.0} % of memory's", 100.0 * f / sum.seconds));
            bar(short(*kind), sum.seconds, floor, colour(*kind), format!("{share}{speed}{of}"))?;
        }
        let between = self.phase.between;
        let share = format!("{}, {:.1} %", time(between), 100.0 * between / step);
        bar("between", between, None, GRID, share)
    }
}

/// Lines of a step at most; models have fewer layers.
const MOST_LINES: usize = 400;

/// What a line is called.
fn name(run: &[Piece], first: bool) -> String {
    match (run[0].layer, first) {
        (Some(layer), _) => format!("layer {layer}"),
        (None, true) => "input".into(),
        (None, false) => "output".into(),
    }
}

/// A kind's name where there is little room.
fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Rows => "norms ...",
        other => other.name(),
    }
}

fn colour(kind: Kind) -> Colour {
    let at = Kind::ALL.iter().position(|k| *k == kind).expect("all kinds are there");
    PALETTE[at]
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// A time below a mark, without digits that say nothing: `20 ms`.
fn mark(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s < 0.9995e-3 => (1e6 * s, "us"),
        s if s < 0.9995 => (1e3 * s, "ms"),
        s => (s, "s"),
    };
    // At most two digits: marks are 1, 2 or 5 times a power of ten apart.
    format!("{} {unit}", (number * 100.0).round() / 100.0)
}

/// 1, 2 or 5 times a power of ten, not much less than `x`.
fn round_part(x: f64) -> f64 {
    let power = 10f64.powf(x.log10().floor());
    let digit = [5.0, 2.0, 1.0].into_iter().find(|d| d * power <= x * 1.0001);
    digit.unwrap_or(1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_time_are_round() {
        for (x, expected) in [(0.0034, 0.002), (0.00011, 0.0001), (7.0, 5.0), (10.0, 10.0), (0.05, 0.05)] {
            assert!((round_part(x) / expected - 1.0).abs() < 1e-9, "{x}");
        }
        assert_eq!([5e-5, 0.02, 0.1 + 0.2, 2.5].map(mark), ["50 us", "20 ms", "300 ms", "2.5 s"]);
        assert_eq!(sentence("a written token"), "A written token");
    }
}
