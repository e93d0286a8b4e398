//! Opens a folder: a Hugging Face download or what a run left.

use super::head::HeadRows;
use super::init::initialize;
use super::needs::{Need, Needs};
use super::source::Source;
use super::{CONFIG, PREPROCESSOR, PROCESSOR, config, json, language, names};
use crate::audio::RATE;
use crate::error::Error;
use crate::vocab::Vocab;
use ir::artifact::{Artifact, Init, Param, RunSize};
use ir::dim::Dim;
use ir::task::{Task, matches};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A folder with weights.
pub struct Folder {
    dir: PathBuf,
    tensors: Source,
    /// Of the adapter that lies over the other weights.
    language: Option<String>,
}

impl Folder {
    /// Opens a folder, or a file with weights, which is read with what lies beside it.
    pub fn open(dir: &Path) -> Result<Folder, Error> {
        if Source::is_file(dir) {
            let (language, own) = (language::of_file(dir), Source::file(dir)?);
            let beside: PathBuf = dir.parent().unwrap_or(Path::new("")).into();
            return Ok(Folder {
                tensors: match language {
                    Some(_) => Source::open(&beside)?.under(own),
                    None => own,
                },
                dir: beside,
                language,
            });
        }
        if !dir.is_dir() {
            return Err(Error::weights(
                dir,
                "there is no such folder",
                "name a Hugging Face or a run folder",
            ));
        }
        Ok(Folder {
            dir: dir.into(),
            tensors: Source::open(dir)?,
            language: None,
        })
    }

    /// What the shapes of the folder's tensors say of an artifact's run sizes; nothing of those that none of them tells.
    pub fn run_sizes<'a>(&self, artifact: &'a Artifact) -> Vec<(&'a str, i64)> {
        let told = |size: &&'a RunSize| {
            let whole = Dim::sym(&size.name);
            artifact.params.iter().find_map(|p| {
                let axis = p.dims.iter().position(|d| *d == whole)?;
                let name = names::candidates(&p.name)
                    .into_iter()
                    .find(|n| self.tensors.shape(n).is_some())?;
                Some((&*size.name, *self.tensors.shape(&name)?.get(axis)? as i64))
            })
        };
        artifact.run_sizes.iter().filter_map(|s| told(&s)).collect()
    }

    /// The folder's letters, where it has any.
    pub fn vocab(&self) -> Result<Option<Vocab>, Error> {
        let inside = || Some(Vocab::of_fairseq(self.tensors.facts()?.tokens.clone()?));
        Ok(Vocab::of_language(&self.dir, self.language.as_deref())?.or_else(inside))
    }

    /// Classes of the head that the folder holds for a task, where it holds one.
    pub fn classes(&self, artifact: &Artifact, task: &Task) -> Option<usize> {
        let heads = task.heads();
        let own = artifact.params.iter().filter(|p| matches(heads, &p.name));
        own.flat_map(|p| names::candidates(&p.name))
            .find_map(|name| self.tensors.shape(&name)?.first().copied())
    }

    /// Whether its model takes normalised input, where it says so.
    pub fn normalize(&self) -> Result<Option<bool>, Error> {
        match self.tensors.facts() {
            Some(facts) => Ok(facts.normalize),
            None => normalize(&self.dir),
        }
    }

    /// What config.json says of the network, or a checkpoint of fairseq in its place; `None` where nothing does.
    pub fn config(&self) -> Result<Option<Value>, Error> {
        let path = self.dir.join(CONFIG);
        match self.tensors.facts() {
            Some(facts) if facts.config.is_empty() => Ok(None),
            Some(facts) => Ok(Some(Value::Object(facts.config.clone()))),
            None if path.is_file() => json(&path).map(Some),
            None => Ok(None),
        }
    }

    /// Fails where config.json describes another network than the one compiled.
    pub fn check_config(&self, artifact: &Artifact) -> Result<(), Error> {
        let Some(own) = self.config()? else {
            return Ok(());
        };
        let config = self.dir.join(CONFIG);
        let path = self.tensors.facts().map_or(config.as_path(), |_| self.tensors.path());
        match config::disagreement(&own, artifact) {
            None => Ok(()),
            Some((field, folder, compiled)) => Err(Error::weights(
                path,
                format!("`{field}` is {folder} there and {compiled} in `{}`", artifact.name),
                "compile the model that these weights belong to",
            )),
        }
    }

    /// Copies the folder's tensors into the arena. Returns the names of parameters that it does not hold and that the task may
    /// do without (`may_lack`); what none of its programs reads may be absent, too, and is not named. Every other absence, a wrong
    /// shape or a tensor without a place is an error.
    /// With `head`, rows of the task's heads come from the rows that it says, of a head of any number of classes.
    pub fn load(
        &self,
        artifact: &Artifact,
        task: &Task,
        params: &mut [f32],
        head: Option<&HeadRows>,
    ) -> Result<Vec<String>, Error> {
        let needs = Needs::of(artifact, task);
        self.check_config(artifact)?;
        if self.tensors.facts().is_none() {
            check_rate(&self.dir)?;
        }
        let path = self.tensors.path();
        let mut left = self.tensors.names();
        let (mut absent, mut lacking, mut found, mut gains) = (vec![], vec![], vec![], vec![]);
        for (index, param) in artifact.params.iter().enumerate() {
            let need = needs.of_param(index, &param.name);
            let Some(name) = names::candidates(&param.name)
                .into_iter()
                .find(|n| self.tensors.shape(n).is_some())
            else {
                if need != Need::None && self.is_folded(artifact, &param.init) {
                    gains.push(param.name.as_str());
                    continue;
                }
                match need {
                    Need::None => {}
                    Need::Optional => absent.push(param.name.clone()),
                    Need::Required => lacking.push(param.name.clone()),
                }
                continue;
            };
            left.remove(&name);
            let shape = self.tensors.shape(&name).unwrap_or_default();
            let (own, given): (Vec<usize>, _) = (param.shape.iter().map(|d| *d as usize).collect(), shape.as_slice());
            if let Some(head) = head.filter(|_| needs.is_head(&param.name) && own.get(1..) == given.get(1..)) {
                self.fill_head(param, &name, head, params)?;
                continue;
            }
            let same = own == given;
            // A head for other letters is of no interest to whoever does not read it.
            if !same && param.dims.iter().any(|d| d.as_const().is_none()) && need != Need::Required {
                if need == Need::Optional {
                    absent.push(param.name.clone());
                }
                continue;
            }
            if !same {
                let remedy = if needs.is_head(&param.name) {
                    "compile the model with as many letters as this vocabulary has"
                } else {
                    "compile the model that these weights belong to"
                };
                return Err(Error::weights(
                    path,
                    format!(
                        "`{name}` has the shape {shape:?} and `{}` needs {:?}",
                        artifact.name, param.shape
                    ),
                    remedy,
                ));
            }
            found.push((param, name));
        }
        if !lacking.is_empty() {
            return Err(Error::weights(
                path,
                format!("{} missing: {}", count(lacking.len()), shorten(&lacking)),
                "use the folder of a model that has them (a pretrained one has no letters' head before fine-tuning)",
            ));
        }
        // Where config.json says that the network is this one, what is left over is nothing to it.
        let strange = self.without_place(artifact, left);
        if !strange.is_empty() && !self.is_described(artifact)? {
            return Err(Error::weights(
                path,
                format!(
                    "{} without a place in `{}`: {}",
                    count(strange.len()),
                    artifact.name,
                    shorten(&strange)
                ),
                "compile the model that these weights belong to",
            ));
        }
        self.fill(found, params)?;
        initialize(artifact, params, 0, &|name| gains.contains(&name));
        Ok(absent)
    }

    /// Whether a parameter is the norm of another one, which the folder has: the gain of a weight norm that is folded away.
    fn is_folded(&self, artifact: &Artifact, init: &Init) -> bool {
        let Init::NormOf { param, .. } = init else { return false };
        let known = artifact.params.iter().any(|p| p.name == *param);
        known
            && names::candidates(param)
                .iter()
                .any(|n| n.ends_with("weight") && self.tensors.shape(n).is_some())
    }

    /// Tensors that have no place in an artifact and matter to nothing that was compiled, for users to know of.
    pub fn extra(&self, artifact: &Artifact) -> Vec<String> {
        let own = artifact.params.iter().flat_map(|p| names::candidates(&p.name));
        let mut left = self.tensors.names();
        own.for_each(|name| _ = left.remove(&name));
        self.without_place(artifact, left)
    }

    /// A model of another kind may bring a head or a quantizer that an artifact was compiled without; counters are no weights.
    fn without_place(&self, artifact: &Artifact, left: BTreeSet<String>) -> Vec<String> {
        let harmless = |n: &String| names::is_known_elsewhere(artifact, n) || names::is_counter(n);
        left.into_iter().filter(|n| !harmless(n)).collect()
    }

    /// Whether config.json has been held against what a model says of its network.
    fn is_described(&self, artifact: &Artifact) -> Result<bool, Error> {
        Ok(!artifact.config.defaults.is_empty() && self.config()?.is_some())
    }

    /// Copies rows of the given head.
    fn fill_head(&self, param: &Param, name: &str, head: &HeadRows, params: &mut [f32]) -> Result<(), Error> {
        let count = self.tensors.shape(name).unwrap_or_default().iter().product();
        let mut given = vec![0.0; count];
        self.tensors.floats_into(name, &mut given)?;
        head.copy(&given, &mut params[param.offset..param.offset + param.len()]);
        Ok(())
    }

    /// Reads tensors to the places of their parameters.
    fn fill(&self, mut found: Vec<(&Param, String)>, params: &mut [f32]) -> Result<(), Error> {
        found.sort_by_key(|(param, _)| param.offset);
        let (mut rest, mut at) = (params, 0);
        let mut places = vec![];
        for (param, name) in found {
            let (place, after) = rest.split_at_mut(param.offset - at).1.split_at_mut(param.len());
            (rest, at) = (after, param.offset + param.len());
            places.push((name, place));
        }
        let read = |(name, place): (String, &mut [f32])| self.tensors.floats_into(&name, place);
        let done: Vec<Result<(), Error>> = places.into_par_iter().map(read).collect();
        done.into_iter().collect()
    }
}

/// Whether a folder's model takes normalised input, where a file of it says how input is prepared. As in transformers, 5 and
/// before, it does unless that file says otherwise.
pub(super) fn normalize(dir: &Path) -> Result<Option<bool>, Error> {
    Ok(extractor(dir)?.map(|(_, e)| e.get("do_normalize").and_then(Value::as_bool).unwrap_or(true)))
}

/// How a folder's input is prepared, and the file that says so.
fn extractor(dir: &Path) -> Result<Option<(PathBuf, Value)>, Error> {
    let (own, nested) = (dir.join(PREPROCESSOR), dir.join(PROCESSOR));
    if nested.is_file()
        && let Some(found) = json(&nested)?.get("feature_extractor")
    {
        return Ok(Some((nested, found.clone())));
    }
    match own.is_file() {
        true => Ok(Some((own.clone(), json(&own)?))),
        false => Ok(None),
    }
}

/// Fails where a folder's model takes recordings at another rate than all are brought to.
fn check_rate(dir: &Path) -> Result<(), Error> {
    let Some((file, extractor)) = extractor(dir)? else {
        return Ok(());
    };
    match extractor.get("sampling_rate").and_then(Value::as_f64) {
        Some(rate) if rate != RATE as f64 => Err(Error::weights(
            &file,
            format!("`sampling_rate` is {rate}, and recordings are brought to {RATE} samples a second"),
            format!("use weights that were trained at {RATE}"),
        )),
        _ => Ok(()),
    }
}

fn count(n: usize) -> String {
    if n == 1 {
        "1 tensor is".into()
    } else {
        format!("{n} tensors are")
    }
}

fn shorten(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(5)
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > 5 {
        format!("{shown} and {} more", names.len() - 5)
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Piece, Values, write_tensors};
    use crate::fake;
    use crate::weights::MODEL;

    /// Writes a folder whose tensors are `names`, each with the shape of the parameter it stands for.
    fn folder(dir: &Path, names: &[(&str, usize)]) {
        let artifact = fake::artifact();
        let values: Vec<Vec<f32>> = names
            .iter()
            .map(|(_, i)| vec![*i as f32 + 0.5; artifact.params[*i].len()])
            .collect();
        let piece = |((name, i), v): (&(&str, usize), &'_ Vec<f32>)| {
            (
                name.to_string(),
                artifact.params[*i]
                    .shape
                    .iter()
                    .map(|d| *d as usize)
                    .collect::<Vec<_>>(),
                v.clone(),
            )
        };
        let owned: Vec<_> = names.iter().zip(&values).map(piece).collect();
        let pieces = owned
            .iter()
            .map(|(n, s, v)| {
                (
                    n.clone(),
                    Piece {
                        shape: s.clone(),
                        values: Values::F32(v),
                    },
                )
            })
            .collect();
        write_tensors(&dir.join(MODEL), pieces).unwrap();
    }

    /// A head of as many letters as a run chose is nothing to a pretraining that begins from it, and a fault elsewhere.
    #[test]
    fn a_head_for_other_letters_is_absent_where_none_is_needed() {
        let tmp = tempfile::tempdir().unwrap();
        folder(
            tmp.path(),
            &[
                ("w", 0),
                ("g", 1),
                ("v", 2),
                ("quantizer.codevectors", 3),
                ("lm_head.weight", 4),
            ]
            .map(|(name, i)| {
                (
                    [
                        "wav2vec2.encoder.w",
                        "wav2vec2.conv.weight_g",
                        "wav2vec2.conv.weight_v",
                        name,
                        name,
                    ][i],
                    i,
                )
            }),
        );
        let mut artifact = fake::artifact();
        let load = |artifact: &Artifact, task: &str| {
            let mut params = vec![0.0; artifact.param_elements];
            Folder::open(tmp.path())
                .unwrap()
                .load(artifact, &fake::task(task), &mut params, None)
        };
        assert!(load(&artifact, "pretrain").unwrap().is_empty());
        artifact.params[4].shape[0] += 8;
        artifact.param_elements += 8;
        assert!(load(&artifact, "pretrain").is_err(), "a fixed head");
        artifact.params[4].dims = vec![Dim::sym("letters")];
        assert_eq!(load(&artifact, "pretrain").unwrap(), Vec::<String>::new());
        assert!(load(&artifact, "transcribe").is_err());
    }

    #[test]
    fn names_old_and_new_with_and_without_prefix_are_found_and_faults_are_named() {
        let tmp = tempfile::tempdir().unwrap();
        let artifact = fake::artifact();
        let load = |names: &[(&str, usize)], task: &str| {
            folder(tmp.path(), names);
            let mut params = vec![0.0; artifact.param_elements];
            let absent = Folder::open(tmp.path()).and_then(|f| f.load(&artifact, &fake::task(task), &mut params, None));
            absent.map(|a| (a, params)).map_err(|e| e.to_string())
        };
        let old = [
            ("encoder.w", 0),
            ("conv.weight_g", 1),
            ("conv.weight_v", 2),
            ("lm_head.weight", 4),
        ];
        let (absent, params) = load(&old, "transcribe").unwrap();
        // What only pretraining reads is nothing to this task.
        assert_eq!(absent, Vec::<String>::new());
        for p in artifact.params.iter().enumerate().filter(|(i, _)| *i != 3) {
            assert_eq!(params[p.1.offset], p.0 as f32 + 0.5, "{}", p.1.name);
        }
        let (absent, _) = load(&old[..3], "finetune").unwrap();
        assert_eq!(absent, ["lm_head.weight"]);
        let error = load(&old[1..], "transcribe").unwrap_err();
        assert!(error.contains("1 tensor is missing: `wav2vec2.encoder.w`"), "{error}");
        let error = load(&[&old[..], &[("adapter.w", 0)]].concat(), "transcribe").unwrap_err();
        assert!(
            error.contains("`adapter.w`") && error.contains("without a place"),
            "{error}"
        );
        let error = load(&[&old[..3], &[("lm_head.weight", 0)]].concat(), "finetune").unwrap_err();
        assert!(error.contains("shape [3]") && error.contains("letters"), "{error}");
        std::fs::write(tmp.path().join(MODEL), b"\xff\xff\xff\xff\xff\xff\xff\xffjunk").unwrap();
        assert!(
            Folder::open(tmp.path())
                .err()
                .unwrap()
                .to_string()
                .contains("model.safetensors")
        );
    }

    #[test]
    fn a_folder_of_another_network_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let mut artifact = fake::artifact();
        let config =
            r#"{"model_type": "wav2vec2", "conv_stride": [5, 2], "layer_norm_eps": 1e-5, "hidden_dropout": 0.1}"#;
        artifact.export.insert("finetune".into(), config.into());
        folder(tmp.path(), &[]);
        let folder = Folder::open(tmp.path()).unwrap();
        let put = |text: &str| std::fs::write(tmp.path().join(CONFIG), text).unwrap();
        put(r#"{"conv_stride": [5, 2], "layer_norm_eps": 0.00001, "hidden_dropout": 0.9}"#);
        folder.check_config(&artifact).unwrap();
        let refused = |text: &str, part: &str| {
            put(text);
            let error = folder.check_config(&artifact).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(r#"{"conv_stride": [5, 4]}"#, "`conv_stride` is [5,4] there and [5,2]");
        // What a configuration leaves out has the value that transformers gives it.
        refused(r#"{}"#, "`conv_stride` is [5,2,2,2,2,2,2]");
        refused(
            r#"{"conv_stride": [5, 2], "layer_norm_eps": null, "model_type": "hubert"}"#,
            "`model_type` is \"hubert\"",
        );
    }

    #[test]
    fn a_weight_norm_that_is_folded_into_one_weight_is_taken_apart() {
        let tmp = tempfile::tempdir().unwrap();
        let mut artifact = fake::artifact();
        artifact.params[1].init = Init::NormOf {
            param: artifact.params[2].name.clone(),
            axis: 1,
        };
        let all = [("wav2vec2.encoder.w", 0), ("conv.weight", 2), ("lm_head.weight", 4)];
        folder(tmp.path(), &all);
        let mut params = vec![0.0; artifact.param_elements];
        let folder = Folder::open(tmp.path()).unwrap();
        folder
            .load(&artifact, &fake::task("transcribe"), &mut params, None)
            .unwrap();
        // Gain and direction: [1, 2] and [2, 2], all of which is 2.5.
        let norm = 12.5f32.sqrt();
        assert_eq!(params[3..9], [norm, norm, 2.5, 2.5, 2.5, 2.5]);
    }

    /// A language's adapter and head lie over the weights of all, with its letters.
    #[test]
    fn an_adapter_of_a_language_lies_over_the_other_weights() {
        let tmp = tempfile::tempdir().unwrap();
        let artifact = fake::artifact();
        let all = [
            ("wav2vec2.encoder.w", 0),
            ("wav2vec2.conv.weight_g", 1),
            ("wav2vec2.conv.weight_v", 2),
            ("lm_head.weight", 3),
        ];
        folder(tmp.path(), &all[..3]);
        std::fs::rename(tmp.path().join(MODEL), tmp.path().join("whole")).unwrap();
        folder(tmp.path(), &[("lm_head.weight", 4)]);
        std::fs::rename(tmp.path().join(MODEL), tmp.path().join("adapter.fra.safetensors")).unwrap();
        std::fs::rename(tmp.path().join("whole"), tmp.path().join(MODEL)).unwrap();
        let letters = r#"{"eng": {"<pad>": 0, "a": 1}, "fra": {"<pad>": 0, "é": 1, "|": 2}}"#;
        std::fs::write(tmp.path().join("vocab.json"), letters).unwrap();
        let open = |language| Folder::open(&super::super::for_language(tmp.path(), language).unwrap()).unwrap();
        let mut params = vec![0.0; artifact.param_elements];
        let mut load = |f: &Folder| f.load(&artifact, &fake::task("transcribe"), &mut params, None);
        assert!(load(&open(None)).is_err(), "it has no head");
        load(&open(Some("fra"))).unwrap();
        assert_eq!((params[0], params[11]), (0.5, 4.5));
        assert_eq!(open(Some("fra")).vocab().unwrap().unwrap().len(), 3);
        assert_eq!(open(None).vocab().unwrap().unwrap().len(), 2);
        let error = super::super::for_language(tmp.path(), Some("deu"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`deu`") && error.contains("there are fra"), "{error}");
        std::fs::write(tmp.path().join("tokenizer_config.json"), r#"{"target_lang": "ita"}"#).unwrap();
        let error = open(None).vocab().unwrap_err().to_string();
        assert!(error.contains("`ita`") && error.contains("eng, fra"), "{error}");
    }

    /// Where config.json agrees, tensors that nothing reads are no fault; a counter never is. Both are integers or not.
    #[test]
    fn what_no_program_reads_is_left_alone_where_the_network_is_known() {
        let tmp = tempfile::tempdir().unwrap();
        let artifact = fake::artifact();
        let load = |extra: &str| {
            let all = [
                ("wav2vec2.encoder.w", 0),
                ("wav2vec2.conv.weight_g", 1),
                ("wav2vec2.conv.weight_v", 2),
                ("lm_head.weight", 4),
                (extra, 0),
            ];
            folder(tmp.path(), &all);
            let mut params = vec![0.0; artifact.param_elements];
            let folder = Folder::open(tmp.path()).unwrap();
            let loaded = folder.load(&artifact, &fake::task("transcribe"), &mut params, None);
            loaded.map(|_| folder.extra(&artifact)).map_err(|e| e.to_string())
        };
        assert_eq!(
            load("layers.0.batch_norm.num_batches_tracked").unwrap(),
            Vec::<String>::new()
        );
        assert!(load("encoder.version").unwrap_err().contains("without a place"));
        std::fs::write(tmp.path().join(CONFIG), "{}").unwrap();
        assert_eq!(load("encoder.version").unwrap(), ["encoder.version"]);
        std::fs::write(tmp.path().join(CONFIG), r#"{"add_adapter": true}"#).unwrap();
        assert!(load("encoder.version").unwrap_err().contains("`add_adapter` is true"));
        std::fs::write(tmp.path().join(CONFIG), "{}").unwrap();
        std::fs::write(tmp.path().join(PREPROCESSOR), r#"{"sampling_rate": 8000}"#).unwrap();
        let error = load("encoder.version").unwrap_err();
        assert!(
            error.contains("`sampling_rate` is 8000") && error.contains("preprocessor_config.json"),
            "{error}"
        );
    }

    #[test]
    fn how_input_is_prepared_is_read_in_the_forms_of_all_releases() {
        let tmp = tempfile::tempdir().unwrap();
        folder(tmp.path(), &[]);
        let put = |name: &str, text: &str| std::fs::write(tmp.path().join(name), text).unwrap();
        let told = || Folder::open(tmp.path()).unwrap().normalize().unwrap();
        assert_eq!(told(), None);
        put(PREPROCESSOR, r#"{"do_normalize": false}"#);
        assert_eq!(told(), Some(false));
        put(PREPROCESSOR, r#"{"feature_size": 1}"#);
        assert_eq!(told(), Some(true));
        put(PROCESSOR, r#"{"processor_class": "Wav2Vec2Processor"}"#);
        assert_eq!(told(), Some(true));
        put(PROCESSOR, r#"{"feature_extractor": {"do_normalize": false}}"#);
        assert_eq!(told(), Some(false));
        std::fs::remove_file(tmp.path().join(PREPROCESSOR)).unwrap();
        assert_eq!(told(), Some(false));
    }
}
