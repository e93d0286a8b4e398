//! A clip in a batch gives what it gives alone: padding changes nothing.

use crate::clips::{SAMPLES, batch, clip, complete};
use crate::small::{FOLDERS, close, loaded, native, output, run};

const TOLERANCE: f64 = 1e-5;

#[test]
fn logits_of_a_clip_do_not_depend_on_its_neighbours() {
    for folder in FOLDERS {
        let mut machine = loaded(native(folder), folder, "ctc");
        let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
        let together = run(&mut machine, "transcribe", &batch(&clips));
        let logits = output(&together, "logits");
        let size = logits.shape[1] * logits.shape[2];
        for (i, clip) in clips.iter().enumerate() {
            let alone = run(&mut machine, "transcribe", clip);
            let alone = output(&alone, "logits").as_f32().unwrap();
            let beside = &logits.as_f32().unwrap()[i * size..][..alone.len()];
            close(&format!("{folder}, clip {i}"), beside, alone, TOLERANCE);
        }
    }
}

#[test]
fn losses_of_a_batch_are_those_of_its_clips() {
    for folder in FOLDERS {
        for (weights, program, part) in [
            ("pretrain", "pretrain", "contrastive"),
            ("pretrain", "pretrain", "correct"),
            ("ctc", "finetune", "loss"),
        ] {
            let mut machine = loaded(native(folder), folder, weights);
            let clips: Vec<_> = (0..SAMPLES.len()).map(clip).collect();
            let together = run(&mut machine, program, &complete(batch(&clips)));
            let mut sum = 0.0;
            for clip in clips {
                sum += output(&run(&mut machine, program, &complete(clip)), part)
                    .as_f32()
                    .unwrap()[0];
            }
            close(
                &format!("{folder}, {part}"),
                output(&together, part).as_f32().unwrap(),
                &[sum],
                TOLERANCE,
            );
        }
    }
}
