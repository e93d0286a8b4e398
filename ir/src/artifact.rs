//! What a compiled model is: parameters, programs as lists of steps over planned buffers, and the settings it was made
//! with. A runner reads this; it needs no compiler.

use crate::dim::{Dim, Env};
use crate::rounding::Levels;
use crate::scalar::DType;
use crate::task::Task;
use crate::tensor_map::TensorMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that buffers, arenas, workspaces and code begin at multiples of: a cache line, which is also the longest vector.
pub const ALIGN: usize = 64;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artifact {
    /// The model's name, from its RON file.
    pub name: String,
    /// Instruction sets the code needs, as `is_x86_feature_detected!` spells them; the runner checks them first.
    pub cpu_features: Vec<String>,
    /// `None` for a program of the CPU.
    pub gpu: Option<Precision>,
    /// How products of weights are divided where the CPU transcribes in 8 bits.
    pub int8: Option<Levels>,
    /// Constants of the model as compiled (after `--set`), with its run sizes.
    pub constants: BTreeMap<String, f64>,
    /// A digest of what each program computes (its tensor IR as the model file has it, before any pass), by its name.
    pub graphs: BTreeMap<String, String>,
    /// Sizes that a run chooses when it begins; [`Artifact::choose`] does.
    pub run_sizes: Vec<RunSize>,
    /// What the model can be asked to do.
    pub tasks: Vec<Task>,
    /// config.json of the Hugging Face form per command, as JSON text; empty where the model has none. A run size stands
    /// as `"$NAME"`; [`Artifact::config`] fills it in.
    pub export: BTreeMap<String, String>,
    /// How a config.json is read and written.
    pub config: ConfigFacts,
    pub params: Vec<Param>,
    /// Elements of the parameter arena, which holds every param at its offset; gradients use the same layout. In terms of
    /// run sizes, and at those chosen.
    pub param_room: Dim,
    pub param_elements: usize,
    /// Names of run-time sizes, in the order in which kernels receive their values. `layer` is always among them.
    pub symbols: Vec<Arc<str>>,
    /// Named sizes with their definitions (`T` = ...), for messages and to check inputs.
    pub dims: Vec<(String, Dim)>,
    pub kernels: Vec<KernelInfo>,
    pub programs: Vec<Program>,
}

/// What a model says of the config.json of folders with its weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigFacts {
    /// Fields that decide what the network is, with the values they have where a config.json is silent: a JSON object, or
    /// nothing. A folder that says otherwise than `export` does, or than these do, belongs to another model.
    pub defaults: String,
    /// Fields that take the value of a setting: (field, setting).
    pub settings: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SettingValue {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// A size that is the same in all programs and for as long as parameters are in memory, but need not be known when
/// compiling: how many letters a head tells apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSize {
    pub name: Arc<str>,
    /// The default, then what was chosen; at least 1.
    pub value: i64,
    pub doc: String,
}

/// Why run sizes cannot be chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChooseError {
    #[error("the model has no run size `{0}`")]
    Unknown(String),
    #[error("`{0}` cannot be {1}")]
    OutOfRange(String, i64),
    /// Where parameters would lie cannot be told.
    #[error("{0}")]
    Layout(String),
}

/// Largest value of a run size: what a class index, an i32, can name many times over.
pub const LARGEST_RUN_SIZE: i64 = 1 << 24;

impl Artifact {
    /// Digests of what the programs of a task compute, by name; of a task that it does not know, those of the program that is
    /// called like it.
    pub fn graphs_of(&self, task: &str) -> BTreeMap<String, String> {
        let names: Vec<&str> = self.task(task).map_or(vec![task], |t| t.programs().collect());
        let own = |name: &str| Some((name.to_string(), self.graphs.get(name)?.clone()));
        names.into_iter().filter_map(own).collect()
    }

    /// Gives run sizes values and moves parameters to where they lie then.
    ///
    /// # Errors
    /// Where there is no such size, or its value is not between 1 and 2^24; nothing is changed then.
    pub fn choose(&mut self, sizes: &[(&str, i64)]) -> Result<(), ChooseError> {
        for (name, value) in sizes {
            if self.run_size(name).is_none() {
                return Err(ChooseError::Unknown(name.to_string()));
            }
            if !(1..=LARGEST_RUN_SIZE).contains(value) {
                return Err(ChooseError::OutOfRange(name.to_string(), *value));
            }
        }
        let mut env = self.run_env();
        env.extend(sizes.iter().map(|(n, v)| (Arc::from(*n), *v)));
        let value = |d: &Dim| d.eval(&env).map_err(|e| ChooseError::Layout(e.to_string()));
        let mut params = self.params.clone();
        for p in &mut params {
            p.shape = p.dims.iter().map(value).collect::<Result<_, _>>()?;
            p.offset = value(&p.place)? as usize;
        }
        self.param_elements = value(&self.param_room)? as usize;
        self.params = params;
        for size in &mut self.run_sizes {
            size.value = env[&size.name];
            self.constants.insert(size.name.to_string(), size.value as f64);
        }
        Ok(())
    }

    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.iter().find(|t| t.name == name)
    }

    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|p| p.name == name)
    }

    /// The axis of classes of what a task predicts.
    fn class_axis(&self, task: &Task) -> Option<&Dim> {
        let logits = task.logits()?;
        let mut ports = task.programs().filter_map(|p| self.program(p)).flat_map(|p| &p.outputs);
        ports.find(|p| p.name == logits)?.shape.last()
    }

    /// Classes that a task's predictions tell apart, where it has any, with run sizes as chosen.
    pub fn classes(&self, task: &Task) -> Option<usize> {
        let classes = self.class_axis(task)?.eval(&self.run_env()).ok()?;
        usize::try_from(classes).ok()
    }

    /// The run size that says how many classes there are; `None` where that was fixed when compiling.
    pub fn class_size(&self, task: &Task) -> Option<Arc<str>> {
        let axis = self.class_axis(task)?;
        self.run_sizes
            .iter()
            .map(|s| &s.name)
            .find(|name| *axis == Dim::sym(name))
            .cloned()
    }

    /// Whether a program keeps numbers in bf16.
    pub fn has_bf16(&self) -> bool {
        let mut buffers = self.programs.iter().flat_map(|p| &p.buffers);
        buffers.any(|b| b.dtype == DType::Bf16)
    }

    pub fn run_size(&self, name: &str) -> Option<i64> {
        self.run_sizes.iter().find(|s| &*s.name == name).map(|s| s.value)
    }

    /// The run sizes as chosen.
    pub fn run_env(&self) -> Env {
        self.run_sizes.iter().map(|s| (s.name.clone(), s.value)).collect()
    }

    /// config.json of what a command leaves, as JSON text, with run sizes as chosen.
    pub fn config(&self, command: &str) -> Option<String> {
        Some(fill_in(self.export.get(command)?, &self.run_sizes))
    }
}

/// JSON text with the values of run sizes where `"$NAME"` stands.
pub fn fill_in(text: &str, sizes: &[RunSize]) -> String {
    let fill = |text: String, s: &RunSize| text.replace(&format!("\"${}\"", s.name), &s.value.to_string());
    sizes.iter().fold(text.to_string(), fill)
}

/// A trained tensor under its checkpoint name. Layers of a repeat are separate entries, adjacent in the arena.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    pub name: String,
    /// Shape and first element in the arena, in terms of run sizes.
    pub dims: Vec<Dim>,
    pub place: Dim,
    /// The same at the run sizes chosen.
    pub shape: Vec<i64>,
    pub offset: usize,
    pub init: Init,
}

impl Param {
    /// One that depends on no run size.
    pub fn fixed(name: &str, shape: &[i64], offset: usize, init: Init) -> Param {
        Param {
            name: name.into(),
            dims: shape.iter().map(|d| Dim::from(*d)).collect(),
            place: Dim::from(offset as i64),
            shape: shape.into(),
            offset,
            init,
        }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a parameter starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Init {
    Zeros,
    Ones,
    Normal {
        std: f64,
    },
    Uniform {
        low: f64,
        high: f64,
    },
    /// Uniform within sqrt(6 / (fan in + fan out)) of 0 (Glorot and Bengio 2010); axis 0 is what comes out, axis 1 what goes
    /// in, the others are taps of both.
    XavierUniform,
    /// The norm of another parameter over all axes but `axis`: the gain of a weight norm that starts as the identity.
    NormOf {
        param: String,
        axis: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// For messages and profiles, e.g. `contract_12`.
    pub name: String,
    /// What it does, in a line.
    pub what: String,
    /// CPU code: run one after the other, each over its own items in parallel. Empty in a program for the GPU.
    pub entries: Vec<Entry>,
    /// Bytes shared by all threads of one launch. On the GPU, that of the code which is chosen takes its place.
    pub workspace: Dim,
    /// Bytes each thread has for itself.
    pub scratch: Dim,
    /// Floating-point operations that one launch executes (a multiply-add counts 2).
    pub flops: Dim,
    /// What most of them multiply.
    pub factors: Factors,
    /// Bytes one launch reads and writes at least.
    pub bytes: Dim,
}

/// What products multiply, which decides how fast they can be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factors {
    F32,
    Bf16,
    Int8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Byte offset of the function in the artifact's code.
    pub code: usize,
    pub items: Dim,
    /// It reads this slot alone, which no other entry reads, depends on no run-time size, and writes nothing but the
    /// workspace, what later entries leave as it is: where the operand does not change, once is enough for as long as the
    /// workspace is kept.
    pub prepares: Option<usize>,
}

/// One function of a kernel on the GPU. Its parameters are the addresses of the kernel's slots (u64), the address of the
/// workspace (u64), the values of `sizes` (i64), then every one of `maps` (128 bytes at a multiple of 64), in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// The `.entry` of the kernel's PTX module.
    pub function: String,
    /// Blocks along x, y and z. Where one is 0 there is nothing to do.
    pub blocks: [Dim; 3],
    /// Threads of a block, all along x.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub sizes: Vec<Dim>,
    pub maps: Vec<TensorMap>,
    /// How the work is cut into blocks, for people.
    pub schedule: String,
}

/// Every kernel (by its index in [`Artifact::kernels`]) for one architecture; the code of an artifact for the GPU is a list
/// of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PtxImage {
    /// As ptxas names it: `sm_80`, `sm_90a`.
    pub arch: String,
    pub kernels: Vec<PtxKernel>,
}

/// A kernel for one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PtxKernel {
    pub text: String,
    /// Launched one after the other.
    pub grids: Vec<Grid>,
    /// Bytes shared by the functions of one launch.
    pub workspace: Dim,
}

/// What a program for the GPU computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    Fp32,
    /// Activations and weights of products in bf16; sums, statistics, losses, parameters and optimizer in f32.
    Bf16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Checked before every run: with these the kernels stay inside their buffers.
    pub requires: Vec<Requirement>,
    pub buffers: Vec<Buffer>,
    /// Run before `steps`. What these write depends on parameters alone, so once is enough while those do not change.
    pub prepare: Vec<Step>,
    pub steps: Vec<Step>,
    /// The output that training makes small; none for inference.
    pub loss: Option<String>,
    /// Parameters (indices) that it reads.
    pub reads: Vec<usize>,
    /// Parameters (indices) whose gradients this program adds to the gradient arena; empty for inference.
    pub trains: Vec<usize>,
}

impl Program {
    /// `prepare`, then `steps`.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.prepare.iter().chain(&self.steps)
    }

    /// Whether a size of it went beyond what can be counted.
    pub fn has_too_large_sizes(&self) -> bool {
        fn operand(o: &Operand) -> bool {
            o.offset.is_too_large() || o.layer_stride.is_too_large()
        }
        fn step(s: &Step) -> bool {
            match s {
                Step::Launch(l) => l.operands.iter().any(operand),
                Step::Loop { keep, body, .. } => keep.iter().any(operand) || body.iter().any(step),
            }
        }
        let ports = self.inputs.iter().chain(&self.outputs);
        ports.flat_map(|p| &p.shape).any(Dim::is_too_large)
            || self.requires.iter().any(|r| r.value.is_too_large())
            || self.buffers.iter().any(|b| b.elements.is_too_large())
            || self.all_steps().any(step)
    }
}

/// A size that must lie in `least..=most`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    pub value: Dim,
    pub least: i64,
    pub most: i64,
    /// Whose size it is, in words.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<Dim>,
    pub buffer: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    pub kind: BufferKind,
    pub dtype: DType,
    pub elements: Dim,
    /// First and last step at which the contents matter. Steps are numbered depth-first, a loop before its body, those of
    /// `prepare` before all others.
    pub live: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferKind {
    /// Planned into the activation arena.
    Temp,
    /// Written by `prepare` alone. Planned like a temporary, or kept from one run to the next.
    Prepared,
    Input,
    Output,
    /// The whole parameter arena.
    Params,
    /// The whole parameter arena rounded to bf16, at the same element offsets; refreshed by the program `narrow`.
    NarrowParams,
    /// The whole gradient arena.
    Grads,
    /// Adam's first and second moments, laid out like the parameters.
    Moment1,
    Moment2,
}

impl BufferKind {
    /// Whether whoever runs a program finds a place for the buffer.
    pub fn is_planned(self) -> bool {
        matches!(self, BufferKind::Temp | BufferKind::Prepared)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    Launch(Launch),
    /// `layer` runs over 0..count (or downwards), skipping layers whose element of `keep` (f32) is 0.
    Loop {
        count: i64,
        reverse: bool,
        keep: Option<Operand>,
        body: Vec<Step>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub kernel: usize,
    pub operands: Vec<Operand>,
}

/// A place in a buffer; the element address is `offset + layer * layer_stride`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operand {
    pub buffer: usize,
    pub offset: Dim,
    pub layer_stride: Dim,
}
