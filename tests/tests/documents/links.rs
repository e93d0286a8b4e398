//! Links between pages lead somewhere, and files that pages and sources name exist.

use crate::pages::{files, name, page, root};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn relative_links_lead_to_files_and_headings() {
    let wrong: Vec<String> = files(&["md"]).iter().flat_map(|p| broken(p)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn broken(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut wrong = vec![];
    for (line, prose) in page(&text).prose {
        for target in targets(&without_code(&prose)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = match file {
                "" => path.to_path_buf(),
                file => path.parent().unwrap().join(file),
            };
            if !to.exists() {
                wrong.push(format!("{}:{line}: `{target}` leads nowhere", name(path)));
            } else if !anchor.is_empty() && !anchors(&to).contains(&anchor.to_string()) {
                wrong.push(format!("{}:{line}: `{target}` names no heading", name(path)));
            }
        }
    }
    wrong
}

/// What stands in the round brackets of `[text](target)`.
fn targets(line: &str) -> Vec<String> {
    let parts = line.split("](").skip(1);
    parts
        .filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_string()))
        .collect()
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// Anchors of a page's headings, as GitHub makes them.
fn anchors(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = page(&text).prose.into_iter().filter(|(_, l)| l.starts_with('#'));
    headings
        .map(|(_, l)| {
            let slug = slug(l.trim_start_matches('#').trim());
            let n = seen.entry(slug.clone()).or_default();
            *n += 1;
            if *n == 1 { slug } else { format!("{slug}-{}", *n - 1) }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

#[test]
fn headings_become_anchors_as_on_github() {
    assert_eq!(slug("On a GPU"), "on-a-gpu");
    assert_eq!(slug("`transcribe` of models/base.ron"), "transcribe-of-modelsbaseron");
    assert_eq!(targets("see [a](b.md#c), [d](e)"), ["b.md#c", "e"]);
}

/// Folders at the top, whose files are named by their path from there.
const TOP: &[&str] = &[
    "backends/",
    "bench/",
    "cli/",
    "decode/",
    "docs/",
    "frontend/",
    "fuzz/",
    "ir/",
    "models/",
    "passes/",
    "runtime/",
    "scripts/",
    "tests/",
];

/// Files that pages name in backticks, by their path from the top.
#[test]
fn files_named_in_pages_exist() {
    let mut wrong = vec![];
    for path in files(&["md"]) {
        // Notes of the past name files of the past.
        if name(&path).starts_with("docs/notebook/") || name(&path) == "CHANGELOG.md" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (line, prose) in page(&text).prose {
            for code in prose.split('`').skip(1).step_by(2) {
                let file = TOP.iter().any(|t| code.starts_with(t)) && !code.contains([' ', '*', '<', '{', '(']);
                let placeholder = code
                    .split(['/', '.'])
                    .any(|p| p.len() > 1 && p.chars().all(|c| c.is_uppercase()));
                if file && !placeholder && !root().join(code).exists() {
                    wrong.push(format!("{}:{line}: there is no `{code}`", name(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pages that sources and scripts point to.
#[test]
fn pages_named_in_sources_exist() {
    let mut wrong = vec![];
    for path in files(&["rs", "sh", "py", "ron", "toml"]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (i, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("docs/") {
                let page: String = line[at..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || "/-_.".contains(*c))
                    .collect();
                let page = page.trim_end_matches('.');
                if page.ends_with(".md") && !root().join(page).exists() && !line[..at].ends_with("://") {
                    wrong.push(format!("{}:{}: there is no {page}", name(&path), i + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
