//! Flags of commands that write texts.

use clap::{Args, ValueEnum};
use decode::output::{Detail, Format, Layout};
use decode::search::Options;
use std::path::PathBuf;

/// How far below the best beginnings of known words are kept, as flashlight keeps them.
const CLOSED_PRUNE: f64 = 50.0;

/// Search options.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Search")]
pub struct SearchFlags {
    /// Word or letter language model: an ARPA file, also gzipped, or a KenLM binary of any type.
    #[arg(long, value_name = "FILE")]
    pub lm: Option<PathBuf>,
    /// Weight of the language model [default: 0.5]. It is the lm_weight of torchaudio and fairseq divided by 2.303.
    #[arg(long, value_name = "W", value_parser = finite)]
    pub lm_weight: Option<f64>,
    /// Added for every word (natural logarithm) [default: 1.5 with a language model, else 0].
    #[arg(long, value_name = "S", value_parser = finite, allow_hyphen_values = true)]
    pub word_score: Option<f64>,
    /// Score (log10) of a word that the language model or lexicon lacks; `-inf` forbids it [default: -10, -inf with --lexicon].
    #[arg(long, value_name = "S", value_parser = penalty, allow_hyphen_values = true)]
    pub unk_score: Option<f64>,
    /// Beam size: prefixes kept per frame [default: 100]. Without this and the other search options, decoding is greedy: each frame's
    /// best letter.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub beam: Option<u32>,
    /// Drop prefixes this much less likely than the best (natural logarithm) [default: 10; 50 with only known
    /// words].
    #[arg(long, value_name = "D", value_parser = positive)]
    pub beam_prune: Option<f64>,
    /// Ignore letters this unlikely in a frame (natural logarithm) [default: 5; with only known words none
    /// are ignored].
    #[arg(long, value_name = "D", value_parser = positive)]
    pub token_prune: Option<f64>,
    /// The only words of the output: `WORD<TAB>S P E L L I N G |` lines, or one word per line.
    #[arg(long, value_name = "FILE")]
    pub lexicon: Option<PathBuf>,
    /// Expected words and phrases: a file of `PHRASE[<TAB>weight]` lines, or a list "a,b".
    #[arg(long, value_name = "FILE|LIST")]
    pub hotwords: Option<String>,
    /// Bonus for each occurrence of a hotword (natural logarithm).
    #[arg(long, value_name = "W", default_value_t = 10.0, value_parser = finite, allow_hyphen_values = true)]
    pub hotword_weight: f64,
    /// Number of texts per recording, best first.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub nbest: u32,
}

impl SearchFlags {
    /// Whether more is asked for than each frame's best letter.
    pub fn is_search(&self) -> bool {
        self.lm.is_some() || self.lexicon.is_some() || self.hotwords.is_some() || self.beam.is_some() || self.nbest > 1
    }

    pub fn options(&self) -> Options {
        let usual = Options::default();
        let with_model = |value: f64| if self.lm.is_some() { value } else { 0.0 };
        let unknown = match self.lexicon {
            Some(_) => f64::NEG_INFINITY,
            None => usual.unk_score,
        };
        let unk_score = self.unk_score.unwrap_or(unknown);
        // A word that must be spelled to its end may need letters that are hardly heard; few words are worth looking at then.
        let (beam_prune, token_prune) = match unk_score == f64::NEG_INFINITY {
            true => (CLOSED_PRUNE, f64::INFINITY),
            false => (usual.beam_prune, usual.token_prune),
        };
        Options {
            lm_weight: self.lm_weight.unwrap_or(usual.lm_weight),
            word_score: self.word_score.unwrap_or(with_model(usual.word_score)),
            unk_score,
            beam: self.beam.map_or(usual.beam, |b| b as usize),
            beam_prune: self.beam_prune.unwrap_or(beam_prune),
            token_prune: self.token_prune.unwrap_or(token_prune),
            nbest: self.nbest as usize,
            ..usual
        }
    }
}

/// Output options.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputFlags {
    /// Also print times and confidences of words or letters.
    #[arg(long, value_name = "word|char")]
    pub timestamps: Option<Of>,
    /// Output format [default: text, with --timestamps tsv].
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Form>,
    /// Write one file per recording, named after it, to this folder instead of standard output.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Maximum letters per line of subtitles.
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_line: u32,
    /// Maximum lines per subtitle.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_lines: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Of {
    Word,
    Char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// `path<TAB>text` lines.
    Text,
    /// Recording, start, end, text, confidence.
    Tsv,
    /// Segments with their words, confidences, alternatives.
    Json,
    /// The same, one object per line.
    Jsonl,
    /// Subtitles (SubRip).
    Srt,
    /// Subtitles (WebVTT).
    Vtt,
    /// Words with times for NIST's sclite and Kaldi.
    Ctm,
    /// Tiers for Praat.
    Textgrid,
    /// Lyrics.
    Lrc,
}

impl OutputFlags {
    pub fn detail(&self) -> Detail {
        match self.timestamps {
            None => Detail::Segment,
            Some(Of::Word) => Detail::Word,
            Some(Of::Char) => Detail::Char,
        }
    }

    pub fn format(&self) -> Format {
        let usual = if self.timestamps.is_some() {
            Form::Tsv
        } else {
            Form::Text
        };
        match self.format.unwrap_or(usual) {
            Form::Text => Format::Text,
            Form::Tsv => Format::Tsv,
            Form::Json => Format::Json,
            Form::Jsonl => Format::JsonLines,
            Form::Srt => Format::Srt,
            Form::Vtt => Format::Vtt,
            Form::Ctm => Format::Ctm,
            Form::Textgrid => Format::TextGrid,
            Form::Lrc => Format::Lrc,
        }
    }

    pub fn layout(&self) -> Layout {
        Layout {
            max_line: self.max_line as usize,
            max_lines: self.max_lines as usize,
        }
    }

    /// Whether times of words are needed.
    pub fn needs_times(&self) -> bool {
        self.format() != Format::Text
    }
}

fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
    number.ok_or_else(|| "give a number".into())
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| *n > 0.0);
    number.ok_or_else(|| "give a number above 0".into())
}

fn penalty(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| *n <= 0.0);
    number.ok_or_else(|| "give a number of at most 0, or -inf".into())
}
