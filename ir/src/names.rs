//! Names that the compiler gives and others look for.

/// The size that says which layer of a loop is running, from 0.
pub const LAYER: &str = "layer";
/// The size that says where the range of an [`Update`](crate::optimizer::Update) begins, in elements of the arenas.
pub const RANGE_START: &str = "range_start";
/// The size that says how many elements it has.
pub const RANGE_LEN: &str = "range_len";

/// Sizes that every executable has beside those of its model.
pub const OWN_SIZES: [&str; 3] = [LAYER, RANGE_START, RANGE_LEN];

const GRADIENT: &str = "grad:";

/// The name of the output that is the gradient of a parameter.
pub fn gradient_of(param: &str) -> String {
    format!("{GRADIENT}{param}")
}

/// The parameter whose gradient an output is; `None` where it is none.
pub fn param_of_gradient(output: &str) -> Option<&str> {
    output.strip_prefix(GRADIENT)
}
