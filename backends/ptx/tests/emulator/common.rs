//! What all tests of the emulator need.

use w2vc_ptx::{Error, FaultKind, Launch, Memory, Module, Stats, TensorMap};

/// Packs parameters of 4 and 8 bytes.
#[derive(Default)]
pub struct Params(pub Vec<u8>);

impl Params {
    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u64(self, value: u64) -> Self {
        self.push(&value.to_le_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.push(&value.to_le_bytes())
    }

    pub fn map(mut self, map: &TensorMap) -> Self {
        self.0.resize(self.0.len().next_multiple_of(64), 0);
        self.0.extend_from_slice(&map.encode().unwrap());
        self
    }
}

/// Values of 4 bytes.
pub trait Word: Copy {
    fn bits(self) -> u32;
    fn from_bits(bits: u32) -> Self;
}

impl Word for u32 {
    fn bits(self) -> u32 {
        self
    }
    fn from_bits(bits: u32) -> Self {
        bits
    }
}

impl Word for f32 {
    fn bits(self) -> u32 {
        self.to_bits()
    }
    fn from_bits(bits: u32) -> Self {
        f32::from_bits(bits)
    }
}

/// Allocates and fills.
pub fn upload<T: Word>(memory: &mut Memory, values: &[T]) -> u64 {
    let address = memory.alloc(4 * values.len() as u64);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.bits().to_le_bytes()).collect();
    memory.write(address, &bytes).unwrap();
    address
}

/// Reads `count` words back.
pub fn download<T: Word>(memory: &Memory, address: u64, count: usize) -> Vec<T> {
    let mut bytes = vec![0; 4 * count];
    memory.read(address, &mut bytes).unwrap();
    bytes
        .chunks_exact(4)
        .map(|c| T::from_bits(u32::from_le_bytes(c.try_into().unwrap())))
        .collect()
}

/// Allocates and fills with 16-bit values.
pub fn upload16(memory: &mut Memory, values: &[u16]) -> u64 {
    let address = memory.alloc(2 * values.len() as u64);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    memory.write(address, &bytes).unwrap();
    address
}

/// A module of one kernel `k(out)` whose body is given; `%out` holds the parameter, `%tid` the thread's index and `%dst`
/// the address of the thread's word of the output.
pub fn kernel(declarations: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n\
         .visible .entry k(.param .u64 k_param_0)\n{{\n\
         .reg .pred %p<16>;\n.reg .b16 %rs<32>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<32>;\n\
         .reg .b32 %tid;\n.reg .b64 %out;\n.reg .b64 %dst;\n{declarations}\n\
         ld.param.u64 %out, [k_param_0];\nmov.u32 %tid, %tid.x;\n\
         mul.wide.u32 %dst, %tid, 4;\nadd.s64 %dst, %out, %dst;\n{body}\nret;\n}}\n"
    )
}

/// Runs one block of such a kernel over an output of `words` words, which start as zeros.
pub fn run_block(text: &str, threads: u32, shared: u32, words: usize) -> Result<Vec<u32>, Error> {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut memory = Memory::new();
    let out = upload(&mut memory, &vec![0u32; words]);
    let params = Params::default().u64(out);
    let launch = Launch {
        shared,
        step_limit: 1 << 16,
        ..Launch::new("k", 1, threads, &params.0)
    };
    module.launch(&launch, &memory, 1)?;
    Ok(download(&memory, out, words))
}

/// The fault of such a kernel.
pub fn fault(text: &str, threads: u32, shared: u32, words: usize) -> Box<w2vc_ptx::Fault> {
    match run_block(text, threads, shared, words) {
        Err(Error::Fault(fault)) => fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// The kind of its fault.
pub fn fault_kind(text: &str, threads: u32, shared: u32, words: usize) -> FaultKind {
    fault(text, threads, shared, words).kind.clone()
}

/// Launches without dynamic shared memory.
pub fn launch(module: &Module, kernel: &str, blocks: u32, threads: u32, params: &Params, memory: &Memory) -> Stats {
    module
        .launch(&Launch::new(kernel, blocks, threads, &params.0), memory, 2)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Asserts that a program faults as `$kind` and its twin runs.
macro_rules! twins {
    ($bad:expr, $good:expr, $threads:expr, $shared:expr, $kind:pat) => {{
        let kind = fault_kind(&kernel("", $bad), $threads, $shared, 64);
        assert!(matches!(kind, $kind), "{kind}");
        run_block(&kernel("", $good), $threads, $shared, 64).unwrap_or_else(|e| panic!("the twin: {e}"))
    }};
}
pub(crate) use twins;
