//! Charts as inline SVG, made by hand: stacked bars, a line over time, pairs of bars, and a timeline of workers.
//! Colours are classes that the page's style sheet fills in, for light and dark. Knows nothing of jobs.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// The width of charts of which two stand side by side.
const NARROW: f64 = 440.0;
/// Where the bars begin, right of their labels.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 46.0;

/// A horizontal bar of parts.
pub(super) struct Bar {
    pub(super) label: String,
    /// The class of each part, its value and what it is called.
    pub(super) parts: Vec<(&'static str, f64, String)>,
    /// What stands at the bar's end.
    pub(super) end: String,
}

/// One of two bars on one scale.
pub(super) struct Pair {
    pub(super) class: &'static str,
    pub(super) value: f64,
    pub(super) shown: String,
}

/// A moment to point out on a time axis.
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A row of a timeline: what ran when.
pub(super) struct Lane {
    pub(super) label: String,
    pub(super) note: String,
    pub(super) spans: Vec<Span>,
    /// The moment at which the lane ends for good.
    pub(super) cut: Option<f64>,
}

/// One run on a timeline.
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) class: &'static str,
    pub(super) title: String,
}

/// Text that stands in SVG or HTML as it is.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn svg(width: f64, height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>{body}</svg>",
        escape(title)
    )
}

fn text(x: f64, y: f64, class: &str, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>", escape(words))
}

fn rect(x: f64, y: f64, width: f64, height: f64, class: &str, title: &str) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" class=\"{class}\"><title>{}</title></rect>",
        escape(title)
    )
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> String {
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>")
}

/// The largest of the values, or 1 when there is none above zero.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let top = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if top > 0.0 { top } else { 1.0 }
}

/// A step of 1, 2 or 5 times a power of ten that divides `range` into about `parts`.
fn step(range: f64, parts: f64) -> f64 {
    let rough = range / parts;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power)
}

/// A number without digits that say nothing.
fn tick(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Horizontal bars, each made of parts side by side.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let longest = top(bars.iter().map(|bar| bar.parts.iter().map(|(_, value, _)| value).sum()));
    let scale = (NARROW - LEFT - RIGHT - 20.0) / longest;
    let mut body = String::new();
    for (at, bar) in bars.iter().enumerate() {
        let y = 8.0 + at as f64 * 38.0;
        body += &text(LEFT - 12.0, y + 17.0, "label", "end", &bar.label);
        let mut x = LEFT;
        for (class, value, name) in bar.parts.iter().filter(|(_, value, _)| *value > 0.0) {
            let width = (value * scale).max(2.0);
            body += &rect(x, y, (width - 1.0).max(1.0), 24.0, class, &format!("{}: {name}", bar.label));
            x += width;
        }
        body += &text(x + 8.0, y + 17.0, "value", "start", &bar.end);
    }
    svg(NARROW, 16.0 + bars.len() as f64 * 38.0 - 6.0, title, &body)
}

/// Pairs of thin bars on one scale, such as a median and a 99th percentile.
pub(super) fn pairs(title: &str, rows: &[(String, [Pair; 2])]) -> String {
    let longest = top(rows.iter().flat_map(|(_, pair)| pair.iter().map(|bar| bar.value)));
    let scale = (NARROW - LEFT - RIGHT - 60.0) / longest;
    let mut body = String::new();
    for (at, (label, pair)) in rows.iter().enumerate() {
        let y = 6.0 + at as f64 * 46.0;
        body += &text(LEFT - 12.0, y + 22.0, "label", "end", label);
        for (place, Pair { class, value, shown }) in pair.iter().enumerate() {
            let (y, width) = (y + place as f64 * 17.0, (value * scale).max(2.0));
            body += &rect(LEFT, y, width, 14.0, class, &format!("{label}: {shown}"));
            body += &text(LEFT + width + 8.0, y + 11.5, "value small", "start", shown);
        }
    }
    svg(NARROW, 6.0 + rows.len() as f64 * 46.0, title, &body)
}

/// A time axis below a chart: lines, seconds, and the moments to point out.
fn time_axis(end: f64, left: f64, height: f64, marks: &[Mark]) -> String {
    let scale = (WIDTH - left - RIGHT) / end;
    let mut body = String::new();
    let step = step(end, 8.0);
    for number in 0..=(end / step + 0.001).floor() as usize {
        let (at, x) = (number as f64 * step, left + number as f64 * step * scale);
        body += &line(x, 18.0, x, height, "grid");
        body += &text(x, height + 16.0, "axis", "middle", &format!("{} s", tick(at)));
    }
    for mark in marks.iter().filter(|mark| mark.at >= 0.0 && mark.at <= end) {
        let x = left + mark.at * scale;
        let (anchor, dx) = if x > WIDTH * 0.66 { ("end", -5.0) } else { ("start", 5.0) };
        body += &line(x, 4.0, x, height, "mark");
        body += &text(x + dx, 12.0, "axis mark-text", anchor, &mark.label);
    }
    body
}

/// A line with its area, of points that rise in both directions, from the origin.
pub(super) fn rising(title: &str, points: &[(f64, f64)], marks: &[Mark]) -> String {
    const HEIGHT: f64 = 210.0;
    const FLOOR: f64 = 178.0;
    let left = 46.0;
    let end = top(points.iter().map(|point| point.0)) * 1.02;
    let highest = top(points.iter().map(|point| point.1));
    let x = |at: f64| left + at * (WIDTH - left - RIGHT) / end;
    let y = |value: f64| FLOOR - value * (FLOOR - 24.0) / highest;
    let mut body = time_axis(end, left, FLOOR, marks);
    let step = step(highest, 4.0).max(1.0);
    for number in 0..=(highest / step + 0.001).floor() as usize {
        let value = number as f64 * step;
        body += &line(left, y(value), WIDTH - RIGHT, y(value), "grid");
        body += &text(left - 8.0, y(value) + 4.0, "axis", "end", &tick(value));
    }
    let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
    let mut last = 0.0;
    for (at, value) in points {
        // A step: nothing ended between two ends.
        let _ = write!(path, "L{:.1} {:.1}L{:.1} {:.1}", x(*at), y(last), x(*at), y(*value));
        last = *value;
    }
    let right = points.last().map_or(0.0, |point| point.0);
    let _ = write!(body, "<path d=\"{path}L{:.1} {:.1}Z\" class=\"area\"/>", x(right), y(0.0));
    let _ = write!(body, "<path d=\"{path}\" class=\"line\"/>");
    body += &text(x(right) + 6.0, y(last) + 4.0, "value", "start", &tick(last));
    svg(WIDTH, HEIGHT, title, &body)
}

/// What ran when, a lane for each worker; runs at the same time stand below each other.
pub(super) fn timeline(title: &str, lanes: &[Lane], marks: &[Mark]) -> String {
    const ROW: f64 = 13.0;
    let end = top(lanes.iter().flat_map(|lane| lane.spans.iter().map(|span| span.to))) * 1.02;
    let scale = (WIDTH - LEFT - RIGHT) / end;
    let (mut body, mut y) = (String::new(), 26.0);
    for lane in lanes {
        let placed = rows(&lane.spans);
        let count = placed.iter().max().map_or(1, |last| last + 1).max(3);
        body += &text(LEFT - 12.0, y + 12.0, "label", "end", &lane.label);
        body += &text(LEFT - 12.0, y + 28.0, "axis", "end", &lane.note);
        for (span, row) in lane.spans.iter().zip(&placed) {
            let width = ((span.to - span.from) * scale).max(2.5) - 0.8;
            let top = y + *row as f64 * ROW;
            body += &rect(LEFT + span.from * scale, top, width, ROW - 2.5, span.class, &span.title);
        }
        let bottom = y + count as f64 * ROW;
        if let Some(cut) = lane.cut {
            let x = LEFT + cut * scale;
            body += &line(x, y - 3.0, x, bottom, "cut");
        }
        y = bottom + 14.0;
        body += &line(LEFT, y - 8.0, WIDTH - RIGHT, y - 8.0, "grid");
    }
    let axis = time_axis(end, LEFT, y - 8.0, marks);
    svg(WIDTH, y + 16.0, title, &(axis + &body))
}

/// The first free row for each span, from the earliest on.
fn rows(spans: &[Span]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|a, b| spans[*a].from.total_cmp(&spans[*b].from));
    let (mut free_from, mut placed): (Vec<f64>, Vec<usize>) = (Vec::new(), vec![0; spans.len()]);
    for at in order {
        let row = free_from.iter().position(|free| *free <= spans[at].from).unwrap_or(free_from.len());
        if row == free_from.len() {
            free_from.push(0.0);
        }
        free_from[row] = spans[at].to;
        placed[at] = row;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: f64, to: f64) -> Span {
        Span { from, to, class: "image", title: String::new() }
    }

    #[test]
    fn names_cannot_break_out_of_a_chart() {
        let bar = Bar { label: "<b>".into(), parts: vec![("done", 1.0, "\"1\"".into())], end: "1 & 2".into() };
        let chart = bars("a<b", &[bar]);
        assert!(!chart.contains("<b>") && chart.contains("&lt;b&gt;") && chart.contains("1 &amp; 2"));
    }

    #[test]
    fn runs_at_the_same_time_stand_in_different_rows() {
        assert_eq!(rows(&[span(0.0, 2.0), span(1.0, 3.0), span(2.0, 4.0)]), [0, 1, 0]);
    }

    #[test]
    fn steps_are_round_numbers() {
        assert_eq!(step(60.0, 4.0), 20.0);
        assert_eq!(step(7.0, 8.0), 1.0);
        assert_eq!(step(0.4, 8.0), 0.05);
        assert_eq!([tick(20.0), tick(0.5), tick(0.05)], ["20", "0.5", "0.05"]);
    }

    #[test]
    fn charts_of_nothing_are_still_charts() {
        for chart in [bars("a", &[]), pairs("b", &[]), rising("c", &[], &[]), timeline("d", &[], &[])] {
            assert!(chart.starts_with("<svg") && chart.ends_with("</svg>"));
            assert!(!chart.contains("NaN") && !chart.contains("inf"));
        }
    }

    #[test]
    fn a_longer_bar_stands_for_more() {
        let bar =
            |value: f64| Bar { label: String::new(), parts: vec![("done", value, String::new())], end: String::new() };
        let chart = bars("a", &[bar(10.0), bar(5.0)]);
        let widths: Vec<f64> =
            chart.split("width=\"").skip(1).map(|w| w.split('"').next().unwrap().parse().unwrap()).collect();
        assert!((widths[0] / widths[1] - 2.0).abs() < 0.05, "{widths:?}");
    }
}
