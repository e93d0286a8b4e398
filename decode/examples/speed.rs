//! Processor time of the search per frame, on the matrices of the tests: `cargo run --release -p w2vc-decode --example speed`.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{alphabet, matrix, model};
use std::time::Instant;
use w2vc_decode::hotwords::Hotwords;
use w2vc_decode::lexicon::Lexicon;
use w2vc_decode::search::{Decoder, Options};

fn main() {
    let alphabet = alphabet();
    let model = model("lm3.arpa");
    let words = |w: &str| alphabet.spell(w);
    let lexicon = Lexicon::of_model(&model, &words).unwrap().unwrap();
    let matrices: Vec<Vec<f32>> = (0..10).map(|i| matrix(&format!("speech_{i:02}"))).collect();
    let frames: usize = matrices.iter().map(|m| m.len() / alphabet.len()).sum();
    let names: Vec<&str> = model
        .words()
        .unwrap()
        .into_iter()
        .filter(|w| !w.starts_with('<'))
        .collect();
    // Words as long as the model's, of the same letters, that are not said.
    let turned = |w: &str| alphabet.spell(&w.chars().rev().collect::<String>()).unwrap();
    let two = |i: usize| vec![turned(names[i]), turned(names[(i + 7) % names.len()])];
    let phrases: Vec<(Vec<Vec<u32>>, f64)> = (0..200)
        .map(|i| match i < names.len() {
            true => (vec![turned(names[i])], 10.0),
            false => (two(i - names.len()), 10.0),
        })
        .collect();
    let hotwords = Hotwords::new(&phrases, alphabet.word_end);
    let usual = Options::default();
    let closed = |beam| Options {
        beam,
        beam_prune: 50.0,
        token_prune: 1e9,
        unk_score: f64::NEG_INFINITY,
        ..Options::default()
    };
    let wide = Options {
        beam: 500,
        beam_prune: 25.0,
        token_prune: 9.0,
        ..Options::default()
    };
    let nbest = Options {
        nbest: 10,
        ..Options::default()
    };
    let time = |name: &str, options: Options, hotwords: Option<&Hotwords>| {
        let decoder = Decoder::new(&alphabet, Some(&model), Some(&lexicon), hotwords, options);
        let mut best = f64::INFINITY;
        for _ in 0..7 {
            let start = Instant::now();
            matrices.iter().for_each(|m| {
                std::hint::black_box(decoder.decode(m));
            });
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name:40} {:8.4} ms a frame", best * 1e3 / frames as f64);
    };
    time("beam 100", usual.clone(), None);
    time("beam 100, 200 hotwords", usual, Some(&hotwords));
    time("beam 100, 10 best", nbest, None);
    time("beam 500, prune 25, tokens to -9", wide, None);
    time("lexicon, beam 50, all tokens", closed(50), None);
    time("lexicon, beam 500, all tokens", closed(500), None);
    time("lexicon, beam 1500, all tokens", closed(1500), None);
}
