//! One step on given tensors, to compare losses and gradients with other implementations.

use crate::atomic::{Piece, Values, check_output, write_tensors};
use crate::error::Error;
use crate::feeds::{Feeds, File, Occasion, Target};
use crate::memory::Guard;
use crate::session::{Data, Session};
use crate::settings::Settings;
use crate::weights::{Folder, HeadRows, TensorFile, adopt_sizes};
use ir::artifact::{Artifact, Program};
use ir::task::{Judge, Task, matches};
use std::path::PathBuf;

/// What a user asks of a step.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub weights: PathBuf,
    pub batch: PathBuf,
    pub out: PathBuf,
    /// A training program. Default: that of the task whose labels the batch has, or that needs none.
    pub program: Option<String>,
    pub no_dropout: bool,
    pub set: Vec<String>,
}

/// Runs forward and backward once and writes the losses (undivided sums), logits and gradients.
pub fn step(session: &mut dyn Session, options: &Options) -> Result<(), Error> {
    let inputs = [options.batch.clone(), options.weights.join(crate::weights::MODEL)];
    check_output(&options.out, &inputs)?;
    let tensors = TensorFile::open(&options.batch)?;
    let folder = Folder::open(&options.weights)?;
    let artifact = adopt_sizes(session, &folder)?;
    let (task, program) = match options.program.as_deref() {
        Some(name) => {
            let program = artifact.program(name).ok_or_else(|| no_program(&artifact, name))?;
            let of_task = |t: &&Task| t.programs().any(|p| p == name);
            (artifact.tasks.iter().find(of_task), program)
        }
        None => guess(&artifact, &tensors)?,
    };
    let task = task.ok_or_else(|| Error::Usage(format!("the program `{}` belongs to no task", program.name)))?;
    let mut settings = Settings::new(&artifact, &task.name)?;
    options.set.iter().try_for_each(|s| settings.set(s))?;
    // Programs take class 0 for the blank, and a folder may have it anywhere.
    let blank = match task.training().and_then(|t| t.judge.as_ref()) {
        Some(Judge::Text { .. }) => folder.vocab()?.map_or(0, |v| v.blank()),
        _ => 0,
    };
    let order = Order::new(blank, artifact.classes(task).filter(|n| blank < *n).unwrap_or(0));
    folder.load(&artifact, task, session.params()?, order.head().as_ref())?;

    let feeds = Feeds::bind(&artifact, task, &settings, Target::default())?;
    let takes: Vec<&str> = program.inputs.iter().map(|p| p.name.as_str()).collect();
    let occasion = Occasion {
        seed: settings.scalar("seed").unwrap_or(0.0) as u64,
        noise: !options.no_dropout,
        whole: options.no_dropout,
        ..Occasion::STILL
    };
    let file = File {
        tensors: &tensors,
        path: &options.batch,
        takes: takes.join(", "),
        occasion,
    };
    let mut inputs = feeds.read(program, &file, &occasion)?;
    for (_, labels) in inputs
        .0
        .iter_mut()
        .filter(|(name, _)| Some(name.as_str()) == feeds.label_input())
    {
        if let Data::I32(numbers) = &mut labels.data {
            numbers.iter_mut().for_each(|n| *n = order.class(*n));
        }
    }
    session.zero_grads()?;
    Guard::default().check(session, &program.name, &inputs.refs(), "give fewer or shorter clips")?;
    let mut outputs = session.run(&program.name, &inputs.refs())?;
    for (_, logits) in outputs
        .iter_mut()
        .filter(|(name, _)| Some(name.as_str()) == task.logits())
    {
        if let Data::F32(values) = &mut logits.data {
            order.back(values, 1);
        }
    }

    let mut pieces: Vec<(String, Piece)> = outputs
        .iter()
        .map(|(name, t)| {
            let values = match &t.data {
                Data::F32(v) => Values::F32(v),
                Data::I32(v) => Values::I32(v),
            };
            let shape = t.shape.clone();
            (name.clone(), Piece { shape, values })
        })
        .collect();
    let grads = session.grads()?;
    let trained = || program.trains.iter().map(|i| &artifact.params[*i]);
    for p in trained().filter(|p| matches(task.heads(), &p.name)) {
        let width = p.shape[1..].iter().product::<i64>() as usize;
        order.back(&mut grads[p.offset..p.offset + p.len()], width);
    }
    for p in trained() {
        let shape = p.shape.iter().map(|d| *d as usize).collect();
        let values = Values::F32(&grads[p.offset..p.offset + p.len()]);
        pieces.push((format!("grad.{}", p.name), Piece { shape, values }));
    }
    write_tensors(&options.out, pieces)
}

/// Classes as programs have them, the blank first, and as the folder numbers them.
struct Order {
    /// The folder's number of each class; empty where they agree.
    numbers: Vec<usize>,
}

impl Order {
    fn new(blank: usize, classes: usize) -> Order {
        let numbers = match blank {
            0 => vec![],
            _ => std::iter::once(blank)
                .chain((0..classes).filter(|c| *c != blank))
                .collect(),
        };
        Order { numbers }
    }

    fn head(&self) -> Option<HeadRows> {
        (!self.numbers.is_empty()).then(|| HeadRows::reordered(&self.numbers, self.numbers.len()))
    }

    /// The class of a number of the folder.
    fn class(&self, number: i32) -> i32 {
        let class = self.numbers.iter().position(|n| *n as i32 == number);
        class.map_or(number, |c| c as i32)
    }

    /// Rows of `width` values each, one for every class, put in the folder's order; as often as they come.
    fn back(&self, values: &mut [f32], width: usize) {
        for rows in values.chunks_exact_mut((self.numbers.len() * width).max(1)) {
            let of_program = rows.to_vec();
            for (class, number) in self.numbers.iter().enumerate() {
                rows[number * width..][..width].copy_from_slice(&of_program[class * width..][..width]);
            }
        }
    }
}

/// There is no such program.
pub(crate) fn no_program(artifact: &Artifact, name: &str) -> Error {
    let known: Vec<&str> = artifact.programs.iter().map(|p| p.name.as_str()).collect();
    Error::Usage(format!("there is no program `{name}`; there are {}", known.join(", ")))
}

/// The training that a batch is for: the one whose labels it has, else one that needs none; of its programs the last.
fn guess<'a>(artifact: &'a Artifact, tensors: &TensorFile) -> Result<(Option<&'a Task>, &'a Program), Error> {
    let mut fallback = None;
    for task in &artifact.tasks {
        let Some(last) = task.training().and_then(|t| t.phases.last()) else {
            continue;
        };
        let Some(program) = artifact.program(&last.program) else {
            continue;
        };
        let settings = Settings::new(artifact, &task.name)?;
        let feeds = Feeds::bind(artifact, task, &settings, Target::default())?;
        match feeds.label_input() {
            Some(input) if tensors.shape(input).is_some() => return Ok((Some(task), program)),
            Some(_) => {}
            None => fallback = fallback.or(Some((Some(task), program))),
        }
    }
    let which = || Error::Usage("which program the batch is for does not follow from it: give --program".into());
    fallback.ok_or_else(which)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeSession;
    use std::path::Path;

    fn stepped(dir: &Path, name: &str, pieces: Vec<(&str, Piece)>) -> Result<(), String> {
        let batch = dir.join("batch.safetensors");
        let wave: Vec<f32> = (0..120).map(|i| (i as f32).sin()).collect();
        let values = Values::F32(&wave);
        let mut all = vec![(
            "wave".to_string(),
            Piece {
                shape: vec![2, 60],
                values,
            },
        )];
        all.extend(pieces.into_iter().map(|(n, p)| (n.to_string(), p)));
        write_tensors(&batch, all).unwrap();
        let options = Options {
            weights: dir.into(),
            batch,
            out: dir.join("out"),
            program: Some(name.into()),
            ..Options::default()
        };
        step(&mut FakeSession::default(), &options).map_err(|e| e.to_string())
    }

    /// Weights with every parameter but those that start with `without`.
    fn weights(dir: &Path, without: &str) {
        let zeros = vec![0f32; 64];
        let artifact = crate::fake::artifact();
        let kept = artifact.params.iter().filter(|p| !p.name.starts_with(without));
        let piece = |p: &ir::artifact::Param| Piece {
            shape: p.shape.iter().map(|d| *d as usize).collect(),
            values: Values::F32(&zeros[..p.len()]),
        };
        let pieces = kept.map(|p| (p.name.clone(), piece(p))).collect();
        write_tensors(&dir.join(crate::weights::MODEL), pieces).unwrap();
    }

    #[test]
    fn classes_are_numbered_as_in_the_folder() {
        let order = Order::new(2, 4);
        assert_eq!((0..4).map(|n| order.class(n)).collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert_eq!(order.class(-100), -100);
        let mut logits = [9.0, 0.0, 1.0, 3.0, 19.0, 10.0, 11.0, 13.0];
        order.back(&mut logits, 1);
        assert_eq!(logits, [0.0, 1.0, 9.0, 3.0, 10.0, 11.0, 19.0, 13.0]);
        let mut rows = [9.0, 9.5, 0.0, 0.5, 1.0, 1.5, 3.0, 3.5];
        order.back(&mut rows, 2);
        assert_eq!(rows, [0.0, 0.5, 1.0, 1.5, 9.0, 9.5, 3.0, 3.5]);
        assert!(Order::new(0, 4).head().is_none());
    }

    #[test]
    fn labels_beyond_the_head_and_padding_between_them_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        weights(tmp.path(), "quantizer");
        let with = |labels: &[i32; 6]| {
            let values = Values::I32(labels);
            let shape = vec![2, 3];
            stepped(tmp.path(), "finetune", vec![("labels", Piece { shape, values })])
        };
        with(&[5, 31, -100, 7, -100, -100]).unwrap();
        let error = with(&[5, 32, -100, 7, 7, 7]).unwrap_err();
        assert!(
            error.contains("clip 0 has 32") && error.contains("32 classes"),
            "{error}"
        );
        let error = with(&[5, 6, 7, 7, -100, 7]).unwrap_err();
        assert!(error.contains("clip 1") && error.contains("padding"), "{error}");
    }

    #[test]
    fn a_temperature_or_mask_that_gives_no_number_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        weights(tmp.path(), "lm_head");
        let with = |temperature: f32, mask: &[i32; 10]| {
            let temperature = [temperature];
            let own = |shape: &[usize], values| Piece {
                shape: shape.to_vec(),
                values,
            };
            let pieces = vec![
                ("mask", own(&[2, 5], Values::I32(mask))),
                ("negatives", own(&[2, 2, 5], Values::I32(&[0; 20]))),
                ("temperature", own(&[1], Values::F32(&temperature))),
            ];
            stepped(tmp.path(), "pretrain", pieces)
        };
        let mask = [1, 1, 0, 0, 0, 0, 1, 1, 0, 0];
        with(0.5, &mask).unwrap();
        assert!(with(0.0, &mask).unwrap_err().contains("above 0"));
        assert!(with(f32::NAN, &mask).unwrap_err().contains("NaN"));
        let error = with(0.5, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert!(error.contains("hides no frame of clip 1"), "{error}");
    }
}
