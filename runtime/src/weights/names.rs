//! The names a parameter goes by.

const PREFIX: &str = "wav2vec2.";

/// Weight norm's gain and direction, new form first.
const WEIGHT_NORM: [(&str, &str); 2] = [
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
];

/// Names under which a checkpoint may hold a parameter, the likeliest first: with and without the model's prefix, with
/// the new and the old name of a weight norm.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    let mut forms = vec![name.to_string(), bare.to_string(), format!("{PREFIX}{bare}")];
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
    forms
}

/// The quantizer and both projections into its space: no part of a CTC model.
pub fn only_for_pretraining(name: &str) -> bool {
    ["quantizer.", "project_hid.", "project_q."]
        .iter()
        .any(|p| name.starts_with(p))
}

/// The letters' head: no part of a model in pretraining.
pub(crate) fn is_head(name: &str) -> bool {
    name.starts_with("lm_head.")
}

/// What stands in for hidden frames; models that were never trained with masks have none.
pub(super) fn is_mask_embedding(name: &str) -> bool {
    name.ends_with("masked_spec_embed")
}

/// Whether a parameter belongs in the folder that a command leaves.
pub fn exported(command: &str, name: &str) -> bool {
    match command {
        "pretrain" => !is_head(name),
        _ => !only_for_pretraining(name),
    }
}
