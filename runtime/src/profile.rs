//! Profiles: kernels against the ceiling that bounds each.

use crate::session::KernelTime;
use ir::artifact::Factors;
use serde::Serialize;
use std::fmt::Write;

/// Floating-point operations by what they multiply; all others count as those of f32.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flops {
    pub f32: f64,
    pub bf16: f64,
    pub int8: f64,
}

impl Flops {
    pub fn add(&mut self, factors: Factors, flops: f64) {
        *match factors {
            Factors::F32 => &mut self.f32,
            Factors::Bf16 => &mut self.bf16,
            Factors::Int8 => &mut self.int8,
        } += flops;
    }

    pub fn total(&self) -> f64 {
        self.f32 + self.bf16 + self.int8
    }

    /// The least time that these take, in seconds.
    pub fn least_seconds(&self, peaks: &Peaks) -> f64 {
        let all = [
            (self.f32, Factors::F32),
            (self.bf16, Factors::Bf16),
            (self.int8, Factors::Int8),
        ];
        all.iter()
            .map(|(flops, factors)| flops / peaks.of(*factors) / 1e9)
            .sum()
    }
}

/// Most GFLOP/s of multiply-adds by what they multiply, measured; `None` where that was not asked for or cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peaks {
    #[serde(rename = "peak_gflops")]
    pub f32: f64,
    #[serde(rename = "peak_bf16_gflops", skip_serializing_if = "Option::is_none")]
    pub bf16: Option<f64>,
    #[serde(rename = "peak_int8_gflops", skip_serializing_if = "Option::is_none")]
    pub int8: Option<f64>,
}

impl Peaks {
    /// Where there is no instruction of a kind, f32 does its work.
    pub fn of(&self, factors: Factors) -> f64 {
        match factors {
            Factors::F32 => self.f32,
            Factors::Bf16 => self.bf16.unwrap_or(self.f32),
            Factors::Int8 => self.int8.unwrap_or(self.f32),
        }
    }

    /// For people: those of f32 first.
    pub fn text(&self) -> String {
        let more = [("bf16", self.bf16), ("int8", self.int8)];
        let more = more
            .iter()
            .filter_map(|(name, peak)| Some(format!(", {:.1} in {name}", (*peak)?)));
        format!("{:.1}", self.f32) + &more.collect::<String>()
    }
}

/// What the machine can do at most, measured; `None` where it is not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    #[serde(flatten)]
    pub peaks: Option<Peaks>,
    /// Of memory, in GB/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_gbs: Option<f64>,
}

/// What bounds a kernel: its arithmetic, or the bytes it cannot but move (the roofline of Williams et al. 2009).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Fma,
    Memory,
}

/// All launches of a kernel in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub time: KernelTime,
    /// Of the whole run's seconds.
    pub share: f64,
    pub gflops: f64,
    pub gbs: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The least time that the ceiling allows, per time taken. Above 1 where operands come from a cache and memory bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_ceiling: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Of the whole run.
    pub seconds: f64,
    #[serde(flatten)]
    pub ceilings: Ceilings,
    /// The longest first.
    pub kernels: Vec<Row>,
    /// Seconds in no kernel: inputs, outputs, the plan; with the optimizer also gradients made 0.
    pub outside_s: f64,
}

impl Profile {
    /// Of a run that took `seconds`.
    pub fn new(mut times: Vec<KernelTime>, seconds: f64, ceilings: Ceilings) -> Profile {
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let outside_s = seconds - times.iter().map(|t| t.seconds).sum::<f64>();
        let row = |time| Row::new(time, seconds, ceilings);
        Profile {
            seconds,
            ceilings,
            kernels: times.into_iter().map(row).collect(),
            outside_s,
        }
    }

    /// A table of the `top` longest kernels, the others as one line.
    pub fn text(&self, top: usize) -> String {
        let mut text = format!("profile of a run of {:.4} s", self.seconds);
        let ceilings = [
            self.ceilings
                .peaks
                .map(|p| format!("{} GFLOP/s of multiply-adds (fma)", p.text())),
            self.ceilings.bandwidth_gbs.map(|b| format!("{b:.1} GB/s of memory")),
        ];
        let ceilings: Vec<String> = ceilings.into_iter().flatten().collect();
        if !ceilings.is_empty() {
            let _ = write!(text, "; ceilings measured now: {}", ceilings.join(", "));
        }
        let _ = writeln!(
            text,
            "\n{:>12} {:>7} {:>8} {:>9} {:>8} {:>7} {:>7} {:>6}  kernel",
            "ms", "share", "launches", "GFLOP/s", "GB/s", "bound", "of it", "idle"
        );
        let (shown, rest) = self.kernels.split_at(top.min(self.kernels.len()));
        shown.iter().for_each(|r| line(&mut text, r));
        if !rest.is_empty() {
            line(&mut text, &self.sum(rest, format!("{} more kernels", rest.len())));
        }
        line(&mut text, &self.sum(&self.kernels, "all kernels".into()));
        let share = 100.0 * self.outside_s / self.seconds;
        let _ = writeln!(text, "{:12.3} {share:5.1} %  outside kernels", 1e3 * self.outside_s);
        text
    }

    fn sum(&self, rows: &[Row], name: String) -> Row {
        let of = |f: &dyn Fn(&Row) -> f64| rows.iter().map(f).sum::<f64>();
        let seconds = of(&|r| r.time.seconds);
        let known = rows.iter().all(|r| r.time.imbalance.is_some());
        let idle = of(&|r| r.time.imbalance.unwrap_or(0.0) * r.time.seconds);
        let least: Option<f64> = rows.iter().map(|r| Some(r.of_ceiling? * r.time.seconds)).sum();
        Row {
            time: KernelTime {
                kernel: name,
                what: String::new(),
                launches: rows.iter().map(|r| r.time.launches).sum(),
                seconds,
                flops: of(&|r| r.time.flops),
                bytes: of(&|r| r.time.bytes),
                factors: Factors::F32,
                imbalance: known.then_some(idle / seconds),
            },
            share: seconds / self.seconds,
            gflops: of(&|r| r.time.flops) / seconds / 1e9,
            gbs: of(&|r| r.time.bytes) / seconds / 1e9,
            bound: None,
            of_ceiling: least.map(|l| l / seconds),
        }
    }
}

impl Row {
    fn new(time: KernelTime, whole: f64, ceilings: Ceilings) -> Row {
        let (gflops, gbs) = (time.flops / time.seconds / 1e9, time.bytes / time.seconds / 1e9);
        let of = |have: f64, most: Option<f64>| most.filter(|m| *m > 0.0).map(|m| have / m);
        let peak = ceilings.peaks.map(|p| p.of(time.factors));
        let judged = of(gflops, peak).zip(of(gbs, ceilings.bandwidth_gbs));
        let judged = judged.map(|(a, b)| if a >= b { (Bound::Fma, a) } else { (Bound::Memory, b) });
        Row {
            share: time.seconds / whole,
            gflops,
            gbs,
            bound: judged.map(|(bound, _)| bound),
            of_ceiling: judged.map(|(_, share)| share),
            time,
        }
    }
}

fn line(text: &mut String, r: &Row) {
    let percent = |x: Option<f64>| x.map_or("-".into(), |x| format!("{:.1} %", 100.0 * x));
    let bound = match r.bound {
        Some(Bound::Fma) => "fma",
        Some(Bound::Memory) => "memory",
        None => "-",
    };
    let _ = writeln!(
        text,
        "{:12.4} {:5.1} % {:>8} {:9.1} {:8.1} {bound:>7} {:>7} {:>6}  {:<16} {}",
        1e3 * r.time.seconds,
        100.0 * r.share,
        r.time.launches,
        r.gflops,
        r.gbs,
        percent(r.of_ceiling),
        percent(r.time.imbalance),
        r.time.kernel,
        r.time.what
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(kernel: &str, seconds: f64, flops: f64, bytes: f64) -> KernelTime {
        KernelTime {
            kernel: kernel.into(),
            what: String::new(),
            launches: 2,
            seconds,
            flops,
            bytes,
            factors: Factors::F32,
            imbalance: None,
        }
    }

    #[test]
    fn the_nearer_ceiling_bounds_a_kernel() {
        let ceilings = Ceilings {
            peaks: Some(Peaks {
                f32: 100.0,
                bf16: None,
                int8: None,
            }),
            bandwidth_gbs: Some(10.0),
        };
        let times = vec![time("copy", 1.0, 1e9, 5e9), time("product", 2.0, 160e9, 1e9)];
        let profile = Profile::new(times, 4.0, ceilings);
        let found: Vec<_> = profile
            .kernels
            .iter()
            .map(|r| (r.time.kernel.as_str(), r.bound, r.of_ceiling, r.share))
            .collect();
        let want = [
            ("product", Some(Bound::Fma), Some(0.8), 0.5),
            ("copy", Some(Bound::Memory), Some(0.5), 0.25),
        ];
        assert_eq!(found, want);
        assert_eq!(profile.outside_s, 1.0);
        // Of all kernels together: (2 s x 80 % + 1 s x 50 %) / 3 s.
        let text = profile.text(1);
        let rest: Vec<&str> = text.lines().skip(3).collect();
        assert!(
            rest[0].contains("1 more kernels") && rest[1].contains("70.0 %"),
            "{text}"
        );
        assert!(rest[2].contains("25.0 %") && rest[2].contains("outside"), "{text}");
    }
}
