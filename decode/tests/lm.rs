//! Language models against what KenLM says of the same files.

mod common;

use common::{at, json, model, number, text};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::Write;
use w2vc_decode::lm::{Model, State};

/// log10 of each word of a sentence, `</s>` included, with the lengths of the n-grams.
fn scores(model: &Model, sentence: &str) -> Vec<(f32, usize, bool)> {
    let (mut state, mut next) = (model.begin(), State::default());
    let words = sentence.split_whitespace().map(|w| model.index(w));
    let mut out = vec![];
    for word in words.chain([model.sentence_end()]) {
        let score = model.score(&state, word, &mut next);
        out.push((score.log10, score.length, word == w2vc_decode::lm::UNKNOWN));
        std::mem::swap(&mut state, &mut next);
    }
    out
}

#[test]
fn values_are_those_of_kenlm_in_every_type_of_file() {
    let files = json("lm.json");
    let mut worst = 0f64;
    for (file, expected) in files.as_object().unwrap() {
        let model = model(file);
        assert_eq!(model.order() as u64, expected["order"].as_u64().unwrap());
        for query in expected["queries"].as_array().unwrap() {
            let found = scores(&model, text(&query["text"]));
            let words = query["words"].as_array().unwrap();
            assert_eq!(found.len(), words.len());
            for (own, want) in found.iter().zip(words) {
                worst = worst.max((own.0 as f64 - number(&want["log10"])).abs());
                assert_eq!(own.1 as u64, want["ngram"].as_u64().unwrap(), "{file}: {query}");
                assert_eq!(own.2, want["unknown"].as_bool().unwrap());
            }
            let (mut state, mut next, mut total) = (State::default(), State::default(), 0.0);
            for word in text(&query["text"]).split_whitespace() {
                total += model.score(&state, model.index(word), &mut next).log10 as f64;
                std::mem::swap(&mut state, &mut next);
            }
            assert!(
                (total - number(&query["total_without_boundaries"])).abs() < 2e-5,
                "{file}: {query}"
            );
        }
    }
    // The fixtures are rounded to 7 digits.
    assert!(worst < 1e-6, "{worst}");
}

/// n-grams of an ARPA file: log10 P and backoff by words.
fn ngrams(path: &std::path::Path) -> HashMap<Vec<String>, (f32, f32)> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut out = HashMap::new();
    for line in text.lines().filter(|l| l.contains('\t')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let words = fields[1].split(' ').map(String::from).collect();
        let backoff = fields.get(2).map_or(0.0, |b| b.parse().unwrap());
        out.insert(words, (fields[0].parse().unwrap(), backoff));
    }
    out
}

/// The definition: the longest known n-gram that ends in the word, and the backoffs of all longer known contexts.
fn naive(ngrams: &HashMap<Vec<String>, (f32, f32)>, history: &[String], word: &str, order: usize) -> f64 {
    let most = history.len().min(order - 1);
    let mut backoffs = 0.0;
    for length in (0..=most).rev() {
        let context = &history[history.len() - length..];
        let whole = [context, &[word.to_string()]].concat();
        if let Some((prob, _)) = ngrams.get(&whole) {
            return *prob as f64 + backoffs;
        }
        backoffs += ngrams.get(context).map_or(0.0, |n| n.1) as f64;
    }
    panic!("every word of these sentences is a unigram, or <unk> is")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_sentences_are_worth_what_the_definition_says(picks in prop::collection::vec(0usize..170, 1..12), file in 0usize..4) {
        let file = ["lm2.arpa", "lm3.arpa", "lm4.arpa", "char6.arpa"][file];
        let known = ngrams(&at("lm").join(file));
        let own = model(file);
        let mut names: Vec<&String> = known.keys().filter(|k| k.len() == 1).map(|k| &k[0]).collect();
        names.sort();
        names.retain(|n| *n != "<s>");
        let mut history = vec!["<s>".to_string()];
        let (mut state, mut next) = (own.begin(), State::default());
        for pick in picks {
            let word = names[pick % names.len()];
            let got = own.score(&state, own.index(word), &mut next).log10 as f64;
            std::mem::swap(&mut state, &mut next);
            let want = naive(&known, &history, word, own.order());
            prop_assert!((got - want).abs() < 1e-5, "{} after {:?}: {} instead of {}", word, history, got, want);
            history.push(word.clone());
        }
    }
}

#[test]
fn words_are_listed_and_found_again() {
    for file in [
        "lm3.arpa",
        "lm3.probing.bin",
        "lm3.trie.bin",
        "lm3.q8.array.trie.bin",
        "lm3.rest.bin",
    ] {
        let model = model(file);
        let words = model.words().unwrap();
        assert_eq!(words.len(), 168);
        assert_eq!(words[0], "<unk>");
        for (id, word) in words.iter().enumerate() {
            assert_eq!(model.index(word) as usize, id, "{word}");
        }
    }
    assert!(!model("lm2.novocab.trie.bin").has_words());
}

#[test]
fn gzipped_files_and_any_order_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lm.arpa.gz");
    let mut gz = flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
    gz.write_all(&std::fs::read(at("lm/lm3.arpa")).unwrap()).unwrap();
    gz.finish().unwrap();
    let sentence = "THE LITTLE DOCTOR THE ACROSS HIS HARBOUR";
    let zipped = Model::open(&path).unwrap();
    assert_eq!(scores(&zipped, sentence), scores(&model("lm3.arpa"), sentence));

    // Order 9, `\r\n`, tabs between words, comments, no <unk>, n-grams whose ends are not listed.
    let mut arpa = String::from("# made by hand\r\n\r\n\\data\\\r\nngram 1=4\r\n");
    (2..9).for_each(|n| arpa += &format!("ngram {n}=0\r\n"));
    arpa += "ngram 9=1\r\n\r\n\\1-grams:\r\n-1\t<s>\t-0.5\r\n-1\t</s>\r\n-1\ta\t-0.25\r\n-2\tb\r\n";
    (2..9).for_each(|n| arpa += &format!("\r\n\\{n}-grams:\r\n"));
    arpa += "\r\n\\9-grams:\r\n-0.125 b\tb\tb\tb\tb\tb\tb\tb\ta\r\n\r\n\\end\\\r\n";
    let path = dir.path().join("nine.arpa");
    std::fs::write(&path, arpa).unwrap();
    let nine = Model::open(&path).unwrap();
    let found: Vec<f32> = scores(&nine, "b b b b b b b b a a c").iter().map(|s| s.0).collect();
    assert_eq!(
        found,
        [
            -2.5, -2.0, -2.0, -2.0, -2.0, -2.0, -2.0, -2.0, -0.125, -1.25, -100.25, -1.0
        ]
    );

    let path = dir.path().join("one.arpa");
    std::fs::write(
        &path,
        "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-0.5\t</s>\n-0.3\ta\n\n\\end\\\n",
    )
    .unwrap();
    let one = Model::open(&path).unwrap();
    let found: Vec<f32> = scores(&one, "a b").iter().map(|s| s.0).collect();
    assert_eq!(found, [-0.3, -100.0, -0.5]);
}

#[test]
fn faults_are_told_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let head = "\\data\\\nngram 1=2\nngram 2=1\n\n";
    let told = |text: String, part: &str| {
        let path = dir.path().join("lm.arpa");
        std::fs::write(&path, text).unwrap();
        let said = Model::open(&path).err().expect("a fault").to_string();
        assert!(said.contains(part), "{said}");
    };
    let one = "\\1-grams:\n-1\ta\n-1\tb\n\n";
    told("hello\n".into(), "neither an ARPA file nor a KenLM binary");
    told(format!("{head}\\1-grams:\n0.5\ta\n-1\tb\n"), "lm.arpa:6");
    told(format!("{head}\\1-grams:\nnan\ta\n-1\tb\n"), "lm.arpa:6");
    told(format!("{head}\\1-grams:\n-1\ta\tinf\n-1\tb\n"), "lm.arpa:6");
    told(format!("{head}\\1-grams:\n-1\ta\n-1\ta\n"), "given twice");
    told(
        format!("{head}\\1-grams:\n-1\ta\n\n\\2-grams:\n"),
        "1 1-grams end here, and 2 were announced",
    );
    told(
        format!("{head}{one}\\2-grams:\n-1\ta c\n\\end\\\n"),
        "`c` is no unigram",
    );
    told(format!("{head}{one}\\2-grams:\n-1\ta\n\\end\\\n"), "lm.arpa:10");
    told(format!("{head}{one}\\2-grams:\n-1\ta b\n"), "expected `\\end\\` here");
    told("\\data\\\nngram 1=2\nngram 3=1\n".into(), "counted one by one");
}

#[test]
fn shortened_and_damaged_binaries_are_refused_or_read_within_their_bounds() {
    let files = [
        "lm3.probing.bin",
        "lm3.rest.bin",
        "lm3.trie.bin",
        "lm3.q8.trie.bin",
        "lm3.array.trie.bin",
        "lm3.q8.array.trie.bin",
        "lm2.novocab.trie.bin",
    ];
    let query = |model: &Model| {
        let _ = model.words();
        for (score, ..) in scores(model, "THE LITTLE DOCTOR THE ACROSS HIS HARBOUR ZEBRA") {
            assert!(score.is_finite());
        }
    };
    for file in files {
        let bytes = std::fs::read(at("lm").join(file)).unwrap();
        for size in [0, 40, 60, 90, 110, 140, bytes.len() / 2, bytes.len() - 1] {
            let cut = bytes[..size].to_vec();
            let said = Model::from_bytes(cut, file).err().expect("a fault").to_string();
            assert!(said.contains(file), "{said}");
        }
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 400) {
            for mask in [0xff, 0x01, 0x80] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                if let Ok(model) = Model::from_bytes(flipped, file) {
                    query(&model);
                }
            }
        }
    }
}
