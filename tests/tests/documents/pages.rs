//! The Markdown pages of the repository, line by line.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the repository").to_path_buf()
}

/// Folders that hold nothing of ours.
const PASSED_OVER: &[&str] = &["target", "venv", "demo", "gpu-bundle", "shared", "node_modules"];

/// Files of the repository with one of these extensions.
pub fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with('.') || PASSED_OVER.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path as messages and links show it.
pub fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A fenced block.
pub struct Block {
    /// What follows the fence, such as `ron`.
    pub info: String,
    /// The number of its first line, from 1.
    pub line: usize,
    pub text: String,
}

/// A page as prose and fenced blocks.
pub struct Page {
    /// Lines outside of fences with their numbers, from 1.
    pub prose: Vec<(usize, String)>,
    pub blocks: Vec<Block>,
}

pub fn page(text: &str) -> Page {
    let (mut prose, mut blocks, mut open) = (vec![], vec![], None::<Block>);
    for (i, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    info: info.trim().into(),
                    line: i + 2,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => prose.push((i + 1, line.to_string())),
        }
    }
    assert!(open.is_none(), "a fence without an end");
    Page { prose, blocks }
}

#[test]
fn blocks_are_told_from_prose() {
    let p = page("a\n```ron x\nb\nc\n```\nd\n");
    assert_eq!(p.prose, [(1, "a".to_string()), (6, "d".to_string())]);
    assert_eq!((p.blocks[0].info.as_str(), p.blocks[0].line), ("ron x", 3));
    assert_eq!(p.blocks[0].text, "b\nc\n");
}
