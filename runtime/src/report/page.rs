//! The HTML page: one file that needs nothing else.

use super::read::{Histogram, RunLog, Sample};
use super::svg::{Curve, bars, curves, escape};
use crate::log::pace::duration;
use crate::score::{Op, align};
use std::collections::{BTreeMap, BTreeSet};

/// Colours of the runs, to be told apart also by those who see red and green alike.
const COLOURS: [&str; 8] = [
    "#2f6fdb", "#e07b00", "#0f9d76", "#b5179e", "#7a6a00", "#d1495b", "#4c8fa8", "#6f4ad0",
];

/// Numbers that are looked at first.
const FIRST: [&str; 6] = ["loss_bits", "wer", "cer", "accuracy", "contrastive_bits", "lr"];

/// Settings and events that are listed at most.
const EVENTS: usize = 200;

fn colour(run: usize) -> &'static str {
    COLOURS[run % COLOURS.len()]
}

/// The whole page of one or more runs.
pub fn page(runs: &[RunLog]) -> String {
    let names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
    let title = escape(&names.join(", "));
    let sections = [
        summary(runs),
        charts(runs),
        samples(runs),
        histograms(runs),
        settings(runs),
        events(runs),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\n<style>\n{}</style>\
         </head><body>\n<h1>Training report</h1>\n{}\n</body></html>\n",
        include_str!("page.css"),
        sections.join("\n")
    )
}

fn row(cells: &[String]) -> String {
    format!(
        "<tr>{}</tr>\n",
        cells.iter().map(|c| format!("<td>{c}</td>")).collect::<String>()
    )
}

fn table(head: &[&str], rows: &str) -> String {
    let head: String = head.iter().map(|h| format!("<th>{}</th>", escape(h))).collect();
    format!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>")
}

fn keyed(run: usize, name: &str) -> String {
    format!(
        "<span class=\"key\" style=\"background:{}\"></span>{}",
        colour(run),
        escape(name)
    )
}

fn summary(runs: &[RunLog]) -> String {
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        let text = |name: &str| escape(run.start.get(name).map_or("", String::as_str));
        let hours = |seconds: Option<f64>| seconds.map_or(String::new(), |s| format!("{:.2} h", s / 3600.0));
        let data: Option<f64> = run.start.get("train_seconds").and_then(|s| s.parse().ok());
        let heard = run.last("train", "audio_hours").map(|h| 3600.0 * h);
        let best = |name: &str, percent: bool| {
            run.lowest("valid", name)
                .map_or(String::new(), |(value, update)| match percent {
                    true => format!("{:.1} % at {update}", 100.0 * value),
                    false => format!("{value:.3} at {update}"),
                })
        };
        rows += &row(&[
            keyed(i, &run.name),
            format!("{} {}", text("model"), text("command")),
            run.updates.to_string(),
            hours(data),
            hours(heard),
            duration(run.seconds),
            best("loss_bits", false),
            best("wer", true),
            best("cer", true),
        ]);
    }
    let head = [
        "run",
        "model, command",
        "updates",
        "training data",
        "audio trained on",
        "time",
        "best loss (bits)",
        "best wer",
        "best cer",
    ];
    table(&head, &rows)
}

fn charts(runs: &[RunLog]) -> String {
    let names: BTreeSet<&str> = runs
        .iter()
        .flat_map(|r| r.series.keys())
        .map(|(_, n)| n.as_str())
        .collect();
    let rest = names.iter().filter(|n| !FIRST.contains(n));
    let ordered = FIRST.iter().filter(|n| names.contains(**n)).chain(rest);
    let mut out = String::from("<h2>Curves</h2><p>Full lines: training. Dots: validation.</p><div class=\"charts\">\n");
    for name in ordered {
        let mut all = vec![];
        for (i, run) in runs.iter().enumerate() {
            for ((kind, _), points) in run.series.iter().filter(|((_, n), _)| n == name) {
                all.push(Curve {
                    label: format!("{} {kind}", run.name),
                    colour: colour(i),
                    dotted: kind != "train",
                    points: points.iter().map(|p| (p.update as f64, p.value)).collect(),
                });
            }
        }
        out.extend(curves(name, &all).map(|svg| svg + "\n"));
    }
    out + "</div>"
}

/// The hypothesis with what differs from the reference marked.
fn marked(sample: &Sample) -> String {
    let (said, heard): (Vec<&str>, Vec<&str>) = (
        sample.reference.split_whitespace().collect(),
        sample.hypothesis.split_whitespace().collect(),
    );
    let words: Vec<String> = align(&said, &heard)
        .iter()
        .map(|op| match op {
            Op::Hit(_, j) => escape(heard[*j]),
            Op::Substitution(i, j) => format!("<del>{}</del> <ins>{}</ins>", escape(said[*i]), escape(heard[*j])),
            Op::Deletion(i) => format!("<del>{}</del>", escape(said[*i])),
            Op::Insertion(j) => format!("<ins>{}</ins>", escape(heard[*j])),
        })
        .collect();
    words.join(" ")
}

fn samples(runs: &[RunLog]) -> String {
    if runs.iter().all(|r| r.samples.1.is_empty()) {
        return String::new();
    }
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        for sample in &run.samples.1 {
            rows += &row(&[
                keyed(i, &format!("update {}", run.samples.0)),
                escape(&sample.path),
                escape(&sample.reference),
                marked(sample),
            ]);
        }
    }
    let note = "<p>Of the last validation. <del>Missed</del> and <ins>heard instead</ins>.</p>";
    format!(
        "<h2>Samples</h2>{note}{}",
        table(&["run", "recording", "reference", "hypothesis"], &rows)
    )
}

fn histograms(runs: &[RunLog]) -> String {
    let mut by_title: BTreeMap<&str, Vec<(usize, &Histogram)>> = BTreeMap::new();
    for (i, run) in runs.iter().enumerate() {
        run.histograms
            .iter()
            .for_each(|h| by_title.entry(&h.title).or_default().push((i, h)));
    }
    let mut out = String::new();
    for (title, own) in by_title {
        // Runs whose edges differ have a chart each.
        let mut groups: Vec<(&[f64], Vec<(String, &str, Vec<f64>)>)> = vec![];
        for (i, h) in own {
            let bar = (runs[i].name.clone(), colour(i), h.counts.clone());
            match groups.iter_mut().find(|(edges, _)| *edges == h.edges) {
                Some((_, group)) => group.push(bar),
                None => groups.push((&h.edges, vec![bar])),
            }
        }
        for (edges, group) in groups {
            out.extend(bars(title, edges, &group).map(|svg| svg + "\n"));
        }
    }
    match out.is_empty() {
        true => out,
        false => format!("<h2>Histograms</h2><div class=\"charts\">\n{out}</div>"),
    }
}

fn settings(runs: &[RunLog]) -> String {
    let names: BTreeSet<&String> = runs.iter().flat_map(|r| r.settings.keys()).collect();
    if names.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for name in names {
        let values: Vec<&str> = runs
            .iter()
            .map(|r| r.settings.get(name).map_or("", String::as_str))
            .collect();
        let differs = values.iter().any(|v| *v != values[0]);
        let class = if differs { " class=\"differs\"" } else { "" };
        let cells: String = values
            .iter()
            .map(|v| format!("<td><code>{}</code></td>", escape(v)))
            .collect();
        rows += &format!("<tr{class}><td><code>{}</code></td>{cells}</tr>\n", escape(name));
    }
    let mut head = vec!["setting"];
    head.extend(runs.iter().map(|r| r.name.as_str()));
    format!("<h2>Settings</h2>{}", table(&head, &rows))
}

fn events(runs: &[RunLog]) -> String {
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        for (update, name, message) in run.events.iter().take(EVENTS) {
            rows += &row(&[keyed(i, &format!("update {update}")), escape(name), escape(message)]);
        }
        if let Some(more) = run.events.len().checked_sub(EVENTS).filter(|n| *n > 0) {
            rows += &row(&[keyed(i, ""), format!("{more} more"), "see log.jsonl".into()]);
        }
    }
    match rows.is_empty() {
        true => rows,
        false => format!("<h2>What happened</h2>{}", table(&["run", "event", "message"], &rows)),
    }
}
