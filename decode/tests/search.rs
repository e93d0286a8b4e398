//! Search against exact scores, other decoders, and enumeration.

mod common;

use common::{alphabet, json, matrix, model, number, text};
use std::collections::{BTreeMap, HashMap};
use w2vc_decode::alphabet::Alphabet;
use w2vc_decode::exact::acoustic;
use w2vc_decode::hotwords::Hotwords;
use w2vc_decode::lexicon::{Entry, Lexicon};
use w2vc_decode::lm::Model;
use w2vc_decode::search::{Decoder, Hypothesis, Options, written};

fn said(decoder: &Decoder, found: &Hypothesis) -> String {
    let words: Vec<String> = found
        .words
        .iter()
        .map(|w| written(decoder.alphabet, decoder.lexicon, w))
        .collect();
    words.join(" ")
}

fn letters(found: &Hypothesis) -> Vec<Vec<u32>> {
    found.words.iter().map(|w| w.letters.clone()).collect()
}

fn free(beam: usize, prune: f64, token: f64) -> Options {
    Options {
        word_score: 0.0,
        beam,
        beam_prune: prune,
        token_prune: token,
        ..Options::default()
    }
}

#[test]
fn where_all_paths_can_be_enumerated_scores_are_exact() {
    let alphabet = alphabet();
    let cases = json("exact.json");
    for (case, texts) in cases.as_object().unwrap() {
        let options = Options {
            nbest: 10,
            ..free(100_000, 1e9, 1e9)
        };
        let decoder = Decoder::new(&alphabet, None, None, None, options);
        let found = decoder.decode(&matrix(case));
        for (own, want) in found.iter().zip(texts.as_array().unwrap()) {
            assert_eq!(said(&decoder, own), text(&want["text"]), "{case}");
            assert!((own.acoustic - number(&want["log_prob"])).abs() < 1e-6, "{case}");
            assert_eq!(own.language, 0.0);
        }
    }
}

/// The decoder of a setting of beam.json.
struct Set {
    alphabet: Alphabet,
    model: Option<Model>,
    lexicon: Option<Lexicon>,
    hotwords: Option<Hotwords>,
    options: Options,
}

impl Set {
    fn new(setting: &serde_json::Value, hot: &serde_json::Value) -> Set {
        let alphabet = alphabet();
        let model = setting["lm"].as_str().map(model);
        let lexicon = model
            .as_ref()
            .and_then(|m| Lexicon::of_model(m, &|w| alphabet.spell(w)).unwrap());
        let phrases: Option<Vec<_>> = hot.as_array().map(|all| {
            let spelled = |w: &serde_json::Value| (vec![alphabet.spell(text(w)).unwrap()], 10.0);
            all.iter().map(spelled).collect()
        });
        let value = |name: &str, or: f64| setting[name].as_f64().unwrap_or(or);
        Set {
            hotwords: phrases.map(|p| Hotwords::new(&p, alphabet.word_end)),
            options: Options {
                lm_weight: value("alpha", 0.0),
                word_score: value("beta", 0.0),
                unk_score: value("unk", 0.0),
                boundaries: setting["boundary"].as_bool().unwrap_or(true),
                letters: false,
                beam: value("beam", 100.0) as usize,
                beam_prune: -value("prune", -10.0),
                token_prune: -value("token_min", -5.0),
                nbest: 1,
            },
            alphabet,
            model,
            lexicon,
        }
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder::new(
            &self.alphabet,
            self.model.as_ref(),
            self.lexicon.as_ref(),
            self.hotwords.as_ref(),
            self.options.clone(),
        )
    }
}

#[test]
fn the_best_text_is_found_or_one_that_is_worth_as_much() {
    let all = json("beam.json");
    let (mut cases, mut worse) = (0, vec![]);
    for (name, case) in all["cases"].as_object().unwrap() {
        for nbest in [1, 10] {
            let mut set = Set::new(&all["settings"][text(&case["setting"])], &case["hotwords"]);
            set.options.nbest = nbest;
            let decoder = set.decoder();
            let found = decoder.decode(&matrix(text(&case["case"])));
            let own = said(&decoder, &found[0]);
            let candidates = case["candidates"].as_array().unwrap();
            for one in &found {
                let own = said(&decoder, one);
                if let Some(same) = candidates.iter().find(|c| text(&c["text"]) == own) {
                    // The search drops paths, so that less is found than there is; never more.
                    let lost = number(&same["score"]) - one.score();
                    assert!(lost > -1e-4, "{name}: {own}: {lost}");
                    let exact = acoustic(&set.alphabet, &matrix(text(&case["case"])), &letters(one));
                    assert!(
                        (exact - number(&same["acoustic"])).abs() < 1e-4,
                        "{name}: {own}: {exact}"
                    );
                    let language = number(&same["score"]) - number(&same["acoustic"]);
                    assert!((one.language - language).abs() < 1e-4, "{name}: {own}");
                }
            }
            cases += 1;
            if own != text(&case["best"]) {
                worse.push(format!(
                    "{name} {nbest}: {own} {} instead of {}",
                    found[0].score(),
                    case["best"]
                ));
            }
        }
    }
    assert!(worse.is_empty(), "{} of {cases}:\n{}", worse.len(), worse.join("\n"));
}

#[test]
fn lexicon_results_are_those_of_flashlight() {
    let all = json("lexicon.json");
    let alphabet = alphabet();
    let corpus = std::fs::read_to_string(common::at("lm/corpus.txt")).unwrap();
    let words: std::collections::BTreeSet<&str> = corpus.split_whitespace().collect();
    let mut different = vec![];
    for (name, case) in all["cases"].as_object().unwrap() {
        let setting = &all["settings"][text(&case["setting"])];
        let model = setting["lm"].as_str().map(model);
        let entries = words.iter().map(|w| {
            let word = model.as_ref().map_or(0, |m| m.index(w));
            (
                alphabet.spell(w).unwrap(),
                Entry {
                    text: Some(w.to_string()),
                    word,
                },
            )
        });
        let lexicon = Lexicon::new(entries.collect(), model.as_ref());
        let value = |name: &str| number(&setting[name]);
        let options = Options {
            lm_weight: value("lm_weight") / std::f64::consts::LN_10,
            word_score: value("word_score"),
            unk_score: f64::NEG_INFINITY,
            boundaries: true,
            letters: false,
            beam: value("beam_size") as usize,
            beam_prune: value("beam_threshold"),
            token_prune: 1e9,
            nbest: 1,
        };
        let mut rows = matrix(text(&case["case"]));
        // What flashlight adds for each frame of `|`.
        rows.chunks_exact_mut(32)
            .for_each(|r| r[4] += value("sil_score") as f32);
        let decoder = Decoder::new(&alphabet, model.as_ref(), Some(&lexicon), None, options);
        let found = decoder.decode(&rows);
        let best: Vec<&str> = case["hypotheses"][0]["words"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        let own = said(&decoder, &found[0]);
        // flashlight takes the best path of a text for all of them, and demands `|` behind the last word: another text may be
        // found, if it is worth more by the sum over paths.
        if own != best.join(" ") {
            let spelled: Vec<Vec<u32>> = best.iter().map(|w| alphabet.spell(w).unwrap()).collect();
            let language = |words: &[&str]| {
                let Some(model) = &model else {
                    return words.len() as f64 * value("word_score");
                };
                let (mut state, mut next, mut sum) = (model.begin(), Default::default(), 0.0);
                for word in words {
                    sum += value("lm_weight") * model.score(&state, model.index(word), &mut next).log10 as f64;
                    sum += value("word_score");
                    std::mem::swap(&mut state, &mut next);
                }
                sum + value("lm_weight") * model.score(&state, model.sentence_end(), &mut next).log10 as f64
            };
            let theirs = acoustic(&alphabet, &rows, &spelled) + language(&best);
            let words: Vec<&str> = own.split(' ').collect();
            let ours = acoustic(&alphabet, &rows, &letters(&found[0])) + language(&words);
            assert!(
                (ours - found[0].score()).abs() < 0.1,
                "{name}: {ours} {}",
                found[0].score()
            );
            if ours < theirs {
                different.push(format!("{name}: {own} {ours} instead of {} {theirs}", best.join(" ")));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// ln of the sum over all paths, by text; words apart by spaces.
fn enumerate(rows: &[Vec<f64>], tokens: &[&str]) -> BTreeMap<String, f64> {
    let mut texts: HashMap<Vec<usize>, f64> = HashMap::from([(vec![], 1.0)]);
    let mut paths: Vec<(Vec<usize>, f64)> = vec![(vec![], 1.0)];
    for row in rows {
        paths = paths
            .iter()
            .flat_map(|(path, p)| {
                row.iter()
                    .enumerate()
                    .map(move |(c, q)| ([&path[..], &[c]].concat(), p * q))
            })
            .collect();
    }
    texts.clear();
    let mut out: BTreeMap<String, f64> = BTreeMap::new();
    for (mut path, p) in paths {
        path.dedup();
        let text: String = path.iter().filter(|c| **c > 0).map(|c| tokens[*c]).collect();
        let words: Vec<&str> = text.split('|').filter(|w| !w.is_empty()).collect();
        *out.entry(words.join(" ")).or_default() += p;
    }
    out.values_mut().for_each(|p| *p = p.ln());
    out
}

use proptest::prelude::*;

fn rows() -> impl Strategy<Value = Vec<Vec<f64>>> {
    let row = prop::collection::vec(0.01f64..1.0, 4).prop_map(|r| {
        let sum: f64 = r.iter().sum();
        r.into_iter().map(|p| p / sum).collect::<Vec<f64>>()
    });
    prop::collection::vec(row, 0..7)
}

/// A model of the words A, B, AB, BA.
fn little(dir: &std::path::Path) -> Model {
    let arpa = "\\data\\\nngram 1=7\nngram 2=4\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t-0.3\n-0.7\t</s>\n-0.6\tA\t-0.2\n-0.9\tB\t-0.4\n\
                -1.1\tAB\n-1.3\tBA\t-0.1\n\n\\2-grams:\n-0.2\t<s> A\n-0.4\tA B\n-0.3\tB </s>\n-0.5\tBA AB\n\n\\end\\\n";
    let path = dir.join("lm.arpa");
    std::fs::write(&path, arpa).unwrap();
    Model::open(&path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_wide_search_finds_every_text_with_its_exact_score(
        rows in rows(), lm_weight in 0.1f64..2.0, word_score in -1.0f64..2.0, unk_score in -5.0f64..0.0, hot in 0.0f64..3.0,
        closed: bool, boundaries: bool
    ) {
        let dir = tempfile::tempdir().unwrap();
        let model = little(dir.path());
        let tokens = ["<pad>", "A", "B", "|"];
        let alphabet = Alphabet::new(tokens.iter().map(|t| t.to_string()).collect(), 0, Some(3));
        let lexicon = Lexicon::of_model(&model, &|w| alphabet.spell(w)).unwrap().unwrap();
        let spell = |w: &str| alphabet.spell(w).unwrap();
        let phrases = [(vec![spell("AB")], hot), (vec![spell("A"), spell("B")], 2.0 * hot)];
        let hotwords = Hotwords::new(&phrases, Some(3));
        let unk_score = if closed { f64::NEG_INFINITY } else { unk_score };
        let options = Options {
            lm_weight, word_score, unk_score, boundaries, letters: false,
            beam: 1_000_000, beam_prune: 1e9, token_prune: 1e9, nbest: 1_000_000,
        };
        let decoder = Decoder::new(&alphabet, Some(&model), Some(&lexicon), Some(&hotwords), options);
        let matrix: Vec<f32> = rows.iter().flatten().map(|p| p.ln() as f32).collect();
        let found = decoder.decode(&matrix);
        let mut expected = enumerate(&rows, &tokens);
        let known = |w: &str| ["A", "B", "AB", "BA"].contains(&w);
        expected.retain(|text, _| !closed || text.split_whitespace().all(known));
        prop_assert_eq!(found.len(), expected.len());
        for one in &found {
            let text = said(&decoder, one);
            let words: Vec<&str> = text.split_whitespace().collect();
            let mut state = if boundaries { model.begin() } else { Default::default() };
            let mut next = Default::default();
            let mut language = 0.0;
            for word in &words {
                let mut log10 = model.score(&state, model.index(word), &mut next).log10 as f64;
                std::mem::swap(&mut state, &mut next);
                if !known(word) {
                    log10 += unk_score;
                }
                language += lm_weight * std::f64::consts::LN_10 * log10 + word_score;
                language += if *word == "AB" { hot } else { 0.0 };
            }
            language += words.windows(2).filter(|w| w == &["A", "B"]).count() as f64 * 2.0 * hot;
            if boundaries {
                let log10 = model.score(&state, model.sentence_end(), &mut next).log10 as f64;
                language += lm_weight * std::f64::consts::LN_10 * log10;
            }
            prop_assert!((one.acoustic - expected[&text]).abs() < 1e-5, "{}: {} {}", text, one.acoustic, expected[&text]);
            prop_assert!((one.language - language).abs() < 1e-5, "{}: {} {}", text, one.language, language);
        }
        let scores: Vec<f64> = found.iter().map(Hypothesis::score).collect();
        prop_assert!(scores.is_sorted_by(|a, b| a >= b));
    }
}
