//! What a file of torch may name. Nothing that is named is ever run: a name stands for a meaning of our own, or for nothing.

use safetensors::Dtype;

/// What a name in a pickle means here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Global {
    /// The type of a storage.
    Storage(Dtype),
    /// Builds a tensor out of a storage.
    Tensor,
    /// A tensor in another wrapping, its first argument.
    Wrapper,
    /// Makes a dictionary.
    Dict,
    /// Something that checkpoints hold besides weights: its fields are kept, and it is never made.
    Other,
}

/// Storages of torch, by the types of their values.
const STORAGES: [(&str, Dtype); 10] = [
    ("FloatStorage", Dtype::F32),
    ("DoubleStorage", Dtype::F64),
    ("HalfStorage", Dtype::F16),
    ("BFloat16Storage", Dtype::BF16),
    ("LongStorage", Dtype::I64),
    ("IntStorage", Dtype::I32),
    ("ShortStorage", Dtype::I16),
    ("CharStorage", Dtype::I8),
    ("ByteStorage", Dtype::U8),
    ("BoolStorage", Dtype::BOOL),
];

/// Names that checkpoints of training programs hold beside their weights. None of them is ever looked up or called.
const OTHERS: [(&str, &[&str]); 12] = [
    ("argparse", &["Namespace"]),
    ("collections", &["Counter", "deque"]),
    ("_codecs", &["encode"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("pathlib", &["PosixPath", "PurePosixPath"]),
    ("typing", &["Any"]),
    (
        "torch",
        &[
            "Size", "device", "float16", "bfloat16", "float32", "float64", "int64", "strided",
        ],
    ),
    ("omegaconf.dictconfig", &["DictConfig"]),
    ("omegaconf.listconfig", &["ListConfig"]),
    ("builtins", HARMLESS),
];

/// Types of the language itself, which hold values and do nothing.
const HARMLESS: &[&str] = &[
    "set",
    "frozenset",
    "bytearray",
    "dict",
    "list",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "complex",
    "slice",
];

/// The one family of packages whose own classes stand in the checkpoints that are read here.
const FAIRSEQ: &str = "fairseq.";

/// What `module.name` means, or `None`: it has no business in a file of weights.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    let storage = || STORAGES.iter().find(|(own, _)| *own == name).map(|(_, dtype)| *dtype);
    match (module, name) {
        ("torch", _) | ("torch.storage", _) if storage().is_some() => storage().map(Global::Storage),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::Tensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Some(Global::Wrapper),
        ("torch.nn.parameter", "Parameter") => Some(Global::Wrapper),
        ("collections", "OrderedDict" | "defaultdict") => Some(Global::Dict),
        // The language's own types under the name they had before Python 3.
        ("__builtin__", _) if HARMLESS.contains(&name) => Some(Global::Other),
        ("omegaconf.base", _) | ("omegaconf.nodes", _) => Some(Global::Other),
        // Only classes: a function among them might be called by those who run pickles.
        (m, n) if m.starts_with(FAIRSEQ) && n.starts_with(|c: char| c.is_ascii_uppercase()) => Some(Global::Other),
        (m, n) => OTHERS
            .iter()
            .any(|(module, names)| *module == m && names.contains(&n))
            .then_some(Global::Other),
    }
}
