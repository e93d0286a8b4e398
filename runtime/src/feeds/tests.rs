//! What holds for every feed.

use super::*;
use crate::data::Clip;
use crate::fake;
use crate::random::Purpose;
use crate::session::Data;
use crate::settings::Settings;
use ir::artifact::{Artifact, Program};
use ir::dim::Dim;
use ir::task::{Amount, Arg, Does, Gives, ParamKind, Prediction, Task};
use proptest::prelude::*;

/// A task whose one program has an input for every feed, and the program.
fn every_feed() -> (Artifact, Task, Program) {
    let mut artifact = fake::artifact();
    // Values that every amount may have.
    let amounts = [0.5, 2.0, 1.0];
    let mut feeds = vec![];
    let mut inputs = vec![];
    for signature in SIGNATURES {
        let name = signature.name.to_lowercase();
        let arg = |(i, p): (usize, &ir::task::FeedParam)| match p.kind {
            ParamKind::Amount if p.name == "count" => Arg::Amount(Amount::Fixed(5.0)),
            // One for a frame of ten samples.
            ParamKind::Amount if signature.name == "Clusters" => Arg::Amount(Amount::Fixed(1600.0)),
            ParamKind::Amount => Arg::Amount(Amount::Fixed(amounts[i])),
            ParamKind::Input(kind) => Arg::Input(kind.to_lowercase()),
            ParamKind::Size if p.name == "frames" => Arg::Size("T".parse().unwrap()),
            ParamKind::Size => Arg::Size(Dim::from(7)),
        };
        let args = signature.params.iter().enumerate().map(arg).collect();
        let kind = signature.name.to_string();
        feeds.push((name.clone(), ir::task::Feed { kind, args }));
        let size = |axis: &'static str| match axis {
            "clips" => "B",
            "samples" => "N",
            "masked" => "M",
            "frames" | "letters" => "T",
            "channels" => "12",
            "layers" => "3",
            "count" => "5",
            "groups" => "2",
            "codes" => "4",
            number => number,
        };
        let shape: Vec<Dim> = signature.axes.iter().map(|a| size(a).parse().unwrap()).collect();
        let (dtype, buffer) = (signature.dtype, 0);
        inputs.push(Port {
            name,
            dtype,
            shape,
            buffer,
        });
    }
    let program = Program {
        name: "everything".into(),
        inputs,
        ..artifact.program("transcribe").unwrap().clone()
    };
    artifact.programs.push(program.clone());
    let task = Task {
        name: "everything".into(),
        about: String::new(),
        settings: crate::settings::of_prediction(),
        by_hours: vec![],
        feeds,
        does: Does::Predict(Prediction {
            program: "everything".into(),
            gives: Gives::Text {
                logits: "logits".into(),
            },
        }),
    };
    artifact.tasks.push(task.clone());
    (artifact, task, program)
}

fn occasion(major: u64) -> Occasion {
    Occasion {
        seed: 5,
        major,
        minor: 0,
        update: major,
        masks: true,
        noise: true,
        whole: false,
    }
}

fn bound(artifact: &Artifact, task: &Task) -> Feeds {
    let settings = Settings::new(artifact, &task.name).unwrap();
    Feeds::bind(artifact, task, &settings, Target::default()).unwrap()
}

proptest! {
    /// What a feed draws has the type of its signature and the shape that it says; the same occasion draws the same, and what
    /// lies beyond a clip's end is its padding.
    #[test]
    fn every_feed_keeps_its_word(lengths in prop::collection::vec(60usize..900, 1..5), major in 0u64..1_000_000) {
        let (artifact, task, program) = every_feed();
        let feeds = bound(&artifact, &task);
        let waves: Vec<Vec<f32>> = lengths.iter().map(|n| vec![0.5; *n]).collect();
        let mut stream = Stream::new(major, Purpose::Synthetic, 0, 0);
        let frames: Vec<usize> = lengths.iter().map(|n| feeds.geometry().frames(*n)).collect();
        let clusters = |n: &usize| (0..*n).map(|_| stream.below(7) as i32).collect::<Vec<_>>();
        let labels: Vec<Vec<i32>> = frames.iter().map(clusters).collect();
        let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
        let clips = Clips { waves: &waves, labels: &labels };
        let batch = feeds.draw(&program, clips, &occasion(major)).unwrap();
        let again = feeds.draw(&program, clips, &occasion(major)).unwrap();
        prop_assert_eq!(&batch.inputs, &again.inputs);
        prop_assert_eq!(&batch.frames, &frames);
        for (port, (name, tensor)) in program.inputs.iter().zip(&batch.inputs.0) {
            prop_assert_eq!(&port.name, name);
            let signature = SIGNATURES.iter().find(|s| s.name.to_lowercase() == *name).unwrap();
            let dtype = match tensor.data { Data::F32(_) => ir::scalar::DType::F32, Data::I32(_) => ir::scalar::DType::I32 };
            prop_assert_eq!(dtype, signature.dtype, "{}", name);
            prop_assert_eq!(tensor.shape.len(), signature.rank(), "{}", name);
            let padding = feeds.padding(name);
            let own = |row: usize| match signature.name {
                "Wave" => Some(lengths[row]),
                "Spans" | "Clusters" | "Letters" => Some(frames[row]),
                _ => None,
            };
            let width: usize = tensor.shape[1..].iter().product();
            for row in 0..tensor.shape[0] {
                let Some(end) = own(row) else { continue };
                for at in row * width + end..(row + 1) * width {
                    match (&tensor.data, padding) {
                        (Data::F32(v), Padding::F32(p)) => prop_assert_eq!(v[at], p),
                        (Data::I32(v), Padding::I32(p)) => prop_assert_eq!(v[at], p),
                        other => prop_assert!(false, "{} has {:?}", name, other.1),
                    }
                }
            }
        }
    }

    #[test]
    fn hidden_frames_and_distractors_agree(lengths in prop::collection::vec(60usize..900, 1..5), major: u64) {
        let artifact = fake::artifact();
        let feeds = fake::feeds("pretrain");
        let program = artifact.program("pretrain").unwrap();
        let waves: Vec<Vec<f32>> = lengths.iter().map(|n| vec![0.5; *n]).collect();
        let waves: Vec<&[f32]> = waves.iter().map(Vec::as_slice).collect();
        let clips = Clips { waves: &waves, labels: &[] };
        let batch = feeds.draw(program, clips, &occasion(major % 1_000_000)).unwrap();
        let get = |name: &str| batch.inputs.get(name).unwrap();
        let (mask, index, negatives) = (get("mask"), get("masked_index"), get("negatives"));
        let (rows, frames, most, count) = (lengths.len(), mask.shape[1], index.shape[1], negatives.shape[2]);
        prop_assert_eq!(&negatives.shape[..2], &[rows, most][..]);
        prop_assert_eq!(&get("gumbel").shape[..2], &[rows, most][..]);
        for row in 0..rows {
            let flags = &mask.as_i32().unwrap()[row * frames..][..frames];
            let hidden = &index.as_i32().unwrap()[row * most..][..most];
            let used: Vec<usize> = hidden.iter().filter(|t| **t >= 0).map(|t| *t as usize).collect();
            prop_assert_eq!(used.len(), flags.iter().filter(|f| **f == 1).count());
            for (own, t) in used.iter().enumerate() {
                prop_assert!(*t < batch.frames[row] && flags[*t] == 1);
                for n in &negatives.as_i32().unwrap()[(row * most + own) * count..][..count] {
                    prop_assert!(*n >= 0 && (*n as usize) < used.len() && *n as usize != own);
                }
            }
        }
    }
}

/// Validation: rates of dropout are 0, no layer is skipped, noise is silent.
#[test]
fn nothing_is_left_to_chance_in_validation() {
    let (artifact, task, program) = every_feed();
    let feeds = bound(&artifact, &task);
    let wave = vec![0.1; 400];
    let waves = [wave.as_slice()];
    let clips = Clips {
        waves: &waves,
        labels: &[vec![1]],
    };
    let still = Occasion {
        noise: false,
        ..occasion(3)
    };
    let batch = feeds.draw(&program, clips, &still).unwrap();
    let all = |name: &str| batch.inputs.get(name).unwrap().as_f32().unwrap().to_vec();
    assert_eq!(all("layerdrop"), [1.0; 3]);
    assert!(all("gumbel").iter().all(|v| *v == 0.0));
}

/// Clusters of a clip that was cropped are those of its part.
#[test]
fn clusters_follow_the_crop() {
    let (artifact, task, _) = every_feed();
    let settings = Settings::new(&artifact, &task.name).unwrap();
    let declared = task.feeds.iter().find(|(n, _)| n == "clusters").unwrap().clone();
    let alone = Task {
        feeds: vec![task.feeds[0].clone(), declared],
        ..task
    };
    let feeds = Feeds::bind(&artifact, &alone, &settings, Target::default()).unwrap();
    let label = feeds.label().unwrap();
    let clip = |start: usize, text: &str| Clip {
        path: "a".into(),
        wave: vec![],
        start,
        text: None,
        clusters: Some(text.into()),
    };
    let text = "0 1 2 3 4 5 6 0 1 2";
    // Ten samples per frame.
    assert_eq!(label.of(&clip(30, text), 4).unwrap(), [3, 4, 5, 6]);
    // The last cluster stands for two frames at most.
    assert_eq!(label.of(&clip(70, text), 4).unwrap(), [0, 1, 2, 2]);
    assert!(
        label
            .of(&clip(70, text), 9)
            .unwrap_err()
            .contains("9 frames and 3 clusters")
    );
    assert!(label.of(&clip(0, "1 7"), 2).unwrap_err().contains("beyond"));
    assert!(label.of(&clip(0, "1 x"), 2).unwrap_err().contains("`x`"));
}
