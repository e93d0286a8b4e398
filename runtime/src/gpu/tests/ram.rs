//! A device in plain memory that knows the kernels of the test model, and counts what it is asked to do.

use super::model::{artifact, image};
use crate::error::Error;
use crate::gpu::{Area, Code, Device, DeviceMemory, GraphId, Launch};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Default)]
pub struct Log {
    pub uploads: usize,
    pub downloads: usize,
    pub launches: usize,
    pub recorded: Vec<Vec<Launch>>,
    pub replays: usize,
    pub forgotten: usize,
    /// Bytes held.
    pub allocated: usize,
}

#[derive(Clone)]
pub struct Ram {
    code: Code,
    memory: Vec<u8>,
    /// Sizes of what is allocated.
    blocks: HashMap<u64, usize>,
    pub log: Rc<RefCell<Log>>,
    /// Bytes there are.
    pub total: usize,
}

/// What the device holds at its first address.
const FIRST: u64 = 1 << 40;

impl Ram {
    pub fn new(total: usize) -> Ram {
        Ram {
            code: Code::new(&artifact(), image("sm_80")).expect("they belong together"),
            memory: vec![],
            blocks: HashMap::new(),
            log: Rc::default(),
            total,
        }
    }
    fn bytes(&mut self, at: u64, n: usize) -> &mut [u8] {
        let at = (at - FIRST) as usize;
        &mut self.memory[at..at + n]
    }
    fn float(&mut self, at: u64, i: i64) -> f32 {
        let b = self.bytes(at + 4 * i as u64, 4);
        f32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }
    fn put(&mut self, at: u64, i: i64, x: f32) {
        self.bytes(at + 4 * i as u64, 4).copy_from_slice(&x.to_le_bytes());
    }
    fn execute(&mut self, l: &Launch) {
        let function = self.code.kernels[l.kernel].grids[l.grid].function.clone();
        let p = &l.params;
        let n = *p.last().expect("a size") as i64;
        assert!(l.blocks[0] as i64 * l.threads as i64 >= n);
        for i in 0..n {
            match function.as_str() {
                "copy" => {
                    let x = self.float(p[0], i);
                    self.put(p[1], i, x);
                }
                "add_row" => {
                    let x = self.float(p[1], i) + self.float(p[0], i % 4);
                    self.put(p[1], i, x);
                }
                "adam" => {
                    let rate = self.float(p[0], 0) * self.float(p[0], 7);
                    let x = self.float(p[2], i).mul_add(rate, self.float(p[1], i));
                    self.put(p[1], i, x);
                    let m = self.float(p[3], i) + 1.0;
                    self.put(p[3], i, m);
                }
                "narrow" => {
                    let x = self.float(p[0], i).to_le_bytes();
                    self.bytes(p[1] + 2 * i as u64, 2).copy_from_slice(&x[2..]);
                }
                "widen" => {
                    let b = self.bytes(p[0] + 2 * i as u64, 2).to_vec();
                    self.put(p[1], i, f32::from_le_bytes([0, 0, b[0], b[1]]));
                }
                other => panic!("no kernel {other}"),
            }
        }
    }
}

impl Device for Ram {
    fn name(&self) -> String {
        "ram".into()
    }
    fn code(&self) -> &Code {
        &self.code
    }
    fn memory(&self) -> Result<DeviceMemory, Error> {
        Ok(DeviceMemory {
            free: self.total - self.log.borrow().allocated,
            total: self.total,
        })
    }
    fn alloc(&mut self, bytes: usize) -> Result<u64, Error> {
        let at = self.memory.len();
        // 0xff: what nobody wrote is not a number.
        self.memory.resize(at + bytes.next_multiple_of(256), 0xff);
        self.log.borrow_mut().allocated += bytes;
        self.blocks.insert(FIRST + at as u64, bytes);
        assert!(
            self.log.borrow().allocated <= self.total,
            "allocated more than there is"
        );
        Ok(FIRST + at as u64)
    }
    fn free(&mut self, address: u64) -> Result<(), Error> {
        let bytes = self.blocks.remove(&address).expect("only what was allocated is freed");
        self.log.borrow_mut().allocated -= bytes;
        Ok(())
    }
    fn upload(&mut self, to: u64, from: &[u8]) -> Result<(), Error> {
        self.log.borrow_mut().uploads += 1;
        self.bytes(to, from.len()).copy_from_slice(from);
        Ok(())
    }
    fn download(&mut self, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.log.borrow_mut().downloads += 1;
        to.copy_from_slice(self.bytes(from, to.len()));
        Ok(())
    }
    fn zero(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        self.bytes(at, bytes).fill(0);
        Ok(())
    }
    fn stage(&mut self, _: Area, parts: &[(u64, &[u8])]) -> Result<(), Error> {
        parts
            .iter()
            .for_each(|(to, part)| self.bytes(*to, part.len()).copy_from_slice(part));
        Ok(())
    }
    fn staged_is_used(&mut self, _: Area) -> Result<(), Error> {
        Ok(())
    }
    fn prepare(&mut self, _: &[usize]) -> Result<(), Error> {
        Ok(())
    }
    fn launch(&mut self, l: &Launch) -> Result<(), Error> {
        self.log.borrow_mut().launches += 1;
        self.execute(l);
        Ok(())
    }
    fn record(&mut self, launches: &[Launch]) -> Result<Option<GraphId>, Error> {
        let mut log = self.log.borrow_mut();
        log.recorded.push(launches.to_vec());
        Ok(Some(GraphId(log.recorded.len() - 1)))
    }
    fn replay(&mut self, graph: GraphId) -> Result<(), Error> {
        let launches = self.log.borrow().recorded[graph.0].clone();
        self.log.borrow_mut().replays += 1;
        launches.iter().for_each(|l| self.execute(l));
        Ok(())
    }
    fn forget(&mut self, _: GraphId) {
        self.log.borrow_mut().forgotten += 1;
    }
    fn synchronise(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
