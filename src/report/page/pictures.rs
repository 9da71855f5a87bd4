//! Pictures of numbers, as SVG in the page. Everything in them is ours but their labels, which are escaped.

use std::fmt::Write as _;

use super::html::escaped;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 150.0;
/// What is left free for numbers: above the picture and below it.
const TOP: f64 = 18.0;
const FOOT: f64 = 20.0;

/// Parts of a whole, side by side, each in the colour of its class.
pub fn parts(parts: &[(&str, u64)]) -> String {
    let all = parts.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
    let mut svg = open(960.0, 22.0, "counts");
    let mut at = 0.0;
    for (class, count) in parts {
        let width = *count as f64 / all * 960.0;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{at:.2}\" y=\"0\" width=\"{width:.2}\" height=\"22\"/>"
        );
        at += width;
    }
    svg + "</svg>"
}

/// A number over time. The last value may span less than the others.
pub fn curve(values: &[f64], seconds: f64) -> String {
    let top = values.iter().copied().fold(0.0, f64::max);
    let scale = if top > 0.0 { (HEIGHT - TOP - FOOT) / top } else { 0.0 };
    let step = WIDTH / values.len().max(1) as f64;
    let (floor, mut line) = (HEIGHT - FOOT, String::new());
    for (at, value) in values.iter().enumerate() {
        let (left, y) = (at as f64 * step, floor - value * scale);
        let _ = write!(line, "{left:.1},{y:.1} {:.1},{y:.1} ", left + step);
    }
    let line = line.trim_end();
    let mut svg = open(WIDTH, HEIGHT, "over time");
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>\
         <polygon class=\"area\" points=\"0,{floor} {line} {WIDTH},{floor}\"/>\
         <polyline class=\"curve\" points=\"{line}\"/>\
         <text x=\"0\" y=\"12\">{}</text><text x=\"0\" y=\"{HEIGHT}\">0 s</text>\
         <text x=\"{WIDTH}\" y=\"{HEIGHT}\" text-anchor=\"end\">{}</text>",
        number(top),
        duration(seconds)
    );
    svg + "</svg>"
}

/// Counts in ranges, each with what stands below it.
pub fn histogram(bars: &[(String, u64)]) -> String {
    let top = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1) as f64;
    let step = WIDTH / bars.len().max(1) as f64;
    let floor = HEIGHT - FOOT;
    let mut svg = open(WIDTH, HEIGHT, "histogram");
    for (at, (label, count)) in bars.iter().enumerate() {
        let height = *count as f64 / top * (HEIGHT - TOP - FOOT);
        let (left, y) = (at as f64 * step, floor - height);
        let middle = left + step / 2.0;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\
             <text x=\"{middle:.1}\" y=\"{HEIGHT}\" text-anchor=\"middle\">{}</text>",
            left + 1.0,
            (step - 2.0).max(1.0),
            escaped(label)
        );
        if *count > 0 {
            let above = y - 4.0;
            let _ = write!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{}</text>",
                number(*count as f64)
            );
        }
    }
    svg + "</svg>"
}

/// A share of the whole, from 0 to 1.
pub fn share(part: f64) -> String {
    let width = part.clamp(0.0, 1.0) * 300.0;
    let bar =
        format!("<rect class=\"bar\" x=\"0\" y=\"3\" width=\"{width:.1}\" height=\"8\" rx=\"2\"/>");
    open(300.0, 14.0, "share") + &bar + "</svg>"
}

fn open(width: f64, height: f64, label: &str) -> String {
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">")
}

/// A number short enough for a picture.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// A time as whole as it may be told.
pub fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 5_400.0 => format!("{:.1} h", seconds / 3_600.0),
        seconds if seconds >= 90.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds >= 10.0 => format!("{seconds:.0} s"),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stay_within_their_frames() {
        for values in [vec![], vec![0.0], vec![1.0, 50.0, 3.0], vec![7.0; 600]] {
            let svg = curve(&values, 12.0);
            let points = svg.split("polyline class=\"curve\" points=\"").nth(1).unwrap();
            for point in points.split('"').next().unwrap().split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=WIDTH + 0.1).contains(&x) && (TOP..=HEIGHT - FOOT).contains(&y));
            }
        }
        assert!(histogram(&[("<1".to_owned(), 3)]).contains("&lt;1"));
        assert!(parts(&[]).ends_with("</svg>"));
    }
}
