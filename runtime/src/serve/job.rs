//! A recording on its way to a transcript, on a thread of its own.

use super::Service;
use super::fault::Fault;
use crate::audio::{GivenUp, Reader};
use crate::data::Utterance;
use crate::error::Error;
use crate::texts::Frames;
use crate::trainer::{Part, With};
use decode::output::Transcript;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that nobody waits any more once it is dropped.
#[derive(Default)]
pub(super) struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// Whether nobody waits any more, or all is given up as the server ends.
    pub fn given_up(&self, service: &Arc<Service>) -> GivenUp {
        let (dropped, service) = (self.0.clone(), service.clone());
        Arc::new(move || dropped.load(Ordering::Relaxed) || service.stopped.load(Ordering::Relaxed))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Transcribes a file that its sender calls `name`. `tell` gets the text so far after each window.
pub(super) fn transcribe(
    service: &Service,
    (path, name): (&Path, &str),
    times: bool,
    given_up: &GivenUp,
    tell: &mut dyn FnMut(&str),
) -> Result<Transcript, Fault> {
    let fault = |e: Error| match service.stopped.load(Ordering::Relaxed) {
        true => Fault::stopping(),
        false => Fault::of(&e, &path.display().to_string(), name),
    };
    let nobody = || Error::Usage("nobody waits for it any more".into());
    let utterance = Utterance {
        path: path.into(),
        ..Utterance::default()
    };
    let mut reader = Reader::until(given_up.clone());
    let sound = service.hearing.read(&mut reader, &utterance).map_err(fault)?;
    let searched = service.finder.needs_logits();
    let several = !sound.is_short();
    // Before anything is computed; it is given back when the text is there.
    let _kept = match searched || times {
        true => {
            let frames = service.hearing.geometry().frames(sound.samples());
            Some(service.room.keep(frames, service.hearing.vocab().len())?)
        }
        false => None,
    };
    let with = With {
        reader: &mut reader,
        keep: searched || times,
        logits: &mut |wave| match given_up() {
            true => Err(nobody()),
            false => service.ear.logits(wave.to_vec()),
        },
        after: &mut |part: &Part| {
            // With a language model the text is found when all has been heard.
            if several && !searched {
                tell(&part.text());
            }
            Ok(())
        },
    };
    let heard = service.hearing.hear(&utterance, sound, with);
    let heard = heard.map_err(fault)?;
    if !searched && !times {
        return Ok(Transcript {
            text: heard.text,
            duration: heard.seconds,
            ..Transcript::default()
        });
    }
    if given_up() {
        return Err(fault(nobody()));
    }
    let frames = Frames {
        name,
        logits: &heard.logits,
        classes: heard.classes,
        duration: heard.seconds,
    };
    service.finder.find_with(&frames, times).map_err(fault)
}
