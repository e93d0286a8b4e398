//! Limits on model files. A model file may come from anyone: beyond these limits it is refused with the
//! place, before time, memory or stack run out. Each is far above what a network that one writes by hand needs.

/// Bytes of a file.
pub const FILE_BYTES: u64 = 1 << 20;
/// Files that extend each other.
pub const FILES: usize = 16;
/// Entries of a map: constants, blocks, parameters of a block, settings.
pub const ENTRIES: usize = 2000;
/// Operations within each other in an expression, counting along a chain of `+`.
pub const HEIGHT: usize = 200;
/// Statements of one body.
pub const STATEMENTS: usize = 5000;
/// Definitions of constants or sizes that lead on to each other.
pub const CHAIN: usize = 100;
/// Blocks that are open within each other.
pub const CALLS: usize = 64;
/// Ops of a program, blocks written out, the body of a repeat once.
pub const NODES: usize = 5000;
/// Expressions that are looked at for a program, blocks written out.
pub const STEPS: usize = 200_000;
/// Items of lists within lists.
pub const ITEMS: usize = 1000;
/// Layers of a repeat.
pub const LAYERS: i64 = 1000;
/// Bytes of a name of a parameter.
pub const NAME: usize = 300;
/// Elements of all parameters, 64 TiB of f32.
pub const PARAM_ELEMENTS: i64 = 1 << 44;
/// Bytes of stack that a model is read with; what the limits allow needs far less.
pub const STACK: usize = 64 << 20;
