//! Texts in many scripts, there and back.

use super::*;
use proptest::prelude::*;

fn of_letters(letters: &str) -> Vocab {
    let first = ["<pad>", "<s>", "</s>", "<unk>", "|"].map(String::from);
    Vocab::new(first.into_iter().chain(letters.chars().map(String::from)).collect())
}

fn of_tokens(tokens: &[&str]) -> Vocab {
    Vocab::new(tokens.iter().map(|t| t.to_string()).collect())
}

/// A path that spells these labels, each for `repeats` frames, with blanks only where CTC needs them.
fn path(vocab: &Vocab, labels: &[i32], repeats: usize) -> Vec<usize> {
    let mut path = vec![];
    for (i, l) in labels.iter().enumerate() {
        if i > 0 && labels[i - 1] == *l {
            path.push(vocab.blank());
        }
        path.extend(std::iter::repeat_n(*l as usize, repeats));
    }
    path
}

fn there_and_back(vocab: &Vocab, text: &str) -> String {
    let labels = vocab
        .encode(text)
        .unwrap_or_else(|c| panic!("`{c}` of {text:?} has no token"));
    vocab.decode(&path(vocab, &labels, 2))
}

/// Any character, the awkward ones often.
fn letters() -> impl Strategy<Value = String> {
    let awkward = "aEßẞİIıiΣσςéé́ñꙮᄀ가각ㅋ한ᆨ\u{307}\u{301}\u{323}\u{200b}\u{200c}\u{200d}\u{feff}'\u{2019}\u{2018}`´\u{2bb}-–—/…।،。¿¡«»ー·\
                   ँंी्קָْـ٠7½$€%=≠ \u{a0}|ǅŉΐﬁᲐაԱև🙂\u{fe0f}①ªʰ͡";
    let list: Vec<char> = awkward.chars().collect();
    let one = prop_oneof![4 => prop::sample::select(list), 1 => any::<char>()];
    prop::collection::vec(one, 0..24).prop_map(|v| v.into_iter().collect())
}

fn rules() -> impl Strategy<Value = Rules> {
    let units = prop::sample::select(vec![Units::Letters, Units::Jamo, Units::Tokens]);
    (any::<bool>(), any::<bool>(), any::<bool>(), units).prop_map(|(nfc, fold_case, keep_punctuation, units)| Rules {
        nfc,
        fold_case,
        keep_punctuation,
        units,
    })
}

proptest! {
    #[test]
    fn a_path_that_spells_a_text_decodes_to_it(text in "[A-Z']{1,6}( [A-Z']{1,6}){0,4}", repeats in 1usize..4) {
        let vocab = Vocab::default();
        let labels = vocab.encode(&text).unwrap();
        let path = path(&vocab, &labels, repeats);
        prop_assert_eq!(vocab.decode(&path), text);
        if repeats == 1 {
            prop_assert_eq!(path.len(), frames_needed(&labels));
        }
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in letters(), known in letters(), rules in rules()) {
        let vocab = of_letters(&known.replace(['|', ' ', '\u{a0}'], "")).with_rules(rules);
        let once = vocab.normalize(&text);
        prop_assert_eq!(vocab.normalize(&once), once);
    }

    #[test]
    fn what_can_be_encoded_decodes_to_its_normal_form(text in letters(), known in letters(), rules in rules()) {
        let vocab = of_letters(&known.replace(['|', ' ', '\u{a0}'], "")).with_rules(rules);
        if let Ok(labels) = vocab.encode(&text) {
            prop_assert_eq!(vocab.decode(&path(&vocab, &labels, 1)), vocab.normalize(&text));
        }
    }

    #[test]
    fn a_made_vocabulary_covers_its_texts(texts in prop::collection::vec(letters(), 1..5), rules in rules()) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vocab = make(&texts, rules, None);
        let coverage = vocab.coverage(texts.iter().copied());
        prop_assert!(coverage.lacking.is_empty(), "{:?} of {:?} by {:?}", coverage.lacking, texts, vocab.tokens);
        for text in &texts {
            let labels = vocab.encode(text).unwrap();
            prop_assert_eq!(vocab.decode(&path(&vocab, &labels, 1)), vocab.normalize(text));
        }
        // No token is there for nothing.
        let first = if rules.units == Units::Tokens { 4 } else { 5 };
        for id in first..vocab.len() {
            let token = vocab.token(id).unwrap();
            // Quotation marks may be apostrophes or themselves.
            prop_assert!(token == "|" || token == "'" || coverage.found.contains_key(token), "{token:?}");
        }
    }

    #[test]
    fn words_of_tokens_are_found_whatever_their_order(picked in prop::collection::vec(0usize..6, 1..8)) {
        let tokens = ["A", "AB", "BC", "C", "CAB", "B"];
        let mut all = vec!["<pad>", "|"];
        all.extend(tokens);
        let vocab = of_tokens(&all);
        let word: String = picked.iter().map(|i| tokens[*i]).collect();
        prop_assert_eq!(there_and_back(&vocab, &word), word);
    }

    #[test]
    fn the_order_of_the_blank_changes_no_text(text in "[a-e ]{0,12}", blank in 0usize..7) {
        let mut tokens = vec!["a", "b", "c", "d", "e", "|"];
        tokens.insert(blank, "[PAD]");
        let vocab = of_tokens(&tokens);
        let (first, order) = vocab.blank_first();
        prop_assert_eq!((vocab.blank(), first.blank(), order[0]), (blank, 0, blank));
        let old: Vec<i32> = first.encode(&text).unwrap().iter().map(|l| order[*l as usize] as i32).collect();
        prop_assert_eq!(old, vocab.encode(&text).unwrap());
        prop_assert_eq!(there_and_back(&first, &text), there_and_back(&vocab, &text));
    }
}

#[test]
fn english_is_normalised_and_strangers_are_named() {
    let vocab = Vocab::default();
    assert_eq!(
        vocab.normalize("  it\u{2019}s well-known,\tisn't it?"),
        "IT'S WELL KNOWN ISN'T IT"
    );
    assert_eq!(vocab.encode("take 7"), Err("7".into()));
    assert_eq!(vocab.encode("A B"), Ok(vec![7, 4, 24, 4]));
    assert_eq!(vocab.normalize("“Rock ’n’ roll”, `so` x‘y"), "ROCK 'N' ROLL SO X'Y");
    assert_eq!(
        vocab.normalize("don\u{2bc}t zero\u{200b}width\u{feff}"),
        "DON'T ZEROWIDTH"
    );
}

/// Vocabulary, text, what is made of it.
const SCRIPTS: &[(&str, &str, &str)] = &[
    // The same syllables, composed and not.
    ("영일이", "영 일이", "영 일이"),
    ("영일이", "\u{110b}\u{1167}\u{11bc} \u{110b}\u{1175}\u{11af}", "영 일"),
    // Danda, Arabic comma and question mark, full stops of Chinese and Japanese, Spanish marks, Armenian and Greek ones.
    ("आठएक", "आठ एक।", "आठ एक"),
    ("مرحباكيف", "مرحبا، كيف؟", "مرحبا كيف"),
    ("你好世界", "你好，世界。", "你好世界"),
    ("quépaso", "¿Qué paso?", "qué paso"),
    ("բարև", "Բարև։", "բարև"),
    ("γειάσου", "Γειά σου·", "γειά σου"),
    // Case by whichever one the vocabulary has.
    ("восемь", "ВОСЕМЬ Восемь", "восемь восемь"),
    ("ВОСЕМЬ", "восемь", "ВОСЕМЬ"),
    ("σοφός", "ΣΟΦΌΣ", "σοφός"),
    ("აბგ", "ᲐᲑᲒ", "აბგ"),
    ("ıiIİ", "I İ", "I İ"),
    ("izmrğıd", "İZMİR IĞDIR", "izmir ığdır"),
    ("straße", "STRASSE Straße", "strasse straße"),
    ("STRAE", "Straße", "STRASSE"),
    ("Aaft", "Aft", "Aft"),
    // Marks with and without a letter composed of both.
    ("ẹ\u{301}", "e\u{301}\u{323}", "ẹ\u{301}"),
    ("e\u{301}", "É é", "é é"),
    ("क\u{93c}", "\u{958}", "क\u{93c}"),
    // Persian spelling keeps its joiner where there is a token for it.
    ("میروم\u{200c}", "می\u{200c}روم", "می\u{200c}روم"),
    ("میروم", "می\u{200c}روم", "میروم"),
    // Vowel signs that most texts leave out.
    ("كتب", "كَتَبَ ــ", "كتب"),
    ("שלום", "שָׁלוֹם", "שלום"),
    // Punctuation that is in the vocabulary stays.
    ("ab,?", "a, b?!", "a, b?"),
    ("a-b", "a-b", "a-b"),
];

#[test]
fn scripts_are_normalised_and_written_back() {
    for (letters, text, want) in SCRIPTS {
        let vocab = of_letters(letters);
        assert_eq!(vocab.normalize(text), *want, "{text} by {letters}");
        assert_eq!(there_and_back(&vocab, text), *want, "{text} by {letters}");
    }
}

#[test]
fn rules_turn_normalisation_off() {
    let off = |change: &dyn Fn(&mut Rules)| {
        let mut rules = Rules::default();
        change(&mut rules);
        rules
    };
    let vocab = of_letters("é").with_rules(off(&|r| r.nfc = false));
    assert_eq!(vocab.encode("e\u{301}"), Err("e".into()));
    let vocab = of_letters("ab").with_rules(off(&|r| r.fold_case = false));
    assert_eq!(vocab.encode("aB"), Err("B".into()));
    let vocab = of_letters("ab").with_rules(off(&|r| r.keep_punctuation = true));
    assert_eq!(vocab.encode("a,b"), Err(",".into()));
}

#[test]
fn phonemes_are_tokens() {
    let phones = of_tokens(&["<pad>", "<unk>", "TH", "R", "IY", "T", "H"]);
    assert_eq!(phones.encode("TH R IY"), Ok(vec![2, 3, 4]));
    // Without spaces the longest match.
    assert_eq!(phones.encode("THRIY"), Ok(vec![2, 3, 4]));
    assert_eq!(phones.encode("th r iy |"), Ok(vec![2, 3, 4]));
    assert_eq!(phones.normalize("THR  IY"), "TH R IY");
    assert_eq!(phones.encode("TH AA"), Err("A".into()));
    assert_eq!(there_and_back(&phones, "TH R R IY"), "TH R R IY");
    // Where `|` ends words, spaces separate them, unless the text itself has it.
    let words = of_tokens(&["<pad>", "|", "TH", "R", "IY", "T", "H"]);
    assert_eq!(words.encode("THRIY TH"), Ok(vec![2, 3, 4, 1, 2, 1]));
    assert_eq!(words.encode("TH R IY | T H |"), Ok(vec![2, 3, 4, 1, 5, 6, 1]));
    assert_eq!(words.normalize("TH R IY | T H |"), "THRIY TH");
    let tokens = make(
        &["sil ʃ aɪ | n |", "ʃ sil"],
        Rules {
            units: Units::Tokens,
            ..Rules::default()
        },
        None,
    );
    assert_eq!(tokens.tokens[4..], ["|", "sil", "ʃ", "aɪ", "n"]);
    assert_eq!(there_and_back(&tokens, "sil ʃ | n"), "sil ʃ | n");
    // What is not said is no token.
    let rules = Rules {
        units: Units::Tokens,
        ..Rules::default()
    };
    let tokens = make(&["sil <noise> ʃ [laugh]"], rules, None);
    assert_eq!(tokens.tokens[4..], ["sil", "ʃ"]);
    assert_eq!(there_and_back(&tokens, "sil <noise> ʃ [laugh]"), "sil ʃ");
}

#[test]
fn korean_is_spelled_by_jamo_and_composed() {
    let rules = Rules {
        units: Units::Jamo,
        ..Rules::default()
    };
    let vocab = make(&["한글 공부ㅋㅋ", "값"], rules, None);
    assert!(
        vocab
            .tokens
            .iter()
            .all(|t| t.chars().all(|c| !super::letters::is_syllable(c)))
    );
    assert_eq!(there_and_back(&vocab, "공부 한글"), "공부 한글");
    assert_eq!(vocab.normalize("ㅋㅋ"), "\u{110f}\u{110f}");
    // Syllables that the texts did not have, of the same letters.
    assert_eq!(there_and_back(&vocab, "항글 곤"), "항글 곤");
}

#[test]
fn a_vocabulary_is_made_in_a_fixed_order() {
    let made = |texts: &[&str], change: &dyn Fn(&mut Rules)| {
        let mut rules = Rules::default();
        change(&mut rules);
        make(texts, rules, None).tokens[5..].concat()
    };
    let plain = &|_: &mut Rules| {};
    assert_eq!(
        make(&["b a", "b"], Rules::default(), None).tokens[..5],
        ["<pad>", "<s>", "</s>", "<unk>", "|"]
    );
    assert_eq!(made(&["cab b", "b"], plain), "bac");
    assert_eq!(made(&["Eight. It’s “7”!"], plain), "it'7eghs");
    assert_eq!(made(&["EIGHT"], plain), "EGHIT");
    assert_eq!(made(&["Ab"], &|r| r.fold_case = false), "Ab");
    assert_eq!(made(&["a, b!"], &|r| r.keep_punctuation = true), "!,ab");
    assert_eq!(made(&["می\u{200c}روم\u{200c}"], plain), "مروی\u{200c}");
    let upper = make(&["Eight"], Rules::default(), Some(&Vocab::default()));
    assert_eq!(upper.tokens[5..].concat(), "EGHIT");
}

#[test]
fn what_is_lacking_and_what_is_dropped_is_counted() {
    let vocab = of_letters("abc");
    let coverage = vocab.coverage(["a7, 77b", "cab!", "é 7"]);
    assert_eq!((coverage.texts, coverage.affected), (3, 2));
    assert_eq!(coverage.describe_lacking(), "`7` (4), `é` (1)");
    assert_eq!(coverage.describe_dropped(), "`!` (1), `,` (1)");
    assert_eq!(coverage.found["c"], 1);
}

#[test]
fn numbers_without_a_token_write_nothing() {
    let vocab = of_tokens(&["<pad>", "", "a", "|"]);
    assert_eq!(vocab.decode(&[1, 2, 9, 3, 3, 0, 3, 2]), "a a");
    assert_eq!(vocab.encode("a"), Ok(vec![2, 3]));
    assert!(!vocab.to_json().contains("\"\""));
}

#[test]
fn a_fifo_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("vocab.json");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name is a string that ends with 0 and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let said = Vocab::read(&fifo).unwrap_err().to_string();
    assert!(said.contains("FIFO") && said.contains("vocab.json"), "{said}");
}
