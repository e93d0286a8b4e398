//! The label of each clip.

use super::letters::beside;
use super::{Args, Feed, File, Fill, Label, Layout, Occasion, Padding};
use crate::data::{Clip, Utterance};
use crate::error::Error;
use crate::random::Stream;
use crate::session::Tensor;
use ir::artifact::Port;
use ir::scalar::DType;
use ir::task::{FeedParam, Signature};

/// The class of each clip's label, i32 [clips].
pub struct Class {
    names: Vec<String>,
    classes: usize,
}

impl Feed for Class {
    const SIGNATURE: Signature = Signature {
        name: "Class",
        about: "the class of the clip's label, one of `classes`; the label is the clip's text as a whole",
        dtype: DType::I32,
        axes: &["clips"],
        params: &[FeedParam::size("classes")],
    };

    fn bind(args: &Args) -> Result<Class, Error> {
        let names = args.target.names.unwrap_or_default().to_vec();
        let classes = args.fixed_size(0)?;
        if names.len() > classes {
            let n = names.len();
            return Err(args.wrong(format!("there are {n} labels, and the model has {classes} classes")));
        }
        Ok(Class { names, classes })
    }
}

impl Fill for Class {
    fn shape(&self, _: &Port, layout: &Layout) -> Result<Vec<usize>, Error> {
        Ok(vec![layout.rows()])
    }

    fn draw(&self, _: &Port, layout: &Layout, _: &Occasion) -> Result<Tensor, Error> {
        let rows = layout.rows();
        Ok(Tensor {
            shape: vec![rows],
            ..beside(layout.clips.labels, &[rows, 1], 0)
        })
    }

    fn given(&self, port: &Port, layout: &Layout, file: &File) -> Result<Tensor, Error> {
        let (name, shape) = (&port.name, [layout.rows()]);
        let own = file
            .fit(name, file.ints(name, 1)?, &shape)?
            .ok_or_else(|| file.lacks(name))?;
        let values = own.as_i32().unwrap_or_default();
        if let Some(b) = values.iter().position(|l| *l < 0 || *l as usize >= self.classes) {
            let (bad, classes) = (values[b], self.classes);
            return Err(file.wrong(format!(
                "`{name}` of clip {b} is {bad}, and the model has {classes} classes"
            )));
        }
        Ok(own)
    }

    fn padding(&self) -> Padding {
        Padding::None
    }

    fn labels(&self) -> Option<&dyn Label> {
        Some(self)
    }
}

impl Class {
    fn read(&self, label: Option<&str>) -> Result<Vec<i32>, String> {
        let label = label.ok_or("it has no label")?.trim();
        match self.names.iter().position(|n| n == label) {
            Some(class) => Ok(vec![class as i32]),
            None => Err(format!("its label `{label}` is none of the training data's")),
        }
    }
}

impl Label for Class {
    fn of(&self, clip: &Clip, _: usize) -> Result<Vec<i32>, String> {
        self.read(clip.text.as_deref())
    }

    fn judge(&self, utterance: &Utterance, _: usize) -> Result<(), String> {
        self.read(utterance.text.as_deref()).map(|_| ())
    }

    fn made_up(&self, _: usize, stream: &mut Stream) -> Vec<i32> {
        vec![stream.below(self.classes.max(1)) as i32]
    }
}
