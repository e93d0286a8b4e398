//! Graphs to text.

use crate::graph::Graph;
use crate::ops::Op;
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f, 1)
    }
}

fn print(g: &Graph, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for (i, node) in g.nodes.iter().enumerate() {
        let args: Vec<String> = node.args.iter().map(|a| format!("%{}", a.0)).collect();
        let types: Vec<String> = node.types.iter().map(|t| t.to_string()).collect();
        let (args, types) = (args.join(" "), types.join(", "));
        let space = if args.is_empty() { "" } else { " " };
        match &node.op {
            Op::Repeat(r) => {
                let flags = format!(
                    "count: {}, carries: {}, stacked: {}, keep: {}, reverse: {}",
                    r.count, r.carries, r.stacked, r.keep, r.reverse
                );
                writeln!(f, "{indent}%{i} = repeat({flags}){space}{args} : {types} {{")?;
                print(&r.body, f, depth + 1)?;
                writeln!(f, "{indent}}}")?;
            }
            op => {
                let attributes = op_attributes(op);
                writeln!(f, "{indent}%{i} = {}{attributes}{space}{args} : {types}", op.name())?;
            }
        }
    }
    let inputs: Vec<String> = g.inputs.iter().map(|v| format!("%{}", v.0)).collect();
    writeln!(f, "{indent}inputs {}", inputs.join(" "))?;
    for (name, v) in &g.outputs {
        writeln!(f, "{indent}output {name:?} %{}", v.0)?;
    }
    Ok(())
}

fn op_attributes(op: &Op) -> String {
    match op {
        Op::UnaryOp(_) | Op::BinaryOp(_) => String::new(),
        op => match op.attributes().as_str() {
            "()" => String::new(),
            text => text.to_string(),
        },
    }
}
