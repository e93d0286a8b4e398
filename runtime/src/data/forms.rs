//! Tests of the forms that others publish their data in: what each of their files holds, in their words.

use super::{Utterance, listing};
use crate::audio::{At, Segment};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with these files; recordings are empty, since nothing here decodes them.
    fn new(files: &[(&str, &str)]) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = place.at(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn list(&self, name: &str) -> Vec<Utterance> {
        listing(&self.at(name)).unwrap_or_else(|e| panic!("{e}")).utterances
    }

    /// Recordings, seen from the folder, with their texts.
    fn texts(&self, name: &str) -> Vec<(String, String)> {
        let relative = |path: &Path| path.strip_prefix(self.0.path()).unwrap().display().to_string();
        let list = self.list(name);
        list.into_iter()
            .map(|u| (relative(&u.path), u.text.unwrap_or("-".into())))
            .collect()
    }

    fn error(&self, name: &str) -> String {
        listing(&self.at(name)).err().expect("it is refused").to_string()
    }
}

fn seconds(start: f64, length: Option<f64>) -> Option<Segment> {
    Some(Segment {
        start: At::Seconds(start),
        length: length.map(At::Seconds),
    })
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn common_voice() {
    let table = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\n\
                 c0ffee\tcommon_voice_en_1.mp3\t\"Well,\" she said.\t2\t0\t\n\
                 c0ffee\tcommon_voice_en_2.mp3\tIt isn't.\t2\t0\ttwenties\n";
    let place = Place::new(&[
        ("cv/train.tsv", table),
        ("cv/clips/common_voice_en_1.mp3", ""),
        ("cv/clips/common_voice_en_2.mp3", ""),
    ]);
    let want = [
        ("cv/clips/common_voice_en_1.mp3", "\"Well,\" she said."),
        ("cv/clips/common_voice_en_2.mp3", "It isn't."),
    ];
    assert_eq!(place.texts("cv/train.tsv"), pairs(&want));
}

#[test]
fn comma_separated_tables() {
    let place = Place::new(&[
        // Mozilla's DeepSpeech.
        (
            "deep.csv",
            "wav_filename,wav_filesize,transcript\nwav/a.wav,1200,\"one, two\"\nwav/b.wav,900,three\n",
        ),
        // A semicolon, capitals, a mark of the byte order, and the lines of another system.
        (
            "other.csv",
            "\u{feff}Text;Path\r\neins;wav/a.wav\r\n\"zwei; drei\";wav/b.wav\r\n",
        ),
        ("alone.csv", "path\nwav/a.wav\nwav/b.wav\n"),
        ("wav/a.wav", ""),
        ("wav/b.wav", ""),
    ]);
    let of = |texts: [&str; 2]| pairs(&[("wav/a.wav", texts[0]), ("wav/b.wav", texts[1])]);
    assert_eq!(place.texts("deep.csv"), of(["one, two", "three"]));
    assert_eq!(place.texts("other.csv"), of(["eins", "zwei; drei"]));
    assert_eq!(place.texts("alone.csv"), of(["-", "-"]));
}

#[test]
fn segments_by_columns() {
    let place = Place::new(&[
        (
            "ends.tsv",
            "start\tend\tpath\ttext\n0.5\t2\tlong.wav\ta\n2\t3.25\tlong.wav\tb\n",
        ),
        (
            "durations.tsv",
            "path\toffset\tduration\ttext\nlong.wav\t1.5\t2\ta\nlong.wav\t\t4\tb\n",
        ),
        ("back.tsv", "path\tstart\tend\nlong.wav\t2\t1\n"),
        ("word.tsv", "path\tstart\tend\nlong.wav\tsoon\t1\n"),
        ("twice.tsv", "path\tstart\tend\nlong.wav:0:100\t0\t1\n"),
        ("long.wav", ""),
    ]);
    let segments = |name: &str| place.list(name).into_iter().map(|u| u.segment).collect::<Vec<_>>();
    assert_eq!(
        segments("ends.tsv"),
        [seconds(0.5, Some(1.5)), seconds(2.0, Some(1.25))]
    );
    // A duration without a beginning is that of the whole recording.
    assert_eq!(segments("durations.tsv"), [seconds(1.5, Some(2.0)), None]);
    for (name, part) in [("back.tsv", "ends at 1"), ("word.tsv", "soon"), ("twice.tsv", "twice")] {
        let error = place.error(name);
        assert!(error.contains(part) && error.contains(&format!("{name}:2")), "{error}");
    }
}

#[test]
fn json_lines_of_nemo_and_of_hugging_face() {
    let place = Place::new(&[
        (
            "nemo.json",
            "{\"audio_filepath\": \"a.wav\", \"duration\": 3.2, \"text\": \"one\"}\n\n\
             {\"audio_filepath\": \"b.wav\", \"offset\": 1.5, \"duration\": 2.0, \"text\": \"two\"}\n",
        ),
        (
            "datasets.jsonl",
            "{\"file_name\": \"a.wav\", \"transcription\": \"one\"}\n",
        ),
        (
            "nested.json",
            "[{\"audio\": {\"path\": \"a.wav\", \"bytes\": null}, \"sentence\": \"one\"}]",
        ),
        (
            "bad.jsonl",
            "{\"audio_filepath\": \"a.wav\"}\n{\"audio_filepath\": \"a.wav\"\n",
        ),
        ("list.jsonl", "[1, 2]\n"),
        ("a.wav", ""),
        ("b.wav", ""),
    ]);
    assert_eq!(place.texts("nemo.json"), pairs(&[("a.wav", "one"), ("b.wav", "two")]));
    let segments: Vec<_> = place.list("nemo.json").into_iter().map(|u| u.segment).collect();
    assert_eq!(segments, [None, seconds(1.5, Some(2.0))]);
    assert_eq!(place.texts("datasets.jsonl"), pairs(&[("a.wav", "one")]));
    assert_eq!(place.texts("nested.json"), pairs(&[("a.wav", "one")]));
    assert!(place.error("bad.jsonl").contains("bad.jsonl:2"));
    assert!(place.error("list.jsonl").contains("no JSON object"));
}

#[test]
fn timit() {
    let place = Place::new(&[
        ("TRAIN/DR1/FCJF0/SA1.WAV", ""),
        ("TRAIN/DR1/FCJF0/SA1.WRD", "3050 5723 she\n5723 10337 had\n"),
        ("TRAIN/DR1/FCJF0/SA1.PHN", "0 3050 h#\n3050 4559 sh\n"),
        ("TRAIN/DR1/FCJF0/SA1.TXT", "0 63488 She had.\n"),
        ("phones/SA2.wav", ""),
        ("phones/SA2.phn", "0 3050 h#\n3050 4559 sh\n4559 5723 ix\n"),
        ("odd/SA3.wav", ""),
        ("odd/SA3.wrd", "3050 she\n"),
    ]);
    assert_eq!(place.texts("TRAIN"), pairs(&[("TRAIN/DR1/FCJF0/SA1.WAV", "she had")]));
    assert_eq!(place.texts("phones"), pairs(&[("phones/SA2.wav", "h# sh ix")]));
    assert!(place.error("odd").contains("SA3.wrd:1"));
}

#[test]
fn librispeech() {
    let place = Place::new(&[
        ("dev/84/121123/84-121123-0000.flac", ""),
        ("dev/84/121123/84-121123-0001.flac", ""),
        (
            "dev/84/121123/84-121123.trans.txt",
            "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n",
        ),
    ]);
    let want = [
        ("dev/84/121123/84-121123-0000.flac", "GO DO YOU HEAR"),
        ("dev/84/121123/84-121123-0001.flac", "BUT IN LESS"),
    ];
    assert_eq!(place.texts("dev"), pairs(&want));
}

/// Links to folders and files are followed, and links in a circle end.
#[test]
fn linked_folders() {
    let place = Place::new(&[("store/a.wav", ""), ("store/deep/b.wav", ""), ("data/c.wav", "")]);
    symlink(place.at("store"), place.at("data/linked")).unwrap();
    symlink(place.at("store/a.wav"), place.at("data/one.wav")).unwrap();
    symlink(place.at("data"), place.at("data/circle")).unwrap();
    symlink("nowhere", place.at("data/broken")).unwrap();
    let names: Vec<String> = place.texts("data").into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "data/c.wav",
            "data/one.wav",
            "data/linked/a.wav",
            "data/linked/deep/b.wav"
        ]
    );
    symlink(place.at("data"), place.at("root")).unwrap();
    assert_eq!(place.list("root").len(), 4);
}

#[test]
fn several_data_sets_are_one() {
    let wav = |place: &Place, name: &str, samples: u32| {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut w = hound::WavWriter::create(place.at(name), spec).unwrap();
        (0..samples).for_each(|i| w.write_sample((i % 99) as i16).unwrap());
        w.finalize().unwrap();
    };
    let place = Place::new(&[("one/notes.xyz", ""), ("two/t.tsv", "b.wav\ttwo\n"), ("two/x.xyz", "")]);
    wav(&place, "one/a.wav", 800);
    wav(&place, "two/b.wav", 900);
    let opened = super::Corpus::open(&[place.at("one"), place.at("two/t.tsv"), place.at("two")]).unwrap();
    let names: Vec<_> = opened
        .corpus
        .utterances
        .iter()
        .map(|u| u.path.file_name().unwrap())
        .collect();
    assert_eq!(names, ["a.wav", "b.wav", "b.wav"]);
    assert_eq!(opened.corpus.lengths, [800, 900, 900]);
    assert_eq!(opened.corpus.utterances[1].text.as_deref(), Some("two"));
    // What was passed over is counted over all, and a recording that comes again is told.
    assert!(opened.notes.iter().any(|n| n.contains("2 .xyz")), "{:?}", opened.notes);
    assert!(opened.notes.iter().any(|n| n.contains("b.wav")), "{:?}", opened.notes);
}
