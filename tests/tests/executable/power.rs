//! Power that fails: of a recorded training only what was synced is left, and the run goes on from there.
//!
//! Two kinds of disk: one that keeps nothing before it must, and one that keeps names at once and contents when it must.

use crate::commands::assert_ok;
use crate::kills::{Bench, CALLS, kills, traces};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a training did to its files, in order.
enum Op {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeDir(PathBuf),
}

/// Texts of a line of strace in hexadecimal, those in quotes and those that say where a descriptor leads.
fn texts(line: &str) -> Vec<Vec<u8>> {
    let byte = |h: &str| u8::from_str_radix(h, 16).ok();
    line.split(['"', '<', '>'])
        .filter(|part| part.starts_with("\\x"))
        .map(|part| part.split("\\x").skip(1).filter_map(|h| byte(h.get(..2)?)).collect())
        .collect()
}

fn ops(log: &str) -> Vec<Op> {
    let path = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
    let parse = |line: &str| {
        let (call, rest) = line.split_once('(')?;
        // What failed did nothing.
        if rest.rsplit_once(" = ")?.1.starts_with('-') {
            return None;
        }
        let texts = texts(rest);
        let first = path(texts.first().map_or(b"", Vec::as_slice));
        Some(match call {
            "openat" if rest.contains("O_CREAT") => Op::Create(path(texts.last()?)),
            "write" => Op::Write(first, texts.get(1)?.clone()),
            "fsync" | "fdatasync" => Op::Sync(first),
            "rename" => Op::Rename(first, path(texts.get(1)?)),
            "renameat" | "renameat2" => {
                // All paths are whole ones: the folders they would start from say nothing.
                let quoted: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
                let [from, to] = [0, 1].map(|i| self::texts(&format!("\"{}\"", quoted.get(i).unwrap_or(&""))).concat());
                Op::Rename(path(&from), path(&to))
            }
            "mkdir" => Op::MakeDir(first),
            "unlink" | "rmdir" => Op::Remove(first),
            "unlinkat" => Op::Remove(first.join(path(texts.get(1)?))),
            _ => return None,
        })
    };
    log.lines().filter_map(parse).collect()
}

enum Node {
    File {
        now: Vec<u8>,
        kept: Vec<u8>,
    },
    Dir {
        now: BTreeMap<String, usize>,
        kept: BTreeMap<String, usize>,
    },
}

/// Files below a folder as programs see them, and as a disk keeps them.
struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
}

impl Disk {
    fn new(root: PathBuf) -> Disk {
        Disk {
            root,
            nodes: vec![Disk::dir()],
        }
    }

    fn dir() -> Node {
        Node::Dir {
            now: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for part in path.strip_prefix(&self.root).ok()? {
            let Node::Dir { now, .. } = &self.nodes[at] else {
                return None;
            };
            at = *now.get(part.to_str()?)?;
        }
        Some(at)
    }

    fn names(&mut self, path: &Path) -> Option<(&mut BTreeMap<String, usize>, String)> {
        let name = path.file_name()?.to_str()?.to_string();
        let parent = self.find(path.parent()?)?;
        match &mut self.nodes[parent] {
            Node::Dir { now, .. } => Some((now, name)),
            Node::File { .. } => None,
        }
    }

    fn put(&mut self, path: &Path, node: Node) -> Option<()> {
        let id = self.nodes.len();
        let (names, name) = self.names(path)?;
        names.insert(name, id);
        self.nodes.push(node);
        Some(())
    }

    /// Does an operation; `None` where it is about other files.
    fn apply(&mut self, op: &Op) -> Option<()> {
        match op {
            Op::Create(path) if self.find(path).is_none() => self.put(
                path,
                Node::File {
                    now: vec![],
                    kept: vec![],
                },
            ),
            Op::Create(_) => None,
            Op::MakeDir(path) => self.put(path, Disk::dir()),
            Op::Write(path, bytes) => {
                let at = self.find(path)?;
                match &mut self.nodes[at] {
                    Node::File { now, .. } => now.extend(bytes),
                    Node::Dir { .. } => return None,
                }
                Some(())
            }
            Op::Sync(path) => {
                let at = self.find(path)?;
                match &mut self.nodes[at] {
                    Node::File { now, kept } => *kept = now.clone(),
                    Node::Dir { now, kept } => *kept = now.clone(),
                }
                Some(())
            }
            Op::Rename(from, to) => {
                let (names, name) = self.names(from)?;
                let id = names.remove(&name)?;
                let (names, name) = self.names(to)?;
                names.insert(name, id);
                Some(())
            }
            Op::Remove(path) => {
                let (names, name) = self.names(path)?;
                names.remove(&name).map(|_| ())
            }
        }
    }

    /// Writes what is left when the power fails; `names_last`: a folder's names as they were when it was synced.
    fn left(&self, id: usize, to: &Path, names_last: bool) {
        match &self.nodes[id] {
            Node::File { kept, .. } => fs::write(to, kept).expect("the disk has room"),
            Node::Dir { now, kept } => {
                fs::create_dir_all(to).expect("the temporary folder is writable");
                for (name, id) in if names_last { kept } else { now } {
                    self.left(*id, &to.join(name), names_last);
                }
            }
        }
    }
}

/// Of the update that a checkpoint's path ends with.
fn step(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

#[test]
fn after_a_loss_of_power_a_training_goes_on_from_its_last_checkpoint() {
    if !traces() {
        return;
    }
    let bench = Bench::new();
    let (root, log) = (bench.at("recorded"), bench.at("calls"));
    fs::create_dir(&root).expect("the temporary folder is writable");
    let trace = format!("trace={}", CALLS.join(","));
    let log = log.to_str().expect("it is text");
    let strace = ["strace", "-qq", "-y", "-xx", "-s", "100000000", "-e", &trace, "-o", log];
    assert_ok(
        bench
            .training(&strace, &root.join("run"))
            .output()
            .expect("strace starts"),
    );
    let ops = ops(&fs::read_to_string(log).expect("strace wrote it"));

    // Operations that are about the run, with the checkpoint that must be left after each.
    let (mut disk, mut about, mut renamed, mut promised) = (Disk::new(root.clone()), vec![], None, None);
    for op in ops {
        if disk.apply(&op).is_none() {
            continue;
        }
        match &op {
            Op::Rename(_, to) => renamed = step(to).or(renamed),
            Op::Sync(path) if path.ends_with("checkpoints") => promised = renamed,
            _ => {}
        }
        about.push((op, promised));
    }
    // What was recorded is what is there: nothing was missed.
    let whole = bench.at("replayed");
    disk.left(0, &whole, false);
    for name in ["model.safetensors", "checkpoints/step-00000006/state", "run.json"] {
        let read = |root: &Path| fs::read(root.join("run").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(read(&whole) == read(&root), "{name} is not as recorded");
    }
    assert_eq!(promised, Some(6));

    let chosen = kills(4).min(about.len());
    for turn in 0..chosen {
        let moment = (2 * turn + 1) * about.len() / (2 * chosen);
        let mut disk = Disk::new(root.clone());
        for (op, _) in &about[..=moment] {
            disk.apply(op).expect("it was applied before");
        }
        let promised = about[moment].1;
        for names_last in [true, false] {
            let out = bench.at("left");
            disk.left(0, &out, names_last);
            let what = format!("failure at {moment}, names last: {names_last}, promised: {promised:?}");
            if let Some(promised) = promised {
                let list = fs::read_dir(out.join("run/checkpoints")).expect("the run has checkpoints");
                let newest = list.filter_map(|e| step(&e.expect("it can be listed").path())).max();
                assert!(newest >= Some(promised), "{what}: {newest:?}");
            }
            bench.goes_on(&out.join("run"), &what);
            fs::remove_dir_all(&out).expect("it is ours");
        }
    }
    println!("{chosen} of {} moments", about.len());
}
