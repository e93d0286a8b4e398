//! How fast the emulator multiplies by `wgmma`: `cargo run --release -p w2vc-ptx --example wgmma`.

use std::time::Instant;
use w2vc_ptx::{Launch, Memory, Module, TensorMap};

/// Products of a launch.
const PRODUCTS: u32 = 400;
const LOAD: &str = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";

fn main() {
    println!("{:<10}{:>14}{:>14}", "columns", "us a product", "GFLOP/s");
    for columns in [64u32, 128, 256] {
        let d: Vec<String> = (0..columns / 2).map(|i| format!("%d{i}")).collect();
        let (bits, bytes) = (1u64 << 62 | 64 << 32, 128 * (64 + columns));
        let boxes: String = (0..1 + columns / 64)
            .map(|i| format!("{LOAD} [tile+{}], [%map, {{0, {}}}], [full];\n", 8192 * i, 64 * i))
            .collect();
        let text = format!(
            ".version 8.0\n.target sm_90a\n.address_size 64\n.shared .align 1024 .b8 tile[{bytes}];\n.shared .align 8 .b8 full[8];\n\
             .visible .entry k(.param .align 64 .b8 map[128])\n{{\n\
             .reg .pred %p<4>;\n.reg .b32 %r<8>;\n.reg .b32 %d<256>;\n.reg .b64 %rd<8>, %map;\n\
             mov.b64 %map, map; cvta.param.u64 %map, %map; mov.u32 %r1, %tid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra READY;\n\
             mbarrier.init.shared.b64 [full], 1; fence.mbarrier_init.release.cluster;\n\
             mbarrier.arrive.expect_tx.shared.b64 _, [full], {bytes};\n{boxes}READY: bar.sync 0;\n\
             WAIT: mbarrier.try_wait.parity.shared.b64 %p2, [full], 0; @!%p2 bra WAIT;\n\
             mov.b32 %r3, 0; mov.b64 %rd1, {bits}; mov.b64 %rd2, {b};\n\
             LOOP: wgmma.fence.sync.aligned;\n\
             wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16 {{{d}}}, %rd1, %rd2, 1, 1, 1, 0, 0;\n\
             wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n\
             add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, {PRODUCTS}; @%p1 bra LOOP;\nret;\n}}\n",
            b = bits | (64 * 128) >> 4,
            d = d.join(", ")
        );
        let mut memory = Memory::new();
        let map = TensorMap {
            address: memory.alloc(bytes.into()),
            bytes_per_element: 2,
            extents: vec![64, (64 + columns).into()],
            strides: vec![128],
            tile: vec![64, 64],
        };
        let params = map.encode().unwrap_or_else(|e| panic!("{e}"));
        let module = Module::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        let launch = Launch::new("k", 1, 128, &params);
        let start = Instant::now();
        module.launch(&launch, &memory, 1).unwrap_or_else(|e| panic!("{e}"));
        let seconds = start.elapsed().as_secs_f64() / f64::from(PRODUCTS);
        let flops = f64::from(2 * 64 * columns * 16);
        println!("{columns:<10}{:>14.1}{:>14.1}", 1e6 * seconds, flops / seconds / 1e9);
    }
}
