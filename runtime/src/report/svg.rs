//! Curves and bars as SVG.

use std::fmt::Write;

/// Size of a chart, and the margins of its field: left, right, top, bottom.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 250.0;
const MARGIN: [f64; 4] = [56.0, 12.0, 28.0, 34.0];

/// Points of a curve; more are averaged.
const MOST: usize = 600;

/// A curve. What is not finite is a gap.
#[derive(Clone, Debug)]
pub struct Curve<'a> {
    pub label: String,
    pub colour: &'a str,
    /// Dots with a dashed line: values that are few.
    pub dotted: bool,
    pub points: Vec<(f64, f64)>,
}

/// Text that may stand in HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A range and the round numbers in it.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Option<Axis> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        values
            .filter(|v| v.is_finite())
            .for_each(|v| (low, high) = (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        if high - low <= 1e-12 * high.abs().max(low.abs()).max(1e-300) {
            // One value: room on both sides.
            let room = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - room, high + room);
        }
        let raw = (high - low) / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|f| f * power)
            .find(|s| *s >= raw)
            .unwrap_or(raw);
        let first = (low / step).ceil() as i64;
        let ticks = (0..12)
            .map(|i| (first + i) as f64 * step)
            .take_while(|t| *t <= high + 1e-9 * step);
        Some(Axis {
            low,
            high,
            ticks: ticks.collect(),
        })
    }

    fn place(&self, v: f64, from: f64, to: f64) -> f64 {
        from + (v - self.low) / (self.high - self.low) * (to - from)
    }
}

fn number(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 {
        "0".into()
    } else if !(1e-3..1e5).contains(&size) {
        format!("{v:.1e}").replace(".0e", "e")
    } else {
        let text = format!("{v:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

/// At most `MOST` points, each the mean of its neighbours; one that is not finite makes no mean.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    let size = points.len().div_ceil(MOST);
    let mean = |part: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        let finite: Vec<f64> = part.iter().map(pick).filter(|v| v.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    points
        .chunks(size)
        .map(|part| (mean(part, |p| p.0), mean(part, |p| p.1)))
        .collect()
}

fn frame(out: &mut String, title: &str, bottom: &str, x: &Axis, y: &Axis) {
    let [left, right, top, low] = MARGIN;
    let (x0, x1, y0, y1) = (left, WIDTH - right, HEIGHT - low, top);
    let mut put = |text: String| out.push_str(&text);
    put(format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
         <text class=\"title\" x=\"{left}\" y=\"17\">{0}</text>",
        escape(title)
    ));
    for t in &y.ticks {
        let at = y.place(*t, y0, y1);
        put(format!(
            "<line class=\"grid\" x1=\"{x0}\" x2=\"{x1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x0 - 6.0,
            at + 4.0,
            number(*t)
        ));
    }
    for t in &x.ticks {
        let at = x.place(*t, x0, x1);
        put(format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{y0}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y0 + 4.0,
            y0 + 16.0,
            number(*t)
        ));
    }
    put(format!(
        "<line class=\"axis\" x1=\"{x0}\" x2=\"{x1}\" y1=\"{y0}\" y2=\"{y0}\"/>\
         <text class=\"tick\" x=\"{x1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        HEIGHT - 3.0,
        escape(bottom)
    ));
}

/// Curves over updates, laid over each other; `None` where there is nothing finite.
pub fn curves(title: &str, curves: &[Curve]) -> Option<String> {
    let all = || curves.iter().flat_map(|c| &c.points).filter(|p| p.1.is_finite());
    let (x, y) = (Axis::of(all().map(|p| p.0))?, Axis::of(all().map(|p| p.1))?);
    let [left, right, top, bottom] = MARGIN;
    let at = |p: &(f64, f64)| (x.place(p.0, left, WIDTH - right), y.place(p.1, HEIGHT - bottom, top));
    let mut out = String::new();
    frame(&mut out, title, "updates", &x, &y);
    for c in curves {
        let mut path = String::new();
        let mut pen = 'M';
        let points = thin(&c.points);
        for p in &points {
            if p.1.is_finite() {
                let (px, py) = at(p);
                let _ = write!(path, "{pen}{px:.1} {py:.1}");
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        let label = escape(&c.label);
        let dash = if c.dotted { " stroke-dasharray=\"4 3\"" } else { "" };
        let _ = write!(
            out,
            "<path class=\"curve\" d=\"{path}\" stroke=\"{}\"{dash}><title>{label}</title></path>",
            c.colour
        );
        // A curve of one point would not be seen.
        if c.dotted || points.len() == 1 {
            for p in points.iter().filter(|p| p.1.is_finite()) {
                let (px, py) = at(p);
                let _ = write!(
                    out,
                    "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2.6\" fill=\"{}\"><title>{label}, update {}: {}</title></circle>",
                    c.colour,
                    p.0,
                    number(p.1)
                );
            }
        }
    }
    out += "</svg>";
    Some(out)
}

/// Bars of one or more histograms over the same edges, each as shares of its own sum.
pub fn bars(title: &str, edges: &[f64], sets: &[(String, &str, Vec<f64>)]) -> Option<String> {
    let share = |counts: &[f64]| -> Vec<f64> {
        let sum: f64 = counts.iter().sum::<f64>().max(1.0);
        counts.iter().map(|c| 100.0 * c / sum).collect()
    };
    let sets: Vec<_> = sets.iter().map(|(n, c, v)| (n, c, v, share(v))).collect();
    let tops = sets.iter().flat_map(|s| s.3.iter().copied()).chain([0.0]);
    let (x, y) = (Axis::of(edges.iter().copied())?, Axis::of(tops)?);
    let [left, right, top, bottom] = MARGIN;
    let mut out = String::new();
    frame(&mut out, title, "share of clips in percent", &x, &y);
    for (i, (name, colour, counts, shares)) in sets.iter().enumerate() {
        for ((pair, count), share) in edges.windows(2).zip(counts.iter()).zip(shares) {
            let place = |v: f64| x.place(v, left, WIDTH - right);
            let (from, to) = (place(pair[0]), place(pair[1]));
            let width = (to - from) / sets.len() as f64;
            let (height, base) = (y.place(*share, HEIGHT - bottom, top), HEIGHT - bottom);
            let _ = write!(
                out,
                "<rect x=\"{:.1}\" y=\"{height:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"><title>{}: {} from {} to \
                 {}</title></rect>",
                from + i as f64 * width + 0.5,
                (width - 1.0).max(0.5),
                (base - height).max(0.0),
                escape(name),
                count,
                number(pair[0]),
                number(pair[1])
            );
        }
    }
    out += "</svg>";
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: Vec<(f64, f64)>) -> Curve<'static> {
        Curve {
            label: "a<b".into(),
            colour: "#123456",
            dotted: false,
            points,
        }
    }

    #[test]
    fn gaps_are_gaps_and_single_values_have_room() {
        let nan = f64::NAN;
        let svg = curves("loss", &[curve(vec![(1.0, 3.0), (2.0, nan), (3.0, 1.0), (4.0, 2.0)])]).unwrap();
        let path = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(svg.contains("a&lt;b") && !svg.contains("NaN"), "{svg}");
        assert!(curves("flat", &[curve(vec![(5.0, 0.0)])]).unwrap().contains("<circle"));
        assert!(curves("nothing", &[curve(vec![(5.0, nan)])]).is_none());
        assert!(curves("nothing", &[]).is_none());
    }

    #[test]
    fn long_curves_are_thinned_without_losing_their_ends() {
        let long: Vec<(f64, f64)> = (0..40_000).map(|i| (i as f64, (i % 100) as f64)).collect();
        let few = thin(&long);
        assert!(few.len() <= MOST && few.len() > MOST / 2);
        let mean = |pick: fn(f64) -> f64| (3 * 67..4 * 67).map(|i| pick(i as f64)).sum::<f64>() / 67.0;
        assert!((few[3].0 - mean(|i| i)).abs() < 1e-9 && (few[3].1 - mean(|i| i % 100.0)).abs() < 1e-9);
        assert!(few[0].0 < 100.0 && few[few.len() - 1].0 > 39_900.0);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        for (low, high) in [
            (0.0, 1.0),
            (3.2e-4, 9.9e-4),
            (-5.0, 7.0),
            (0.0, 400_000.0),
            (1e-300, 2e-300),
        ] {
            let axis = Axis::of([low, high].into_iter()).unwrap();
            assert!(!axis.ticks.is_empty() && axis.ticks.len() <= 6, "{:?}", axis.ticks);
            let inside = |t: &f64| *t >= low - 1e-9 * (high - low) && *t <= high + 1e-9 * (high - low);
            assert!(axis.ticks.iter().all(inside), "{:?}", axis.ticks);
        }
        assert_eq!(
            [number(0.00042), number(1500.0), number(400_000.0)],
            ["4.2e-4", "1500", "4e5"]
        );
    }
}
