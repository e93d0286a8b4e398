//! What a runtime offers, for tests: its feeds, and a few of its settings.

use ir::artifact::SettingValue::{self, Flag, Number, Text};
use ir::scalar::DType::{F32, I32};
use ir::task::ParamKind::{Amount, Input, Size};
use ir::task::{Declared, FeedParam, Host, ParamKind, Range, Signature, range};

macro_rules! feeds {
    ($($name:literal $dtype:ident $rank:literal ($($param:literal: $kind:expr),*);)*) => {
        &[$(Signature {
            name: $name,
            about: "",
            dtype: $dtype,
            axes: &["axis"; $rank],
            params: &[$(FeedParam { name: $param, kind: $kind }),*],
        }),*]
    };
}

const SPANS: ParamKind = Input("Spans");

const FEEDS: &[Signature] = feeds! {
    "Wave" F32 2 ("frames": Size);
    "Lengths" I32 1 ();
    "Spans" I32 2 ("prob": Amount, "length": Amount, "least": Amount);
    "ChannelSpans" I32 2 ("prob": Amount, "length": Amount);
    "SpanIndex" I32 2 ("of": SPANS);
    "Others" I32 3 ("of": SPANS, "count": Amount);
    "Gumbel" F32 4 ("of": SPANS);
    "Decay" F32 1 ("start": Amount, "factor": Amount, "floor": Amount);
    "DropoutKey" I32 1 ();
    "LayerDrop" F32 1 ("rate": Amount);
    "FirstLayers" F32 1 ();
    "Letters" I32 2 ();
    "Class" I32 1 ("classes": Size);
    "Clusters" I32 2 ("classes": Size);
};

fn declared(name: &str, value: SettingValue, range: Range) -> Declared {
    Declared {
        name: name.into(),
        value,
        range,
        doc: format!("about {name}"),
    }
}

fn training() -> Vec<Declared> {
    let words = Range::Choice(vec!["skip".into(), "stop".into()]);
    let number = |name, value, range| declared(name, Number(value), range);
    vec![
        number("seed", 1.0, range::UPDATES),
        number("updates", 1000.0, range::UPDATES),
        number("beta1", 0.9, range::RATE),
        number("beta2", 0.98, range::RATE),
        number("eps", 1e-8, Range::Above(0.0, 1.0)),
        number("weight_decay", 0.0, Range::Real(0.0, 1e3)),
        number("clip_norm", 0.0, Range::Real(0.0, f64::INFINITY)),
        number("accumulate", 1.0, range::EVERY),
        number("max_tokens", 1_400_000.0, range::EVERY),
        number("max_batch", 0.0, range::UPDATES),
        declared("normalize", Flag(false), Range::Switch),
        number("save_every", 1000.0, range::EVERY),
        number("validate_every", 1000.0, range::EVERY),
        declared("on_nan", Text("skip".into()), words),
    ]
}

fn texts() -> Vec<Declared> {
    vec![declared("fold_case", Flag(true), Range::Switch)]
}

fn prediction() -> Vec<Declared> {
    vec![declared("normalize", Flag(false), Range::Switch)]
}

pub const HOST: Host = Host {
    feeds: FEEDS,
    training,
    texts,
    prediction,
    of_the_data: &["seed"],
    reserved: &["info", "bench"],
};
