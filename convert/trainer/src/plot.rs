//! Pictures of results, as SVG.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};
use crate::tensor_file::write_atomically;

/// A value with its interval, and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The name.
    pub name: String,
    /// The value, 0 to 1.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Sizes in pixels.
const WIDTH: u32 = 900;
const ROW: u32 = 22;
const NAMES: u32 = 300;
const MARGIN: u32 = 50;

/// Draws horizontal bars, the first on top, with their intervals.
///
/// # Errors
/// If the picture cannot be written; then there is none, or the old one.
pub fn bars(path: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, bars).map_err(|error| Error::bad_file(path, format!("cannot be drawn: {error}")))?;
    write_atomically(path, svg.as_bytes())
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(svg: &mut String, title: &str, bars: &[Bar]) -> Drawn {
    let size = (WIDTH, 2 * MARGIN + ROW * bars.len() as u32);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let most = bars.iter().map(|bar| bar.high).fold(0.05, f64::max).min(1.0);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin_right(20)
        .x_label_area_size(MARGIN / 2)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..most * 1.02, bars.len() as f64..0.0)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().x_label_formatter(&|x| format!("{x:.2}")).draw()?;
    let fill = RGBColor(94, 129, 172);
    for (row, bar) in bars.iter().enumerate() {
        let (top, middle, bottom) = (row as f64 + 0.2, row as f64 + 0.5, row as f64 + 0.8);
        chart.draw_series([Rectangle::new([(0.0, top), (bar.value, bottom)], fill.filled())])?;
        chart.draw_series([PathElement::new([(bar.low, middle), (bar.high, middle)], BLACK.stroke_width(1))])?;
        let (x, y) = chart.backend_coord(&(0.0, middle));
        let style = ("sans-serif", 13).into_font().into_text_style(&root).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw_text(&format!("{}  {:.3}", bar.name, bar.value), &style, (x - 6, y))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_with_its_name() {
        let folder = crate::testing::folder("plot");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("bars.svg");
        let bar = |name: &str, value| Bar { name: name.into(), value, low: value / 2.0, high: value * 1.5 };
        let all = [bar("control < 1", 0.125), bar("policy", 0.25), bar("nothing", 0.0)];
        bars(&path, "SVAMP", &all).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["SVAMP", "control &lt; 1  0.125", "policy  0.250", "nothing  0.000"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(matches!(bars(&folder.join("no/folder.svg"), "t", &all), Err(Error::Io { .. })));
        bars(&path, "none", &[]).unwrap();
    }
}
