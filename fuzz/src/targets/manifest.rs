//! Manifests, tables and lists of recordings.

use super::Target;
use crate::input::Input;
use runtime::data::listing;
use std::path::Path;

pub const TARGET: Target = Target {
    name: "manifest",
    seeds,
    words: &[
        "\t",
        "\n",
        "\r\n",
        "\"",
        ",",
        ";",
        "\u{feff}",
        "path\ttext\n",
        "audio_filepath",
        "duration",
        ":0:16000",
        ":-1:5",
        ":9223372036854775807:1",
        "{\"audio_filepath\": \"a.wav\", \"offset\": 1e300, \"duration\": -1}",
        "..",
        "/",
        "é",
        "\0",
    ],
    run,
};

fn seeds() -> Vec<Input> {
    let files = [
        ("data.tsv", "a.wav\tONE TWO\nb/c.flac\tTHREE\n"),
        ("data.tsv", "/data/clips\na.wav\t16000\nb.wav\t32000\n"),
        (
            "data.tsv",
            "client_id\tpath\tsentence\nx\tclip.mp3\tHello there\ny\tclip2.mp3\tAgain\n",
        ),
        (
            "data.csv",
            "wav_filename,wav_filesize,transcript\na.wav,100,\"one, two\"\nb.wav,200,three\n",
        ),
        (
            "data.jsonl",
            "{\"audio_filepath\": \"a.wav\", \"text\": \"one\", \"offset\": 0.5, \"duration\": 1.5}\n{\"audio_filepath\": \"b.wav\", \"text\": \"two\"}\n",
        ),
        ("data.json", "[{\"path\": \"a.wav\", \"text\": \"one\"}]"),
        ("data.txt", "a.wav\nb.wav:16000:32000\n"),
    ];
    files
        .iter()
        .map(|(name, text)| Input {
            files: vec![
                (name.to_string(), text.as_bytes().to_vec()),
                ("data.ltr".into(), b"O N E | T W O |\nT H R E E |\n".to_vec()),
            ],
        })
        .collect()
}

fn run(input: &Input, folder: &Path) -> bool {
    let Ok(path) = input.write(folder) else { return false };
    match listing(&path) {
        Ok(found) => !found.utterances.is_empty(),
        Err(e) => {
            let _ = e.to_string();
            false
        }
    }
}
