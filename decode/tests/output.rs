//! Formats are read back, and give what was written.

use proptest::prelude::*;
use w2vc_decode::output::{Detail, Format, Layout, Letter, Transcript, Word, cues, file};

fn transcript() -> impl Strategy<Value = Transcript> {
    // Words of frames: a gap before, and per letter how long it is.
    let word = (
        0u32..90,
        prop::collection::vec((0usize..12, 1u32..4), 1..9),
        0.0f64..1.0,
    );
    prop::collection::vec(word, 0..40).prop_map(|words| {
        let letters = ["A", "B", "É", "\"", "&", "<", ">", "'", "Q", "Z", "字", "-"];
        let (mut frame, mut out) = (0, vec![]);
        for (gap, spelled, confidence) in words {
            frame += gap;
            let own: Vec<Letter> = spelled
                .iter()
                .map(|(letter, frames)| {
                    let start = frame;
                    frame += frames;
                    Letter {
                        text: letters[*letter].into(),
                        start: start as f64 * 0.02,
                        end: frame as f64 * 0.02,
                        confidence,
                    }
                })
                .collect();
            out.push(Word {
                text: own.iter().map(|l| l.text.as_str()).collect(),
                start: own[0].start,
                end: frame as f64 * 0.02,
                confidence,
                letters: own,
            });
        }
        let text: Vec<&str> = out.iter().map(|w| w.text.as_str()).collect();
        Transcript {
            name: "a folder/clip 1.wav".into(),
            duration: frame as f64 * 0.02 + 0.031,
            text: text.join(" "),
            gap: " ".into(),
            breaks: vec![3, 4],
            words: out,
            alternatives: vec![],
        }
    })
}

/// Start, end, text of subtitle blocks.
fn blocks(text: &str) -> Vec<(f64, f64, String)> {
    let clock = |s: &str| {
        let parts: Vec<f64> = s.replace(',', ".").split(':').map(|p| p.parse().unwrap()).collect();
        parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
    };
    let blocks = text.split("\n\n").filter(|b| b.contains(" --> "));
    blocks
        .map(|b| {
            let lines: Vec<&str> = b.lines().collect();
            let at = lines.iter().position(|l| l.contains(" --> ")).unwrap();
            let (start, end) = lines[at].split_once(" --> ").unwrap();
            (clock(start), clock(end), lines[at + 1..].join("\n"))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn all_formats_read_back(t in transcript(), max_line in 5usize..50, max_lines in 1usize..4) {
        let layout = Layout { max_line, max_lines };
        let made = cues(&t, &layout);
        let words: Vec<usize> = made.iter().flat_map(|c| c.words.clone()).collect();
        prop_assert_eq!(words, (0..t.words.len()).collect::<Vec<_>>());
        for (i, cue) in made.iter().enumerate() {
            prop_assert!(cue.end > cue.start && cue.lines.len() <= max_lines);
            prop_assert!(!cue.words.clone().skip(1).any(|w| t.breaks.contains(&w)));
            prop_assert!(made.get(i + 1).is_none_or(|next| next.start >= cue.end));
            prop_assert!(cue.lines.iter().all(|l| l.chars().count() <= max_line || !l.contains(' ')));
        }

        for (format, escaped) in [(Format::Srt, false), (Format::Vtt, true)] {
            let text = file(&t, format, Detail::Segment, &layout);
            prop_assert!(!escaped || text.starts_with("WEBVTT\n\n"));
            let read = blocks(&text);
            prop_assert_eq!(read.len(), made.len());
            for ((start, end, said), cue) in read.iter().zip(&made) {
                prop_assert!((start - cue.start).abs() < 6e-4 && (end - cue.end).abs() < 6e-4);
                let said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
                prop_assert_eq!(said, cue.lines.join("\n"));
            }
        }
        for (detail, count) in [(Detail::Word, t.words.len()), (Detail::Char, t.words.iter().map(|w| w.letters.len()).sum())] {
            prop_assert_eq!(blocks(&file(&t, Format::Srt, detail, &layout)).len(), count);
            let table = file(&t, Format::Tsv, detail, &layout);
            prop_assert_eq!(table.lines().count(), count + 1);
            let starts: Vec<f64> = table.lines().skip(1).map(|l| l.split('\t').nth(1).unwrap().parse().unwrap()).collect();
            prop_assert!(starts.is_sorted());
        }

        let ctm = file(&t, Format::Ctm, Detail::Word, &layout);
        for (line, word) in ctm.lines().zip(&t.words) {
            let fields: Vec<&str> = line.split(' ').collect();
            prop_assert_eq!(fields.len(), 6);
            prop_assert_eq!((fields[0], fields[1], fields[4]), ("clip_1", "1", word.text.as_str()));
            let end: f64 = fields[2].parse::<f64>().unwrap() + fields[3].parse::<f64>().unwrap();
            prop_assert!((end - word.end).abs() < 2e-3);
        }
        prop_assert_eq!(ctm.lines().count(), t.words.len());

        for format in [Format::Json, Format::JsonLines] {
            let text = file(&t, format, Detail::Char, &layout);
            prop_assert!(format == Format::Json || text.lines().count() == 1);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read["text"].as_str().unwrap(), &t.text);
            let segments = read["segments"].as_array().unwrap();
            let words: Vec<&serde_json::Value> = segments.iter().flat_map(|s| s["words"].as_array().unwrap()).collect();
            prop_assert_eq!(words.len(), t.words.len());
            for (read, word) in words.iter().zip(&t.words) {
                prop_assert_eq!(read["text"].as_str().unwrap(), &word.text);
                prop_assert_eq!(read["letters"].as_array().unwrap().len(), word.letters.len());
            }
        }

        let grid = file(&t, Format::TextGrid, Detail::Word, &layout);
        let tier = grid.split("item [2]:").nth(1).unwrap();
        let values = |key: &str| -> Vec<String> {
            let lines = tier.lines().filter_map(|l| l.strip_prefix("            ")?.strip_prefix(key)?.strip_prefix(" = "));
            lines.map(String::from).collect()
        };
        let (from, to, texts) = (values("xmin"), values("xmax"), values("text"));
        prop_assert_eq!(&from[0], "0.000");
        prop_assert_eq!(&from[1..], &to[..to.len() - 1]);
        prop_assert!((to[to.len() - 1].parse::<f64>().unwrap() - t.duration).abs() < 1e-3);
        let said: Vec<String> = texts
            .iter()
            .map(|t| t[1..t.len() - 1].replace("\"\"", "\""))
            .filter(|t| !t.is_empty())
            .collect();
        let words: Vec<String> = t.words.iter().map(|w| w.text.clone()).collect();
        prop_assert_eq!(said, words);

        let lrc = file(&t, Format::Lrc, Detail::Segment, &layout);
        prop_assert_eq!(lrc.lines().count(), made.len());
        for (line, cue) in lrc.lines().zip(&made) {
            let (time, said) = line[1..].split_once(']').unwrap();
            let (minutes, seconds) = time.split_once(':').unwrap();
            let start = minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap();
            prop_assert!((start - cue.start).abs() < 6e-3);
            prop_assert_eq!(said, cue.lines.join(" "));
        }
    }
}
