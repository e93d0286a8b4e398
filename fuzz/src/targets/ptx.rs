//! PTX text.

use super::Target;
use crate::input::{Input, each};
use std::path::Path;

pub const TARGET: Target = Target {
    name: "ptx",
    seeds,
    words: &[
        ".reg .f32 %f<",
        ".reg .b64 %rd<4294967295>;",
        ".shared .align 16 .b8 s[",
        ".global .align 4 .b32 g[4] = {1, 2};",
        ".param .u64 p",
        ".entry",
        ".visible",
        ".func",
        "bra",
        "ret;",
        "mma.sync.aligned",
        "wgmma",
        "cp.async",
        "ld.global.v4.f32",
        "st.shared.b32",
        "@%p1 ",
        "{",
        "}",
        ";",
        "[",
        "]",
        ",",
        "0f3F800000",
        "0x7fffffffffffffff",
        "%r1",
        "%tid.x",
        ".align 0",
        ".maxntid 0",
        ".target sm_90a",
        "/*",
        "//",
        "\\",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let mut all = each("backends/ptx/tests/recorded/kernels", &[".ptx"]);
    all.extend(each("runtime/src/gpu/tests", &[".ptx"]));
    all
}

fn run(input: &Input, _: &Path) -> bool {
    match ptx::Module::parse(&input.text()) {
        Ok(_) => true,
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
