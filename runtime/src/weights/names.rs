//! The names a parameter goes by.

use ir::artifact::Artifact;
use ir::task::{Task, matches};

/// Weight norm's gain and direction, new form first.
const WEIGHT_NORM: [(&str, &str); 2] = [
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
];

/// A name without the model's own in front: `wav2vec2.encoder.weight` is `encoder.weight` where the network is saved alone.
fn bare(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, rest)| rest)
}

/// Names under which a checkpoint may hold a parameter, the likeliest first: with and without the model's own in front, with
/// the new and the old name of a weight norm, and as one weight.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let mut forms = vec![name.to_string(), bare(name).to_string()];
    for (new, old) in WEIGHT_NORM {
        let swapped: Vec<String> = forms
            .iter()
            .filter_map(|f| {
                f.strip_suffix(new)
                    .map(|s| format!("{s}{old}"))
                    .or(f.strip_suffix(old).map(|s| format!("{s}{new}")))
            })
            .collect();
        forms.extend(swapped);
    }
    // Folded: the whole weight in place of its direction. The gain, its norms, is nowhere then.
    let (direction, _) = WEIGHT_NORM[1];
    let folded = |f: &String| f.strip_suffix(direction).map(|s| format!("{s}weight"));
    let folded: Vec<String> = forms.iter().filter_map(folded).collect();
    forms.extend(folded);
    forms
}

/// Whether a tensor without a place in an artifact is known to one of its tasks: a part that the model was compiled without.
pub(super) fn is_known_elsewhere(artifact: &Artifact, name: &str) -> bool {
    let trainings = artifact.tasks.iter().filter_map(|t| t.training());
    let mut patterns = trainings.flat_map(|t| {
        t.may_lack
            .iter()
            .map(String::as_str)
            .chain(t.exports.iter().filter_map(|e| e.strip_prefix('!')))
    });
    let forms = [name, bare(name)];
    patterns.any(|pattern| forms.iter().any(|form| matches(&[pattern], form)))
}

/// Whether a tensor counts batches, which nothing here reads.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

/// Whether a parameter belongs in the folder that a task leaves.
pub(super) fn exported(task: &Task, name: &str) -> bool {
    task.training().is_none_or(|t| matches(&t.exports, name))
}
