//! Where parameters lie in the arena.

use frontend::{Model, ParamDecl};
use ir::artifact::Param;
use ir::dim::{Dim, numel};
use passes::module::{Arena, Place};

pub struct Layout {
    pub params: Vec<Param>,
    /// Stacked parameters as a whole, in terms of run sizes.
    pub arena: Arena,
}

/// Vectors are read 64 bytes at a time: rows that start on a cache line are read faster.
const LINE: i64 = (ir::artifact::ALIGN / 4) as i64;

/// One after the other in the order of declaration, layers of a stacked parameter adjacent; those with run sizes last, so
/// that all others lie where they lie whatever a run chooses.
pub fn layout(model: &Model) -> Layout {
    let mut l = Layout {
        params: vec![],
        arena: Arena::default(),
    };
    let env = model.run_env();
    let value = |d: &Dim| d.eval(&env).expect("parameters depend on run sizes alone");
    let (fixed, sized): (Vec<_>, Vec<_>) = model.params.iter().partition(|p| p.elements().as_const().is_some());
    for p in fixed.into_iter().chain(sized) {
        let (start, offset) = (l.params.len(), l.arena.elements.clone());
        for layer in 0..p.count.unwrap_or(1) {
            l.params.push(Param {
                name: layer_name(p, layer),
                dims: p.shape.clone(),
                place: l.arena.elements.clone(),
                shape: p.shape.iter().map(value).collect(),
                offset: value(&l.arena.elements) as usize,
                init: p.init.clone(),
            });
            l.arena.elements = l.arena.elements + numel(&p.shape);
        }
        let numbers = start..l.params.len();
        l.arena.params.insert(p.name.clone(), Place { offset, numbers });
        l.arena.elements = (l.arena.elements + Dim::from(LINE - 1)).floor_div(LINE) * Dim::from(LINE);
    }
    l
}

/// The checkpoint name of one layer's parameter.
pub fn layer_name(p: &ParamDecl, layer: i64) -> String {
    match p.count {
        Some(_) => p.name.replace("{i}", &layer.to_string()),
        None => p.name.clone(),
    }
}
