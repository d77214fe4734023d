//! The points of a report as charts: one for every axis along which there are several.

use super::point::{Place, Point};
use crate::plot::{Area, Chart, Drawn, FAINT, INK, Mark, Picture, Series, write};
use crate::spread::Spread;

/// Something that changes from point to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Depth,
    Prompt,
    Sequences,
    Threads,
}

impl Axis {
    const ALL: [Self; 4] = [Self::Depth, Self::Prompt, Self::Sequences, Self::Threads];

    /// Along the bottom.
    fn label(self) -> &'static str {
        match self {
            Self::Depth => "tokens of context before",
            Self::Prompt => "tokens of the prompt",
            Self::Sequences => "sequences at the same time",
            Self::Threads => "threads",
        }
    }

    /// As a part of a title.
    fn name(self) -> &'static str {
        match self {
            Self::Depth => "by context",
            Self::Prompt => "by length",
            Self::Sequences => "by sequences",
            Self::Threads => "by threads",
        }
    }

    /// Where a point is on it.
    fn of(self, place: &Place) -> Option<usize> {
        match self {
            Self::Depth => Some(place.depth),
            Self::Prompt => place.reads.then_some(place.tokens),
            Self::Sequences => (!place.reads).then_some(place.sequences),
            Self::Threads => place.threads,
        }
    }

    /// The same without that.
    fn without(self, place: &Place) -> Place {
        match self {
            Self::Depth => Place { depth: 0, ..*place },
            Self::Prompt => Place { tokens: 0, ..*place },
            Self::Sequences => Place { sequences: 1, ..*place },
            Self::Threads => Place { threads: None, ..*place },
        }
    }
}

/// What is shown of points.
struct Show<'a> {
    title: &'a str,
    unit: &'a str,
    reads: bool,
    value: fn(&Point) -> Option<Spread>,
    /// The other program's, if it has some.
    peer: fn(&Point) -> Option<Spread>,
}

const SHOWN: [Show; 3] = [
    Show {
        title: "Reading",
        unit: "tokens per second",
        reads: true,
        value: |p| Some(p.rates()),
        peer: Point::peer_rates,
    },
    Show {
        title: "Writing",
        unit: "tokens per second",
        reads: false,
        value: |p| Some(p.rates()),
        peer: Point::peer_rates,
    },
    Show {
        title: "Share of the memory's speed",
        unit: "percent",
        reads: false,
        value: |p| p.share().map(|share| share.times(100.0)),
        peer: |_| None,
    },
];

/// All charts that have more than one point in a line.
pub fn charts(points: &[Point], peer: Option<&str>) -> Vec<Chart> {
    let mut charts = Vec::new();
    for axis in Axis::ALL {
        for show in &SHOWN {
            let chart = chart(points, axis, show, peer);
            charts.extend(chart.series.iter().any(|series| series.marks.len() > 1).then_some(chart));
        }
    }
    charts
}

fn chart(points: &[Point], axis: Axis, show: &Show, peer: Option<&str>) -> Chart {
    let of_kind = || points.iter().filter(|point| point.place().reads == show.reads);
    let mut kinds: Vec<Place> = Vec::new();
    for point in of_kind() {
        let kind = axis.without(&point.place());
        if axis.of(&point.place()).is_some() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let line = |kind: &Place, value: fn(&Point) -> Option<Spread>| -> Vec<Mark> {
        let of_line = of_kind().filter(|point| axis.without(&point.place()) == *kind);
        let mark = |point: &Point| Some(Mark { x: axis.of(&point.place())? as f64, y: value(point)? });
        let mut marks: Vec<Mark> = of_line.filter_map(mark).collect();
        marks.sort_by(|a, b| a.x.total_cmp(&b.x));
        marks
    };
    let mut series = Vec::new();
    for kind in &kinds {
        let name = name(kind, &kinds, axis);
        series.push(Series { name: name.clone(), marks: line(kind, show.value) });
        let name = format!("{}: {name}", peer.unwrap_or("other"));
        series.push(Series { name, marks: line(kind, show.peer) });
    }
    series.retain(|series| !series.marks.is_empty());
    Chart {
        title: format!("{}, {}", show.title, axis.name()),
        x: axis.label().into(),
        y: show.unit.into(),
        series,
    }
}

/// What tells a line from the others: all that is not the same in them.
fn name(kind: &Place, kinds: &[Place], axis: Axis) -> String {
    let differs = |of: fn(&Place) -> usize| kinds.iter().any(|other| of(other) != of(kind));
    let mut parts = Vec::new();
    if axis != Axis::Prompt {
        parts.push(format!("{} {}", if kind.reads { "read" } else { "write" }, kind.tokens));
    }
    if axis != Axis::Sequences && differs(|p| p.sequences) {
        parts.push(crate::units::plural(kind.sequences, "sequence"));
    }
    if axis != Axis::Depth && differs(|p| p.depth) {
        parts.push(format!("after {}", kind.depth));
    }
    if axis != Axis::Threads && differs(|p| p.threads.unwrap_or(0)) {
        parts.push(crate::units::plural(kind.threads.unwrap_or(0), "thread"));
    }
    if parts.is_empty() { "read".into() } else { parts.join(", ") }
}

const CHART: (u32, u32) = (480, 320);
const HEAD: u32 = 66;

/// The charts beside and below each other, under a title.
pub fn picture(charts: &[Chart], title: &str, about: &str) -> Picture {
    let columns = charts.len().clamp(1, 2) as u32;
    let rows = (charts.len() as u32).div_ceil(columns);
    let size = (columns * CHART.0, HEAD + rows * CHART.1 + 8);
    Picture::draw(size, |area| {
        let (head, below) = area.split_vertically(HEAD);
        heads(&head, title, about)?;
        let cells = below.split_evenly((rows as usize, columns as usize));
        charts.iter().zip(&cells).try_for_each(|(chart, cell)| chart.draw(cell))
    })
}

/// The title of a picture and a line below it.
fn heads(area: &Area, title: &str, about: &str) -> Drawn {
    write(area, (14, 14), 19, INK, title)?;
    write(area, (14, 42), 12, FAINT, about)
}

#[cfg(test)]
mod tests {
    use super::super::point::{Drawn, What};
    use super::*;
    use std::time::Duration;

    fn point(reads: bool, tokens: usize, depth: usize, sequences: usize) -> Point {
        Point {
            threads: Some(2),
            depth,
            what: if reads { What::Read { steps: 1 } } else { What::Write { sequences, drawn: Drawn::Host } },
            tokens,
            times: vec![Duration::from_millis(10 + depth as u64); 3],
            counts: None,
            cost: None,
            turns: Vec::new(),
            copy: None,
            peer: Vec::new(),
        }
    }

    #[test]
    fn only_what_has_several_points() {
        assert!(charts(&[point(true, 8, 0, 1), point(false, 4, 0, 1)], None).is_empty());
        let points = [
            point(true, 8, 0, 1),
            point(false, 4, 0, 1),
            point(false, 4, 0, 4),
            point(true, 8, 64, 1),
            point(false, 4, 64, 1),
            point(false, 4, 64, 4),
        ];
        let charts = charts(&points, None);
        let shown: Vec<_> = charts.iter().map(|c| (c.title.as_str(), c.x.as_str(), c.series.len())).collect();
        let context = "tokens of context before";
        let expected = [
            ("Reading, by context", context, 1),
            ("Writing, by context", context, 2),
            ("Writing, by sequences", "sequences at the same time", 2),
        ];
        assert_eq!(shown, expected);
        let names: Vec<_> = charts[1].series.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["write 4, 1 sequence", "write 4, 4 sequences"]);
        let xs: Vec<_> = charts[2].series[1].marks.iter().map(|mark| mark.x).collect();
        assert_eq!((xs, charts[2].series[1].name.as_str()), (vec![1.0, 4.0], "write 4, after 64"));
    }
}
