//! Tensor IR as text: it reads back, and small files of it lower to the kernels that are committed beside them.

use ir::artifact::{Operand, Program, Step};
use ir::graph::Graph;
use ir::ops::Op;
use ir::sample::Rand;
use ir::text::parse;
use passes::differentiate::differentiate;
use passes::pipeline::{Source, to_primitive};
use std::fmt::Write;
use std::path::Path;
use tests::interpret::{Lowered, lower};
use tests::native::model;
use tests::ops::{case, with_loss};

fn reads_back(about: &str, g: &Graph) {
    let text = g.to_string();
    match parse(&text) {
        Ok(back) => assert!(back == *g, "{about} reads back as another graph:\n{text}\n{back}"),
        Err(e) => panic!("{about}: {e}\n{text}"),
    }
}

#[test]
fn gradients_of_every_op_read_back() {
    for (name, sampler) in Op::SAMPLERS {
        for seed in 0..4 {
            let mut r = Rand::new(seed);
            let Some(mut c) = case(sampler(&mut r), &mut r) else {
                continue;
            };
            if c.graph.ty(c.graph.outputs[0].1).dtype.is_float() {
                let g = with_loss(&c.graph, &mut r, &mut c.bound);
                reads_back(name, &differentiate(&g, "loss", &|_| true).unwrap());
            }
        }
    }
}

#[test]
fn programs_of_a_model_read_back_at_every_stage() {
    let m = model("models/tiny.ron", &[]);
    for p in &m.programs {
        let trains = |name: &str| p.trains.iter().any(|t| t == name);
        let source = Source {
            name: &p.name,
            graph: &p.graph,
            loss: p.loss.as_deref(),
            trains: &trains,
        };
        let stages = to_primitive(&source).unwrap();
        for (stage, g) in [
            ("as described", &p.graph),
            ("differentiated", &stages.differentiated),
            ("decomposed", &stages.decomposed),
        ] {
            reads_back(&format!("{}, {stage}", p.name), g);
        }
    }
}

fn operand(p: &Program, o: &Operand) -> String {
    let b = &p.buffers[o.buffer];
    let layer = if o.layer_stride.is_zero() {
        String::new()
    } else {
        format!(" + layer*({})", o.layer_stride)
    };
    format!("{:?}{}[{}{layer}]", b.kind, o.buffer, o.offset)
}

fn steps(l: &Lowered, list: &[Step], indent: &str, out: &mut String) {
    for step in list {
        match step {
            Step::Launch(launch) => {
                let operands: Vec<String> = launch.operands.iter().map(|o| operand(&l.program, o)).collect();
                writeln!(out, "{indent}{} {}", l.kernels[launch.kernel].0, operands.join(" "))
                    .expect("strings take text");
            }
            Step::Loop {
                count, reverse, body, ..
            } => {
                writeln!(out, "{indent}loop {count}{}", if *reverse { " reverse" } else { "" })
                    .expect("strings take text");
                steps(l, body, &format!("{indent}  "), out);
            }
        }
    }
}

/// `UPDATE_GOLDEN=1` writes what is found instead.
#[test]
fn cases_lower_to_the_committed_kernels() {
    for name in ["joined_bias", "linear_gelu", "layer_norm", "repeat", "prepare"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(name);
        let text = std::fs::read_to_string(path.with_extension("ir")).unwrap();
        let g = parse(&text).unwrap_or_else(|e| panic!("{name}.ir: {e}"));
        let lowered = lower(&g).prepared();
        let mut found = String::new();
        if !lowered.program.prepare.is_empty() {
            found += "prepare\n";
            steps(&lowered, &lowered.program.prepare, "  ", &mut found);
        }
        steps(&lowered, &lowered.program.steps, "", &mut found);
        for (kernel, body) in &lowered.kernels {
            writeln!(found, "\n{kernel}: {}", body.to_string().trim_end()).expect("strings take text");
        }
        let golden = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, found).unwrap();
        } else {
            let expected = std::fs::read_to_string(&golden).unwrap();
            assert!(
                found == expected,
                "{name}: run with UPDATE_GOLDEN=1 if this is right\n{found}"
            );
        }
    }
}
