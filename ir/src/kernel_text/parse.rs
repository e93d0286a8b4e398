//! Parsing kernels, line by line.

use super::ParseError;
use super::scan::{
    Parsed, after, dims, dtype, float, index, number, numbered, pieces, slot_and_address, split, strided,
};
use super::scan::{value, view};
use crate::dim::Dim;
use crate::kernel::*;
use crate::rounding::Rounding;
use std::iter::Peekable;

/// Reads the text of one kernel. It need not be valid; that is the verifier's to say.
///
/// # Errors
/// The first line that is not as [`print`](super::print) writes it.
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l.split('#').next().unwrap_or("").trim()));
    let mut lines = Lines {
        rest: lines
            .filter(|(_, l)| !l.is_empty())
            .collect::<Vec<_>>()
            .into_iter()
            .peekable(),
        at: 1,
    };
    lines.kernel().map_err(|message| ParseError {
        line: lines.at,
        message,
    })
}

struct Lines<'a> {
    rest: Peekable<std::vec::IntoIter<(usize, &'a str)>>,
    /// The line being read.
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line where `wanted` holds of it.
    fn next_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        let (at, line) = self.rest.next_if(|(_, l)| wanted(l))?;
        self.at = at;
        Some(line)
    }

    /// The next line, which is `name` = something.
    fn field(&mut self, name: &str) -> Parsed<&'a str> {
        match self.next_if(|_| true) {
            Some(line) => split(line, "=").and_then(|(n, v)| {
                if n == name {
                    Ok(v)
                } else {
                    Err(format!("`{name} =` is expected"))
                }
            }),
            None => Err(format!("the text ends where `{name} =` is expected")),
        }
    }

    fn slot_field(&mut self, name: &str) -> Parsed<Slot> {
        numbered(self.field(name)?, "s")
    }

    fn view_field(&mut self, name: &str) -> Parsed<HeadView> {
        view(self.field(name)?)
    }

    fn kernel(&mut self) -> Parsed<Kernel> {
        let head = self.next_if(|_| true).ok_or("there is no kernel")?;
        let (kind, extents) = head.split_once(' ').map_or((head, ""), |(k, e)| (k, e.trim()));
        let kernel = match kind {
            "row" => self.row(dims(extents)?),
            "column" => self.column(Extents(pieces(extents, ','))),
            "contract" => self.contract(Extents(pieces(extents, ','))),
            "attention" => self.attention(Extents(pieces(extents, ',')), false),
            "attention_grad" => self.attention(Extents(pieces(extents, ',')), true),
            "scatter" => self.scatter(Extents(pieces(extents, ','))),
            "ctc" => self.ctc(Extents(pieces(extents, ','))),
            _ => Err(format!("`{kind}` is no kind of kernel")),
        }?;
        match self.next_if(|_| true) {
            Some(line) => Err(format!("`{line}` does not belong here")),
            None => Ok(kernel),
        }
    }

    fn slots(&mut self) -> Parsed<Vec<SlotDecl>> {
        let mut slots = vec![];
        let is_slot =
            |l: &str| l.starts_with('s') && !l.contains('=') && l[1..].starts_with(|c: char| c.is_ascii_digit());
        while let Some(line) = self.next_if(is_slot) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, access, of] = words[..] else {
                return Err(format!("`{line}` is no slot with access and dtype"));
            };
            self.in_order(numbered(name, "s")?, slots.len(), "s")?;
            let access = match access {
                "read" => Access::Read,
                "write" => Access::Write,
                "update" => Access::Update,
                _ => return Err(format!("`{access}` is not read, write or update")),
            };
            slots.push(SlotDecl {
                dtype: dtype(of)?,
                access,
            });
        }
        Ok(slots)
    }

    fn in_order(&self, found: usize, next: usize, prefix: &str) -> Parsed<()> {
        if found == next {
            Ok(())
        } else {
            Err(format!("{prefix}{next} comes next, not {prefix}{found}"))
        }
    }

    fn values(&mut self) -> Parsed<Vec<Value>> {
        let mut values = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('v')) {
            let (name, what) = split(line, "=")?;
            self.in_order(numbered(name, "v")?, values.len(), "v")?;
            values.push(value(what)?);
        }
        Ok(values)
    }

    /// Reductions, numbered from `first`.
    fn reduce(&mut self, first: usize) -> Parsed<Vec<(Reduction, ValId)>> {
        let mut list = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('r') && l.contains('=')) {
            let (name, what) = split(line, "=")?;
            self.in_order(numbered(name, "r")?, first + list.len(), "r")?;
            let (how, v) = split(what, " ")?;
            let how = match how {
                "sum" => Reduction::Sum,
                "max" => Reduction::Max,
                "argmax" => Reduction::ArgMax,
                _ => return Err(format!("`{how}` is no reduction")),
            };
            list.push((how, numbered(v, "v")?));
        }
        Ok(list)
    }

    fn stores(&mut self) -> Parsed<Vec<Store>> {
        let mut list = vec![];
        while let Some(line) = self.next_if(|l| l.starts_with('s') && l.contains('=')) {
            let accumulate = line.contains("+=");
            let (to, v) = split(line, if accumulate { "+=" } else { "=" })?;
            let (slot, at) = slot_and_address(to)?;
            list.push(Store {
                slot,
                index: index(at)?,
                value: numbered(v, "v")?,
                accumulate,
            });
        }
        Ok(list)
    }

    fn heading(&mut self, name: &str) -> Parsed<()> {
        self.next_if(|l| l == name)
            .map(|_| ())
            .ok_or_else(|| format!("`{name}` is expected after this"))
    }

    // Extents stand in the first line and are read first, so that a mistake in them is told with that line.

    fn row(&mut self, axes: Vec<Dim>) -> Parsed<Kernel> {
        let (slots, values) = (self.slots()?, self.values()?);
        let (mut phases, mut reduced) = (vec![], 0);
        while let Some(name) = self.next_if(|l| l == "columns" || l == "row") {
            if name == "row" {
                phases.push(Phase::Row { store: self.stores()? });
                continue;
            }
            let reduce = self.reduce(reduced)?;
            reduced += reduce.len();
            phases.push(Phase::Columns {
                reduce,
                store: self.stores()?,
            });
        }
        Ok(Kernel {
            slots,
            body: Body::Row(RowKernel { axes, values, phases }),
        })
    }

    fn column(&mut self, of: Extents) -> Parsed<Kernel> {
        let (outer, reduced, columns) = (of.list(0, "outer")?, of.list(1, "reduced")?, of.dim(2, "columns")?);
        let (slots, values) = (self.slots()?, self.values()?);
        self.heading("reduce")?;
        let reduce = self.reduce(0)?;
        self.heading("store")?;
        let store = self.stores()?;
        Ok(Kernel {
            slots,
            body: Body::Column(ColumnKernel {
                outer,
                reduced,
                columns,
                values,
                reduce,
                store,
            }),
        })
    }

    fn contract(&mut self, of: Extents) -> Parsed<Kernel> {
        let (batch, m, n) = (of.list(0, "batch")?, of.dim(1, "m")?, of.dim(2, "n")?);
        let (k_outer, k) = (of.dim(3, "k_outer")?, of.dim(4, "k")?);
        let round = match of.0.get(5) {
            Some(_) => of.text(5, "round")?.parse()?,
            None => Rounding::F32,
        };
        let slots = self.slots()?;
        let a = strided(self.field("a")?, batch.len(), "i")?;
        let b = strided(self.field("b")?, batch.len(), "j")?;
        let values = self.values()?;
        self.heading("store")?;
        let store = self.stores()?;
        Ok(Kernel {
            slots,
            body: Body::Contract(Contract {
                batch,
                m,
                n,
                k_outer,
                k,
                a,
                b,
                round,
                values,
                store,
            }),
        })
    }

    fn attention(&mut self, of: Extents, grad: bool) -> Parsed<Kernel> {
        let (batch, time) = (of.dim(0, "batch")?, of.dim(1, "time")?);
        let (heads, head_dim) = (number(of.text(2, "heads")?)?, number(of.text(3, "head_dim")?)?);
        let scale = float(of.text(4, "scale")?)?.to_bits();
        let (slots, q) = (self.slots()?, self.view_field("q")?);
        let (k, v, lengths) = (
            self.view_field("k")?,
            self.view_field("v")?,
            self.slot_field("lengths")?,
        );
        let dropout = self.next_if(|l| l.starts_with("dropout ")).map(dropout).transpose()?;
        let (out, lse) = (self.view_field("out")?, self.slot_field("lse")?);
        let forward = Attention {
            batch,
            time,
            heads,
            head_dim,
            scale,
            q,
            k,
            v,
            lengths,
            dropout,
            out,
            lse,
        };
        if !grad {
            return Ok(Kernel {
                slots,
                body: Body::Attention(forward),
            });
        }
        let (d_out, dq) = (self.view_field("d_out")?, self.view_field("dq")?);
        let (dk, dv) = (self.view_field("dk")?, self.view_field("dv")?);
        Ok(Kernel {
            slots,
            body: Body::AttentionGrad(Box::new(AttentionGrad {
                forward,
                d_out,
                dq,
                dk,
                dv,
            })),
        })
    }

    fn scatter(&mut self, of: Extents) -> Parsed<Kernel> {
        let (rows, count) = (of.dim(0, "rows")?, of.dim(1, "count")?);
        let (into, width) = (of.dim(2, "into")?, of.dim(3, "width")?);
        let (slots, from) = (self.slots()?, self.slot_field("from")?);
        let (index, out) = (self.slot_field("index")?, self.slot_field("out")?);
        Ok(Kernel {
            slots,
            body: Body::Scatter(Scatter {
                rows,
                count,
                into,
                width,
                from,
                index,
                out,
            }),
        })
    }

    fn ctc(&mut self, of: Extents) -> Parsed<Kernel> {
        let (batch, time) = (of.dim(0, "batch")?, of.dim(1, "time")?);
        let (vocab, labels) = (of.dim(2, "vocab")?, of.dim(3, "labels")?);
        let (slots, log_probs) = (self.slots()?, self.slot_field("log_probs")?);
        let (lengths, label_ids) = (self.slot_field("lengths")?, self.slot_field("label_ids")?);
        let (loss, grad) = (self.slot_field("loss")?, self.slot_field("grad")?);
        let body = Body::Ctc(Ctc {
            batch,
            time,
            vocab,
            labels,
            log_probs,
            lengths,
            label_ids,
            loss,
            grad,
        });
        Ok(Kernel { slots, body })
    }
}

/// The named extents of the first line.
struct Extents<'a>(Vec<&'a str>);

impl<'a> Extents<'a> {
    fn text(&self, n: usize, name: &str) -> Parsed<&'a str> {
        after(
            self.0.get(n).copied().ok_or_else(|| format!("`{name}` is missing"))?,
            name,
        )
    }

    fn dim(&self, n: usize, name: &str) -> Parsed<Dim> {
        self.text(n, name)?.parse()
    }

    fn list(&self, n: usize, name: &str) -> Parsed<Vec<Dim>> {
        dims(self.text(n, name)?)
    }
}

fn dropout(line: &str) -> Parsed<AttentionDropout> {
    match pieces(split(line, "=")?.1, ',')[..] {
        [rate, seed, site] => Ok(AttentionDropout {
            rate: numbered(after(rate, "rate")?, "s")?,
            seed: numbered(after(seed, "seed")?, "s")?,
            site: number(after(site, "site")?)?,
        }),
        _ => Err("dropout has a rate, a seed and a site".into()),
    }
}
