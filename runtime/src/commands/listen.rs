//! `listen`: speech to text while it is spoken.

mod recorder;
mod source;

use crate::error::Error;
use crate::interrupt::{Signals, Wish};
use crate::live::{Event, Live, Shape, ShapeFlags};
use crate::log::tell;
use crate::session::Session;
use crate::texts::{OutputFlags, SearchFlags};
use crate::trainer::Transcriber;
use clap::{Args, ValueEnum};
use source::{Coming, Source};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct ListenArgs {
    /// A run or a Hugging Face folder.
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Listen to the microphone, through the recorder that is installed: pw-record, parec, arecord, ffmpeg or sox.
    #[arg(long)]
    pub mic: bool,
    /// Print events as JSON, one a line: `partial` (id, start, end, text), which may change, and `final` (with words).
    #[arg(long)]
    pub json: bool,
    /// How samples of standard input are written; a WAV header in front says it itself.
    #[arg(long, value_name = "FORMAT", default_value = "s16le", conflicts_with = "mic")]
    pub input: Numbers,
    /// Samples a second of standard input.
    #[arg(long, value_name = "N", default_value_t = crate::audio::RATE, conflicts_with = "mic", value_parser = clap::value_parser!(u32).range(1_000..=768_000))]
    pub rate: u32,
    /// Channels of standard input, which are averaged.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "mic", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub channels: u32,
    /// Change a setting of `transcribe`; `info` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub shape: ShapeFlags,
    #[command(flatten)]
    pub search: SearchFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Numbers {
    S16le,
    F32le,
}

type Say<'a> = dyn Fn(&str) -> Result<(), Error> + 'a;

/// How often signals are looked at while nothing comes.
const TICK: Duration = Duration::from_millis(100);
/// Seconds that are heard behind what is said before this is told, and again after as many.
const BEHIND: f64 = 3.0;

/// Listens until the input ends or a signal comes; `say` prints to the standard output.
///
/// # Errors
/// Where weights or input cannot be used.
pub fn run(session: &mut dyn Session, args: &ListenArgs, say: &Say) -> Result<(), Error> {
    let signals = Signals::watch()?;
    let artifact = session.artifact().clone();
    let mut transcriber = Transcriber::new(session, &args.weights, &args.set)?;
    let finder = Arc::new(transcriber.finder(&args.search, &OutputFlags::default())?);
    let hearing = transcriber.hearing();
    let shape = Shape::new(&args.shape, &artifact, hearing.geometry());
    // What depends on weights alone is done before somebody speaks.
    transcriber.logits_of(&[&[0.0; crate::audio::RATE as usize]])?;
    signals.arm()?;
    let mut source = match args.mic {
        true => Source::microphone()?,
        false => Source::stdin(args)?,
    };
    tell(&format!(
        "listening; texts come {:.2} s after what is said, plus the time to compute them",
        shape.delay(hearing.geometry())
    ));
    let mut live = Live::new(hearing, finder, shape);
    let mut shown = Shown {
        say,
        json: args.json,
        screen: std::io::stdout().is_terminal() && !args.json,
        width: 0,
    };
    let begun = Instant::now();
    let mut told = 0.0;
    loop {
        let mut samples = vec![];
        let over = match source.take(&mut samples, TICK)? {
            Coming::More => false,
            Coming::Over => true,
        };
        let stopped = matches!(signals.take(), Some(Wish::End(_)));
        live.push(&samples);
        if over || stopped {
            live.finish();
        }
        let mut logits = |wave: &[f32]| Ok(transcriber.logits_of(&[wave])?.remove(0));
        live.events(&mut logits, &mut |event| shown.show(&event))?;
        if over || stopped {
            return source.end();
        }
        // A file that is piped in comes faster than it was spoken.
        let late = source.waiting();
        if args.mic && late > BEHIND && begun.elapsed().as_secs_f64() - told > 10.0 {
            told = begun.elapsed().as_secs_f64();
            tell(&format!(
                "note: this machine is {late:.0} s behind: give a larger --chunk, a smaller --left, or more --threads"
            ));
        }
    }
}

/// Events as they are printed.
struct Shown<'a> {
    say: &'a Say<'a>,
    json: bool,
    /// Whether the last line can be written anew.
    screen: bool,
    /// Letters of the line that is written anew.
    width: usize,
}

impl Shown<'_> {
    fn show(&mut self, event: &Event) -> Result<(), Error> {
        if self.json {
            let text = serde_json::to_string(event).expect("plain data always serialises");
            return (self.say)(&format!("{text}\n"));
        }
        match event {
            Event::Final { text, .. } if self.screen => {
                self.width = 0;
                (self.say)(&format!("\r\x1b[K{text}\n"))
            }
            Event::Final { text, .. } if text.is_empty() => Ok(()),
            Event::Final { text, .. } => (self.say)(&format!("{text}\n")),
            Event::Partial { text, .. } if self.screen => {
                // What is longer than a line cannot be taken back.
                let letters: Vec<char> = text.chars().collect();
                let last: String = letters[letters.len().saturating_sub(LINE)..].iter().collect();
                self.width = last.chars().count();
                (self.say)(&format!("\r\x1b[K{last}"))
            }
            Event::Partial { .. } => Ok(()),
        }
    }
}

/// Letters of a line on a screen.
const LINE: usize = 79;
