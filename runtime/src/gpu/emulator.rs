//! The device that needs no GPU: executes the PTX text on this machine's processor, and checks what a GPU would not.

use super::device::{Area, Code, Device, DeviceMemory, GraphId, Launch};
use super::map::MapArgument;
use crate::error::Error;
use std::collections::HashMap;

/// Executes PTX. Its memory holds NaN until it is written, and a launch may touch its operands alone.
pub struct Emulator {
    code: Code,
    threads: usize,
    /// By kernel; parsed when first needed.
    modules: HashMap<usize, ptx::Module>,
    memory: ptx::Memory,
}

impl Emulator {
    pub fn new(code: Code, threads: usize) -> Emulator {
        Emulator {
            code,
            threads,
            modules: HashMap::new(),
            memory: ptx::Memory::poisoned(),
        }
    }
}

fn failed(call: impl Into<String>, what: impl ToString) -> Error {
    Error::Device {
        call: call.into(),
        what: what.to_string(),
    }
}

/// Tensor maps among the parameters begin at multiples of this.
const MAP_ALIGN: usize = 64;

fn encode(map: &MapArgument) -> Result<[u8; 128], ptx::TensorMapError> {
    let map = ptx::TensorMap {
        address: map.address,
        bytes_per_element: map.bytes_per_element,
        extents: map.extents.clone(),
        strides: map.strides.clone(),
        tile: map.tile.clone(),
    };
    map.encode()
}

impl Device for Emulator {
    fn name(&self) -> String {
        format!("the emulator of {}", self.code.arch)
    }

    fn code(&self) -> &Code {
        &self.code
    }

    /// That of the host.
    fn memory(&self) -> Result<DeviceMemory, Error> {
        let held = self.memory.allocated() as usize;
        let free = crate::memory::available().unwrap_or(usize::MAX / 2);
        Ok(DeviceMemory {
            free,
            total: free + held,
        })
    }

    fn alloc(&mut self, bytes: usize) -> Result<u64, Error> {
        Ok(self.memory.alloc(bytes as u64))
    }

    fn free(&mut self, address: u64) -> Result<(), Error> {
        self.memory.free(address).map_err(|e| failed("free", e))
    }

    fn upload(&mut self, to: u64, from: &[u8]) -> Result<(), Error> {
        self.memory.write(to, from).map_err(|e| failed("upload", e))
    }

    fn download(&mut self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.memory.read(from, to).map_err(|e| failed("download", e))
    }

    fn zero(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        self.memory.fill(at, bytes as u64, 0).map_err(|e| failed("zero", e))
    }

    fn stage(&mut self, _: Area, parts: &[(u64, &[u8])]) -> Result<(), Error> {
        parts.iter().try_for_each(|(to, part)| self.upload(*to, part))
    }

    fn staged_is_used(&mut self, _: Area) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self, kernels: &[usize]) -> Result<(), Error> {
        for kernel in kernels {
            if !self.modules.contains_key(kernel) {
                let own = &self.code.kernels[*kernel];
                let module = ptx::Module::parse(&own.ptx).map_err(|e| failed(format!("PTX of `{}`", own.name), e))?;
                self.modules.insert(*kernel, module);
            }
        }
        Ok(())
    }

    fn launch(&mut self, l: &Launch) -> Result<(), Error> {
        self.prepare(&[l.kernel])?;
        let own = &self.code.kernels[l.kernel];
        let mut params: Vec<u8> = l.params.iter().flat_map(|p| p.to_le_bytes()).collect();
        for (n, map) in l.maps.iter().enumerate() {
            let encoded = encode(map).map_err(|e| failed(format!("tensor map {n} of `{}`", own.name), e))?;
            params.resize(params.len().next_multiple_of(MAP_ALIGN), 0);
            params.extend(encoded);
        }
        let region = |r: &super::Region| ptx::Region {
            address: r.address,
            bytes: r.bytes,
            write: r.write,
        };
        let regions: Vec<ptx::Region> = l.regions.iter().map(region).collect();
        let launch = ptx::Launch {
            kernel: &own.grids[l.grid].function,
            grid: l.blocks,
            block: [l.threads, 1, 1],
            shared: l.shared,
            params: &params,
            regions: Some(&regions),
            step_limit: ptx::DEFAULT_STEP_LIMIT,
        };
        let done = self.modules[&l.kernel].launch(&launch, &self.memory, self.threads);
        done.map(|_| ())
            .map_err(|e| failed(format!("launch of `{}`", own.name), e))
    }

    /// Launches cost nothing here that recording would save.
    fn record(&mut self, _: &[Launch]) -> Result<Option<GraphId>, Error> {
        Ok(None)
    }

    fn replay(&mut self, _: GraphId) -> Result<(), Error> {
        Err(failed("replay", "nothing was recorded"))
    }

    fn forget(&mut self, _: GraphId) {}

    fn synchronise(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
