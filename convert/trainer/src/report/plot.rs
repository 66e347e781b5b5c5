//! Pictures of results, as SVG.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::tensor_file::write_atomically;
use crate::error::{Error, Result};

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

/// A line through points, in the order of their x.
#[derive(Clone, Debug, PartialEq)]
pub struct PlotCurve {
    /// x and y; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// What the two axes of a picture are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    /// From left to right.
    pub x: String,
    /// From below to above.
    pub y: String,
}

/// Points of one kind, in the order of their x.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// x and y, which are finite.
    pub points: Vec<(f64, f64)>,
}

/// One quantity of a training stage, over its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// The quantity.
    pub title: String,
    /// At each step: drawn pale, with its running mean on top.
    pub train: PlotCurve,
    /// On held-out text: drawn dark, with a dot for each evaluation.
    pub valid: PlotCurve,
}

impl Panel {
    /// Whether there are two values that differ.
    pub fn says_something(&self) -> bool {
        self.range(|(_, y)| y).is_some_and(|(low, high)| low < high)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let all = self.train.points.iter().chain(&self.valid.points);
        all.copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// The least and the greatest value of a coordinate.
    fn range(&self, of: impl Fn((f64, f64)) -> f64) -> Option<(f64, f64)> {
        self.points().map(of).map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// Sizes in pixels.
const WIDTH: u32 = 900;
const PANEL: (u32, u32) = (320, 220);
/// Points of a line, about: more than there are pixels say nothing.
const POINTS: usize = 500;
/// Steps of a running mean, as a share of all steps.
const SMOOTH: usize = 20;
const HEIGHT: u32 = 480;
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

/// Draws a line with dots for each series, with their names beside it in the order of their last
/// points.
///
/// # Errors
/// If the picture cannot be written; then there is none, or the old one.
pub fn lines(path: &Path, axes: &Axes, series: &[Series]) -> Result<()> {
    let mut svg = String::new();
    draw_lines(&mut svg, axes, series).map_err(|error| Error::bad_file(path, format!("cannot be drawn: {error}")))?;
    write_atomically(path, svg.as_bytes())
}

fn draw_lines(svg: &mut String, axes: &Axes, series: &[Series]) -> Drawn {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT.max(ROW * (series.len() as u32 + 2)))).into_drawing_area();
    root.fill(&WHITE)?;
    let (area, names) = root.split_horizontally(WIDTH - NAMES);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let all = series.iter().flat_map(|series| series.points.iter().map(of));
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
    if left > right {
        return Ok(());
    }
    // A chart of no height or width has no scale.
    let room = |low: f64, high: f64| (0.05 * (high - low)).max(1e-9 * high.abs()).max(f64::MIN_POSITIVE);
    let (across, up) = (room(left, right), room(low, high));
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(left - across..right + across, low - up..high + up)?;
    chart.configure_mesh().light_line_style(WHITE).x_desc(&*axes.x).y_desc(&*axes.y).draw()?;
    let mut order: Vec<usize> = (0..series.len()).collect();
    let last = |at: &usize| series[*at].points.last().map_or(f64::NEG_INFINITY, |point| point.1);
    order.sort_by(|a, b| last(b).total_cmp(&last(a)));
    for (row, at) in order.into_iter().enumerate() {
        let (Series { name, points }, color) = (&series[at], Palette99::pick(at));
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        let style = ("sans-serif", 13).into_font().color(&color);
        names.draw_text(name, &style.into_text_style(&names), (4, ROW as i32 * (row as i32 + 1)))?;
    }
    root.present()?;
    Ok(())
}

/// Draws rows of panels.
///
/// # Errors
/// If the picture cannot be written; then there is none, or the old one.
pub fn panels(path: &Path, rows: &[Vec<Panel>]) -> Result<()> {
    let mut svg = String::new();
    draw_panels(&mut svg, rows).map_err(|error| Error::bad_file(path, format!("cannot be drawn: {error}")))?;
    write_atomically(path, svg.as_bytes())
}

fn draw_panels(svg: &mut String, rows: &[Vec<Panel>]) -> Drawn {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let root = SVGBackend::with_string(svg, (PANEL.0 * columns as u32, PANEL.1 * rows.len().max(1) as u32));
    let root = root.into_drawing_area();
    root.fill(&WHITE)?;
    for (row, areas) in rows.iter().zip(root.split_evenly((rows.len().max(1), columns)).chunks(columns)) {
        for (panel, area) in row.iter().zip(areas) {
            draw_panel(panel, area)?;
        }
    }
    root.present()?;
    Ok(())
}

fn draw_panel(panel: &Panel, area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Drawn {
    let (Some(steps), Some((low, high))) = (panel.range(|(x, _)| x), panel.range(|(_, y)| y)) else { return Ok(()) };
    // A chart of no height or width has no scale.
    let room = (0.05 * (high - low)).max(1e-9 * high.abs()).max(f64::MIN_POSITIVE);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(steps.0..steps.1.max(steps.0 + 1.0), low - room..high + room)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    let (train, valid) = (RGBColor(94, 129, 172), RGBColor(191, 97, 106));
    let finite = |curve: &PlotCurve| -> Vec<(f64, f64)> {
        curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let (steps, evaluations) = (finite(&panel.train), finite(&panel.valid));
    let mean = running_mean(&steps);
    let thin = |points: &[(f64, f64)]| {
        points.iter().copied().step_by(points.len().div_ceil(POINTS).max(1)).collect::<Vec<_>>()
    };
    chart.draw_series(LineSeries::new(thin(&steps), train.mix(0.3)))?;
    chart.draw_series(LineSeries::new(thin(&mean), train.stroke_width(2)))?;
    chart.draw_series(LineSeries::new(evaluations.iter().copied(), valid.stroke_width(2)))?;
    chart.draw_series(evaluations.iter().map(|&point| Circle::new(point, 2, valid.filled())))?;
    Ok(())
}

/// Each point's y becomes the mean of those around it.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / SMOOTH / 2;
    let mean = |at: usize| {
        let near = &points[at.saturating_sub(reach)..(at + reach + 1).min(points.len())];
        near.iter().map(|(_, y)| y).sum::<f64>() / near.len() as f64
    };
    points.iter().enumerate().map(|(at, &(x, _))| (x, mean(at))).collect()
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

    #[test]
    fn panels_are_drawn_whatever_their_values() {
        let folder = crate::testing::folder("plot-panels");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("panels.svg");
        let curve = |points: &[(f64, f64)]| PlotCurve { points: points.to_vec() };
        let panel = |title: &str, train: &[(f64, f64)], valid: &[(f64, f64)]| Panel {
            title: title.into(),
            train: curve(train),
            valid: curve(valid),
        };
        let rows = [
            vec![panel("loss", &[(0.0, 3.0), (1.0, f64::NAN), (2.0, 1.0)], &[(2.0, 2.0)]), panel("empty", &[], &[])],
            vec![panel("one", &[(5.0, 1e300)], &[]), panel("flat", &[(0.0, 0.0), (1.0, 0.0)], &[(1.0, f64::INFINITY)])],
        ];
        panels(&path, &rows).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for (title, drawn) in [("loss", true), ("empty", false), ("one", true), ("flat", true)] {
            assert_eq!(svg.contains(title), drawn, "{title}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(rows.concat().iter().map(Panel::says_something).collect::<Vec<_>>(), [true, false, false, false]);
        panels(&path, &[]).unwrap();
    }

    #[test]
    fn a_running_mean_of_few_points_is_the_points() {
        let points = [(0.0, 1.0), (1.0, 5.0), (2.0, 3.0)];
        assert_eq!(running_mean(&points), points);
        let many: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        assert!((running_mean(&many)[50].1 - 0.4).abs() < 0.11);
    }
}
