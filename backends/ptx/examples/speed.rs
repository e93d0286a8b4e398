//! How fast the emulator runs: `cargo run --release -p w2vc-ptx --example speed`.

use w2vc_ptx::{Launch, Memory, Module};

/// Nanoseconds this thread has run, so that a busy machine does not count; zero where the kernel does not tell.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0.0)
}

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n\
    .visible .entry k(.param .u64 k_param_0)\n{\n.reg .pred %p<4>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<8>;\n\
    ld.param.u64 %rd1, [k_param_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd2, %rd1, %rd2;\n\
    shl.b32 %r2, %r1, 4; st.shared.v4.b32 [%r2], {%r1, %r1, %r1, %r1}; bar.sync 0; and.b32 %r5, %r2, 255; mov.b32 %r3, 0;\nLOOP:\n";
const TAIL: &str = "add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, 2000; @%p1 bra LOOP;\nret;\n}\n";

fn main() {
    let bodies = [
        (
            "fma",
            "fma.rn.f32 %r10, %r11, %r12, %r10; fma.rn.f32 %r13, %r11, %r12, %r13; fma.rn.f32 %r14, %r11, %r12, %r14;",
        ),
        (
            "integer",
            "mad.lo.s32 %r10, %r11, %r12, %r10; add.s32 %r13, %r10, 5; xor.b32 %r14, %r13, %r10; shl.b32 %r15, %r14, 3;",
        ),
        (
            "addresses",
            "mul.wide.u32 %rd3, %r3, 4; add.s64 %rd4, %rd1, %rd3; shl.b64 %rd5, %rd4, 2; add.s64 %rd6, %rd5, %rd4;",
        ),
        (
            "compare",
            "setp.lt.f32 %p2, %r10, %r11; selp.b32 %r12, %r10, %r11, %p2; max.f32 %r13, %r12, %r10;",
        ),
        ("exp", "ex2.approx.f32 %r10, %r11; ex2.approx.f32 %r12, %r10;"),
        (
            "global",
            "ld.global.b32 %r10, [%rd2]; st.global.b32 [%rd2+65536], %r10;",
        ),
        (
            "global v4",
            "ld.global.v4.b32 {%r10,%r11,%r12,%r13}, [%rd1]; ld.global.b32 %r14, [%rd1];",
        ),
        (
            "shared",
            "ld.shared.b32 %r10, [%r2]; ld.shared.v4.b32 {%r11,%r12,%r13,%r14}, [%r5];",
        ),
        (
            "store shared",
            "st.shared.v4.b32 [%r2], {%r11,%r12,%r13,%r14}; bar.sync 0;",
        ),
        (
            "shuffle",
            "shfl.sync.bfly.b32 %r10, %r11, 16, 31, -1; add.f32 %r11, %r11, %r10;",
        ),
        (
            "ldmatrix",
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10,%r11,%r12,%r13}, [%r2];",
        ),
        (
            "mma",
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r20,%r21,%r22,%r23}, {%r10,%r11,%r12,%r13}, \
            {%r14,%r15}, {%r20,%r21,%r22,%r23};",
        ),
        (
            "cp.async",
            "cp.async.cg.shared.global [%r2], [%rd1], 16; cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;",
        ),
    ];
    let mut memory = Memory::new();
    let buffer = memory.alloc(1 << 20);
    let params = buffer.to_le_bytes();
    println!("{:<14}{:>14}{:>18}", "", "ns per warp", "million lanes/s");
    for (name, body) in bodies {
        let repeated = format!("{body}\n").repeat(8);
        let module = Module::parse(&format!("{HEAD}{repeated}{TAIL}")).unwrap_or_else(|e| panic!("{e}"));
        let launch = Launch {
            shared: 4096,
            ..Launch::new("k", 1, 256, &params)
        };
        let start = cpu_time();
        let stats = module.launch(&launch, &memory, 1).unwrap_or_else(|e| panic!("{e}"));
        let seconds = (cpu_time() - start) / 1e9;
        let (warps, lanes) = (stats.warp_instructions as f64, stats.thread_instructions as f64);
        println!(
            "{name:<14}{:>14.1}{:>18.0}",
            1e9 * seconds / warps,
            lanes / seconds / 1e6
        );
    }
}
