//! Words and phrases that are expected: one automaton for all, so that what they cost does not grow with their number.

use crate::error::Error;
use crate::lexicon::read_text;
use std::collections::VecDeque;
use std::path::Path;

/// The state in which nothing is begun.
const ROOT: u32 = 0;

#[derive(Clone, Debug, Default)]
struct Node {
    /// Class and node, in order of classes.
    children: Vec<(u32, u32)>,
    /// The longest end of this that begins a phrase.
    fail: u32,
    /// Weights of phrases that end here.
    complete: f64,
    /// Letters so far, without ends of words.
    letters: u32,
    /// The most that a letter of a phrase that is begun here is worth.
    rate: f64,
}

/// Phrases with weights, to be found at ends of words (Aho and Corasick).
#[derive(Clone, Debug)]
pub struct Hotwords {
    nodes: Vec<Node>,
    start: u32,
}

impl Hotwords {
    /// Phrases as spelled words. Where words end with a class, phrases are looked for between such ends.
    pub fn new(phrases: &[(Vec<Vec<u32>>, f64)], word_end: Option<usize>) -> Hotwords {
        let end = word_end.map(|e| e as u32);
        let mut all = Hotwords {
            nodes: vec![Node::default()],
            start: ROOT,
        };
        for (words, weight) in phrases {
            let letters = words.iter().map(Vec::len).sum::<usize>();
            if letters == 0 {
                continue;
            }
            let rate = (weight / letters as f64).max(0.0);
            let mut classes: Vec<u32> = end.into_iter().collect();
            for word in words {
                classes.extend(word);
                classes.extend(end);
            }
            let mut at = ROOT;
            for class in classes {
                all.nodes[at as usize].rate = all.nodes[at as usize].rate.max(rate);
                at = all.grow(at, class, Some(class) != end);
            }
            all.nodes[at as usize].complete += weight;
        }
        all.link();
        all.start = end.map_or(ROOT, |e| all.next(ROOT, e));
        all
    }

    fn grow(&mut self, node: u32, class: u32, letter: bool) -> u32 {
        let new = self.nodes.len() as u32;
        let letters = self.nodes[node as usize].letters + letter as u32;
        let children = &mut self.nodes[node as usize].children;
        match children.binary_search_by_key(&class, |c| c.0) {
            Ok(at) => children[at].1,
            Err(at) => {
                children.insert(at, (class, new));
                self.nodes.push(Node {
                    letters,
                    ..Node::default()
                });
                new
            }
        }
    }

    fn link(&mut self) {
        let mut queue: VecDeque<u32> = self.nodes[0].children.iter().map(|c| c.1).collect();
        while let Some(node) = queue.pop_front() {
            for (class, child) in self.nodes[node as usize].children.clone() {
                let fail = self.next(self.nodes[node as usize].fail, class);
                self.nodes[child as usize].fail = fail;
                self.nodes[child as usize].complete += self.nodes[fail as usize].complete;
                queue.push_back(child);
            }
        }
    }

    fn child(&self, node: u32, class: u32) -> Option<u32> {
        let children = &self.nodes[node as usize].children;
        let at = children.binary_search_by_key(&class, |c| c.0).ok()?;
        Some(children[at].1)
    }

    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    pub(crate) fn next(&self, mut node: u32, class: u32) -> u32 {
        loop {
            if let Some(child) = self.child(node, class) {
                return child;
            }
            if node == ROOT {
                return ROOT;
            }
            node = self.nodes[node as usize].fail;
        }
    }

    /// What the phrases that end in a state are worth.
    pub(crate) fn complete(&self, node: u32) -> f64 {
        self.nodes[node as usize].complete
    }

    /// What the phrase that is begun in a state is worth so far.
    pub(crate) fn credit(&self, node: u32) -> f64 {
        let node = &self.nodes[node as usize];
        node.rate * node.letters as f64
    }

    pub(crate) fn most_credit(&self) -> f64 {
        (0..self.nodes.len())
            .map(|n| self.credit(n as u32) + self.complete(n as u32))
            .fold(0.0, f64::max)
    }

    /// Whether letters of a phrase were seen that may go on.
    pub(crate) fn is_begun(&self, node: u32) -> bool {
        let node = &self.nodes[node as usize];
        node.letters > 0 && !node.children.is_empty()
    }
}

/// Phrases with their weights: lines `PHRASE [TAB weight]` of a file, or parts of a list with commas.
///
/// # Errors
/// Where a file cannot be read, or a weight is no number.
pub fn phrases(named: &str, weight: f64) -> Result<Vec<(String, f64)>, Error> {
    let path = Path::new(named);
    if !path.is_file() {
        let parts = named.split(',').map(str::trim).filter(|p| !p.is_empty());
        return Ok(parts.map(|p| (p.to_string(), weight)).collect());
    }
    let text = read_text(path)?;
    let mut out = vec![];
    for (number, line) in text.lines().enumerate() {
        let (phrase, own) = match line.split_once('\t') {
            None => (line, weight),
            Some((phrase, own)) => {
                let own = own.trim().parse::<f64>().ok().filter(|w| w.is_finite());
                let own = own.ok_or_else(|| {
                    let place = format!("{}:{}", path.display(), number + 1);
                    Error::file(place, "the weight is no number", "write `PHRASE<TAB>10`")
                })?;
                (phrase, own)
            }
        };
        if !phrase.trim().is_empty() {
            out.push((phrase.trim().to_string(), own));
        }
    }
    Ok(out)
}
