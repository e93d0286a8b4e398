//! Where parameters lie in the arena.

use frontend::{Model, ParamDecl};
use ir::artifact::Param;
use passes::lower::ParamOffsets;

pub struct Layout {
    pub params: Vec<Param>,
    /// Stacked parameters as a whole.
    pub offsets: ParamOffsets,
    pub elements: usize,
}

/// Vectors are read 64 bytes at a time: rows that start on a cache line are read faster.
const ALIGN: usize = 16;

/// One after the other in the order of declaration, layers of a stacked parameter adjacent.
pub fn layout(model: &Model) -> Layout {
    let mut l = Layout {
        params: vec![],
        offsets: ParamOffsets::new(),
        elements: 0,
    };
    for p in &model.params {
        l.offsets.insert(p.name.clone(), l.elements);
        let one: usize = p.shape.iter().product::<i64>() as usize;
        for layer in 0..p.count.unwrap_or(1) {
            let name = layer_name(p, layer);
            l.params.push(Param {
                name,
                shape: p.shape.clone(),
                offset: l.elements,
                init: p.init.clone(),
            });
            l.elements += one;
        }
        l.elements = l.elements.next_multiple_of(ALIGN);
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
