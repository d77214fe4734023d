//! Pictures of measurements: SVG files, alone or in a page, to be read on light and
//! on dark.
//!
//! They are drawn in the colours of a light page. A picture's style sheet replaces
//! each of these where the reader prefers dark, so that one file serves both.

mod chart;

pub use chart::{Chart, Mark, Series};

use crate::failure::{Failure, Result};
use crate::output::write_file;
use crate::table::Table;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// Where pictures are drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Result of drawing, which is into memory.
pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A colour on light and on dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    light: RGBColor,
    dark: RGBColor,
}

const fn colour(light: u32, dark: u32) -> Colour {
    const fn rgb(c: u32) -> RGBColor {
        RGBColor((c >> 16) as u8, (c >> 8) as u8, c as u8)
    }
    Colour { light: rgb(light), dark: rgb(dark) }
}

impl Colour {
    /// To draw with.
    pub fn rgb(self) -> RGBColor {
        self.light
    }
}

/// What pictures are drawn on.
pub const PAPER: Colour = colour(0xffffff, 0x0d1117);
/// Text.
pub const INK: Colour = colour(0x1f2328, 0xe6edf3);
/// Text beside it.
pub const FAINT: Colour = colour(0x59636e, 0x9198a1);
/// Lines of a grid, and what is only hinted at.
pub const GRID: Colour = colour(0xd8dee4, 0x30363d);
/// What is told apart by colour.
pub const PALETTE: [Colour; 8] = [
    colour(0x0969da, 0x58a6ff),
    colour(0xd1570f, 0xffa657),
    colour(0x1a7f37, 0x56d364),
    colour(0x8250df, 0xbc8cff),
    colour(0xbf3989, 0xf778ba),
    colour(0x9a6700, 0xe3b341),
    colour(0x0e7c86, 0x39c5cf),
    colour(0x6e7781, 0x8b949e),
];

/// The family of every text; the style sheet says more.
const FONT: &str = "sans-serif";

/// A text's style: its size in pixels, and what of it is where it is put.
pub fn text(size: u32, colour: Colour, h: HPos, v: VPos) -> TextStyle<'static> {
    // The backend makes letters smaller by this factor.
    (FONT, f64::from(size) * 1.24).into_font().color(&colour.rgb()).pos(Pos::new(h, v))
}

/// Writes a line of text that begins here.
pub fn write(area: &Area, at: (i32, i32), size: u32, colour: Colour, words: &str) -> Drawn {
    area.draw_text(&shown(words), &text(size, colour, HPos::Left, VPos::Top), at)
}

/// Writes a line of text that ends here.
pub fn write_left_of(area: &Area, at: (i32, i32), size: u32, colour: Colour, words: &str) -> Drawn {
    area.draw_text(&shown(words), &text(size, colour, HPos::Right, VPos::Top), at)
}

/// Fills a rectangle, given by two corners.
pub fn fill(area: &Area, from: (i32, i32), to: (i32, i32), colour: Colour) -> Drawn {
    area.draw(&Rectangle::new([from, to], colour.rgb().filled()))
}

/// About how many pixels a text takes.
pub fn text_width(words: &str, size: u32) -> i32 {
    (words.chars().count() as f64 * f64::from(size) * 0.56) as i32
}

/// What may stand in a picture: XML has no control characters.
fn shown(words: &str) -> String {
    crate::term::printable(words).replace(['\n', '\t'], " ")
}

/// Text as a part of HTML or XML.
pub fn escaped(words: &str) -> String {
    shown(words).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A drawing.
pub struct Picture {
    svg: String,
}

impl Picture {
    /// Draws one of so many pixels.
    pub fn draw(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Self {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&PAPER.rgb())
            .and_then(|()| draw(&area))
            .and_then(|()| area.present())
            .expect("memory can be drawn into");
        drop(area);
        let head = svg.find('>').map_or(0, |end| end + 1);
        svg.insert_str(head, &style());
        Self { svg }
    }

    /// Puts it into a file: alone if that is called `.svg`, with tables if it is a page.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path, page: &Page) -> Result {
        match Kind::of(path)? {
            Kind::Svg => write_file(path, &self.svg),
            Kind::Html => write_file(path, &page.html(&self.svg)),
        }
    }
}

/// What a file of a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The picture alone.
    Svg,
    /// A page with tables.
    Html,
}

impl Kind {
    /// What the name of a file asks for.
    ///
    /// # Errors
    /// If it is neither.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("html" | "htm") => Ok(Self::Html),
            _ => Err(Failure::usage(format!("{}: a picture is a .svg or .html file", path.display()))
                .hint("for example speed.svg; other programs turn SVG into other formats")),
        }
    }
}

/// What a page shows around a picture.
pub struct Page {
    /// What windows that show it are called; the picture has a title of its own.
    pub title: String,
    /// A paragraph after the picture.
    pub about: String,
    /// After that, each with a heading.
    pub tables: Vec<(String, Table)>,
}

impl Page {
    fn html(&self, svg: &str) -> String {
        let (title, about) = (escaped(&self.title), escaped(&self.about));
        let table = |(what, table): &(String, Table)| format!("<h2>{}</h2>\n{}", escaped(what), table.html());
        let tables: String = self.tables.iter().map(table).collect();
        format!(
            "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>{title}</title>
<style>{PAGE_STYLE}</style>
</head>
<body>
{svg}
<p>{about}</p>
{tables}</body>
</html>
"
        )
    }
}

const PAGE_STYLE: &str = "
body{font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;max-width:1000px;margin:2em auto;
padding:0 1em;color:#1f2328;background:#fff}
h2{font-size:1.1em;margin-top:2em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em .25em 0;text-align:left;border-bottom:1px solid #d8dee4}
th{color:#59636e;font-weight:600}.n{text-align:right}
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}
th{color:#9198a1}th,td{border-color:#30363d}}
";

/// The style sheet of a picture.
fn style() -> String {
    let hex = |c: RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let rule = |c: &Colour| {
        let (light, dark) = (hex(c.light), hex(c.dark));
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}\n")
    };
    let rules: String = [PAPER, INK, FAINT, GRID].iter().chain(&PALETTE).map(rule).collect();
    format!(
        "\n<style>svg{{max-width:100%;height:auto}}\
         text{{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}}\n\
         @media (prefers-color-scheme:dark){{{rules}}}</style>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let of = |name: &str| Kind::of(Path::new(name)).ok();
        assert_eq!(
            [of("a.svg"), of("b/c.HTML"), of("d.htm")],
            [Some(Kind::Svg), Some(Kind::Html), Some(Kind::Html)]
        );
        assert_eq!([of("a.png"), of("svg"), of("")], [None; 3]);
    }

    #[test]
    fn hostile_words_stay_words() {
        let picture = Picture::draw((100, 50), |area| write(area, (5, 5), 12, INK, "</svg>\u{1b}<script>&"));
        assert!(picture.svg.contains("&lt;script&gt;&amp;"), "{}", picture.svg);
        assert!(!picture.svg.contains('\u{1b}') && picture.svg.matches("</svg>").count() == 1);
        let page = Page { title: "<x>".into(), about: "a\"b".into(), tables: Vec::new() };
        assert!(
            page.html("").contains("<title>&lt;x&gt;</title>") && page.html("").contains("<p>a&quot;b</p>")
        );
    }

    #[test]
    fn every_colour_has_a_dark_one() {
        let picture = Picture::draw((40, 40), |area| fill(area, (1, 1), (9, 9), PALETTE[2]));
        assert!(picture.svg.contains("fill=\"#1A7F37\""));
        assert!(picture.svg.contains("[fill=\"#1A7F37\"]{fill:#56D364}"));
    }
}
