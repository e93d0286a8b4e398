//! Opens a folder: a Hugging Face download or what a run left.

use super::head::HeadRows;
use super::source::Source;
use super::{CONFIG, PREPROCESSOR, PROCESSOR, config, json, names};
use crate::atomic;
use crate::digest::{Digest, Hasher};
use crate::error::Error;
use crate::tensors::DIGEST;
use crate::vocab::Vocab;
use ir::artifact::{Artifact, Param, RunSize};
use ir::dim::Dim;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Values that are read from a file at a time: few enough for a cache to hold them.
const PIECE: usize = 1 << 16;

/// A safetensors file, mapped.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    map: Mmap,
    metadata: Metadata,
    /// Of its tensors, by their names; empty where the file is not of our own writing.
    digests: BTreeMap<String, String>,
    /// Where the data starts.
    start: usize,
}

impl TensorFile {
    pub fn open(path: &Path) -> Result<TensorFile, Error> {
        TensorFile::of(File::open(path), path)
    }

    /// As [`TensorFile::open`], for a file that must be no link.
    pub(crate) fn open_own(path: &Path) -> Result<TensorFile, Error> {
        TensorFile::of(atomic::open_own(OpenOptions::new().read(true), path), path)
    }

    fn of(file: std::io::Result<File>, path: &Path) -> Result<TensorFile, Error> {
        let remedy = "the file is damaged or no safetensors file; copy or convert it again";
        let file = file.map_err(Error::io("open", path))?;
        // SAFETY: the map is only read. Our own writers replace files by renaming, which leaves a mapped file as it
        // is; another program that shortens the file under us ends this one with a signal, it does not corrupt memory.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| Error::weights(path, e.to_string(), remedy))?;
        let start = header + 8;
        if map.len() - start != metadata.data_len() {
            return Err(Error::weights(path, "its length and its header disagree", remedy));
        }
        let digests = digests(&metadata);
        let without = metadata.offset_keys().into_iter().find(|n| !digests.contains_key(n));
        if let Some(name) = without.filter(|_| !digests.is_empty()) {
            let what = format!("`{name}` has no digest and others have");
            return Err(Error::damaged(path, what, remedy));
        }
        Ok(TensorFile {
            path: path.into(),
            file,
            map,
            metadata,
            digests,
            start,
        })
    }

    /// Of names, types, shapes and, in files of our own, the digests of all tensors.
    pub(crate) fn header_digest(&self) -> Digest {
        Digest::of(&self.map[8..self.start])
    }

    /// Fails where a tensor of a file of our own is not what was written.
    fn verify(&self, name: &str, found: impl FnOnce() -> Digest) -> Result<(), Error> {
        match self.digests.get(name) {
            Some(digest) if found().as_str() != digest => Err(Error::damaged(
                &self.path,
                format!("`{name}` is not what was written (its digest differs)"),
                "use another copy of it, or a checkpoint before it",
            )),
            _ => Ok(()),
        }
    }

    /// Reads every tensor of floating-point numbers through.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let read = |name: &String| {
            let info = self.info(name).expect("it is one of its names");
            let (width, _) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
            let values = (info.data_offsets.1 - info.data_offsets.0) / width;
            self.pieces(name, values, |_, _| ())
        };
        self.names().par_iter().map(read).collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.info(name).map(|i| i.shape.as_slice())
    }

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        &self.map[self.start + info.data_offsets.0..self.start + info.data_offsets.1]
    }

    fn wrong_type(&self, name: &str, found: Dtype, want: &str) -> Error {
        Error::weights(
            &self.path,
            format!("`{name}` is {found:?}"),
            format!("store it as {want}"),
        )
    }

    /// Values of a floating-point tensor (f32, f16, bf16 or f64), or `None` where there is no such tensor.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let (width, decode) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
        let bytes = self.bytes(info);
        self.verify(name, || Digest::of(bytes))?;
        let mut values = vec![0.0; bytes.len() / width];
        decode(bytes, &mut values);
        Ok(Some(values))
    }

    /// As [`TensorFile::floats`], into place. The file is read, not looked at through its map: mapped pages would count as
    /// this process's memory, as much of it as the values themselves. Fails on values that are not finite.
    pub(crate) fn floats_into(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        let values = to.len();
        self.pieces(name, values, |at, piece| {
            to[at..at + piece.len()].copy_from_slice(piece)
        })
    }

    /// Hands out the `count` values of a tensor in order, some at a time; the last error may be found after the last value.
    fn pieces(&self, name: &str, count: usize, mut take: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        let Some(info) = self.info(name) else { return Ok(()) };
        let (width, decode) = decoder(info.dtype).ok_or_else(|| self.wrong_type(name, info.dtype, "f32"))?;
        let start = self.start + info.data_offsets.0;
        let mut bytes = vec![0; PIECE.min(count) * width];
        let mut values = vec![0.0; PIECE.min(count)];
        let (mut hasher, mut strange) = (Hasher::default(), None);
        for at in (0..count).step_by(PIECE) {
            let n = PIECE.min(count - at);
            let (bytes, values) = (&mut bytes[..n * width], &mut values[..n]);
            self.file
                .read_exact_at(bytes, (start + at * width) as u64)
                .map_err(Error::io("read", &self.path))?;
            if !self.digests.is_empty() {
                hasher.update(bytes);
            }
            decode(bytes, values);
            let infinite = values.iter().position(|v| !v.is_finite());
            strange = strange.or(infinite.map(|i| (values[i], at + i)));
            take(at, values);
        }
        // Damage is the better reason for a strange value.
        self.verify(name, || hasher.finish())?;
        match strange {
            None => Ok(()),
            Some((value, at)) => {
                let what = format!("`{name}` holds {value} at element {at}");
                Err(Error::weights(&self.path, what, "use a sound checkpoint"))
            }
        }
    }

    /// Values of an integer tensor as i32, or `None` where there is no such tensor.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i32>>, Error> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let bytes = self.bytes(info);
        self.verify(name, || Digest::of(bytes))?;
        let wide: Vec<i64> = match info.dtype {
            Dtype::I64 => groups::<8>(bytes).map(i64::from_le_bytes).collect(),
            Dtype::I32 => groups::<4>(bytes).map(|b| i32::from_le_bytes(b) as i64).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|b| *b as i64).collect(),
            other => return Err(self.wrong_type(name, other, "i64")),
        };
        let narrow: Result<Vec<i32>, _> = wide.into_iter().map(i32::try_from).collect();
        narrow
            .map(Some)
            .map_err(|_| Error::weights(&self.path, format!("`{name}` has values beyond 32 bits"), "check it"))
    }
}

/// The digests that our own files carry.
fn digests(metadata: &Metadata) -> BTreeMap<String, String> {
    let own = |(key, digest): (&String, &String)| Some((key.strip_prefix(DIGEST)?.to_string(), digest.clone()));
    metadata.metadata().iter().flatten().filter_map(own).collect()
}

/// Bytes of a value, and how values become f32.
type Decoder = (usize, fn(&[u8], &mut [f32]));

fn decoder(dtype: Dtype) -> Option<Decoder> {
    fn each<const N: usize>(bytes: &[u8], to: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        to.iter_mut().zip(groups(bytes)).for_each(|(to, b)| *to = value(b));
    }
    Some(match dtype {
        Dtype::F32 => (4, |bytes, to| each(bytes, to, f32::from_le_bytes)),
        Dtype::F64 => (8, |bytes, to| each(bytes, to, |b| f64::from_le_bytes(b) as f32)),
        Dtype::BF16 => (2, |bytes, to| {
            each(bytes, to, |b| f32::from_bits((u16::from_le_bytes(b) as u32) << 16))
        }),
        Dtype::F16 => (2, |bytes, to| each(bytes, to, |b| half(u16::from_le_bytes(b)))),
        _ => return None,
    })
}

fn groups<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|c| c.try_into().expect("chunks have this length"))
}

/// IEEE half precision to single, exactly.
fn half(bits: u16) -> f32 {
    let sign = ((bits as u32) & 0x8000) << 16;
    let (exponent, fraction) = ((bits >> 10) & 31, (bits & 1023) as u32);
    let magnitude = match exponent {
        0 => fraction as f32 * 2f32.powi(-24),
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        e => f32::from_bits((e as u32 + 112) << 23 | fraction << 13),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// Which parameters a command may find missing; they keep their first values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Pretraining goes on from pretraining; the letters' head is not of interest.
    Head,
    /// Fine-tuning starts the head anew where there is none, and needs no quantizer.
    HeadAndQuantizer,
    /// Transcribing needs the head.
    Quantizer,
}

impl Missing {
    fn allows(self, name: &str) -> bool {
        match self {
            Missing::Head => names::is_head(name),
            Missing::HeadAndQuantizer => names::is_head(name) || Missing::Quantizer.allows(name),
            Missing::Quantizer => names::only_for_pretraining(name) || names::is_mask_embedding(name),
        }
    }
}

/// A folder with weights.
pub struct Folder {
    dir: PathBuf,
    tensors: Source,
}

impl Folder {
    pub fn open(dir: &Path) -> Result<Folder, Error> {
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
        Vocab::of_folder(&self.dir)
    }

    /// Classes of the head that the folder holds, where it holds one.
    pub fn classes(&self) -> Option<usize> {
        let name = self
            .tensors
            .names()
            .into_iter()
            .find(|n| n.ends_with("lm_head.weight"))?;
        self.tensors.shape(&name)?.first().copied()
    }

    /// Whether its model takes normalised input, where a file of the folder says how input is prepared. As in transformers, 5
    /// and before, it does unless that file says otherwise.
    pub fn normalize(&self) -> Result<Option<bool>, Error> {
        let (own, nested) = (self.dir.join(PREPROCESSOR), self.dir.join(PROCESSOR));
        let extractor = if nested.is_file() {
            json(&nested)?.get("feature_extractor").cloned()
        } else {
            None
        };
        let extractor = match extractor {
            Some(found) => Some(found),
            None if own.is_file() => Some(json(&own)?),
            None => None,
        };
        Ok(extractor.map(|e| e.get("do_normalize").and_then(Value::as_bool).unwrap_or(true)))
    }

    /// Fails where config.json describes another network than the one compiled.
    pub fn check_config(&self, artifact: &Artifact) -> Result<(), Error> {
        let path = self.dir.join(CONFIG);
        let Some(model) = artifact
            .export
            .values()
            .find_map(|t| serde_json::from_str::<Value>(t).ok())
        else {
            return Ok(());
        };
        if !path.is_file() {
            return Ok(());
        }
        match config::disagreement(&json(&path)?, &model) {
            None => Ok(()),
            Some((field, folder, compiled)) => Err(Error::weights(
                &path,
                format!("`{field}` is {folder} there and {compiled} in `{}`", artifact.name),
                "compile the model that these weights belong to",
            )),
        }
    }

    /// Copies the folder's tensors into the arena. Returns the names of parameters it does not hold, all of which
    /// `missing` allows; every other absence, a wrong shape or a tensor without a place is an error.
    /// With `head`, rows of the letters' head come from the rows that it says, of a head of any number of letters.
    pub fn load(
        &self,
        artifact: &Artifact,
        params: &mut [f32],
        missing: Missing,
        head: Option<&HeadRows>,
    ) -> Result<Vec<String>, Error> {
        self.check_config(artifact)?;
        let path = self.tensors.path();
        let mut left = self.tensors.names();
        let (mut absent, mut lacking, mut found) = (vec![], vec![], vec![]);
        for param in &artifact.params {
            let Some(name) = names::candidates(&param.name)
                .into_iter()
                .find(|n| self.tensors.shape(n).is_some())
            else {
                if missing.allows(&param.name) {
                    &mut absent
                } else {
                    &mut lacking
                }
                .push(param.name.clone());
                continue;
            };
            left.remove(&name);
            let shape = self.tensors.shape(&name).unwrap_or_default();
            let (own, given): (Vec<usize>, _) = (param.shape.iter().map(|d| *d as usize).collect(), shape.as_slice());
            if let Some(head) = head.filter(|_| names::is_head(&param.name) && own.get(1..) == given.get(1..)) {
                self.fill_head(param, &name, head, params)?;
                continue;
            }
            let same = own == given;
            // A head for other letters is of no interest to pretraining.
            if !same && param.dims.iter().any(|d| d.as_const().is_none()) && missing.allows(&param.name) {
                absent.push(param.name.clone());
                continue;
            }
            if !same {
                let remedy = if names::is_head(&param.name) {
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
        // A model of another kind may bring a head or a quantizer that this artifact was compiled without.
        let strange: Vec<String> = left
            .into_iter()
            .filter(|n| !names::is_head(n) && !names::only_for_pretraining(n))
            .collect();
        if !strange.is_empty() {
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
        Ok(absent)
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

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
        ] {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn reading_into_place_gives_what_the_map_shows_in_every_dtype() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(MODEL);
        // More than one piece, and no whole number of them.
        let n = PIECE + 3;
        for (dtype, width) in [(Dtype::F32, 4), (Dtype::F64, 8), (Dtype::BF16, 2), (Dtype::F16, 2)] {
            let value = |i: usize| match dtype {
                Dtype::F32 => (i as f32 / 7.0).to_le_bytes().to_vec(),
                Dtype::F64 => (i as f64 / 7.0).to_le_bytes().to_vec(),
                // Finite in both forms of 16 bits.
                _ => ((i % 0x7000) as u16).to_le_bytes().to_vec(),
            };
            let mut bytes: Vec<u8> = (0..n).flat_map(value).collect();
            let write = |bytes: &[u8]| {
                let view = safetensors::tensor::TensorView::new(dtype, vec![n], bytes).unwrap();
                std::fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
            };
            write(&bytes);
            let file = TensorFile::open(&path).unwrap();
            let mut read = vec![0.0; n];
            file.floats_into("w", &mut read).unwrap();
            assert!(file.floats("w").unwrap().unwrap() == read, "{dtype:?}");
            assert!(read[n - 1] != 0.0 && read[n - 1] != read[n - 2]);
            drop(file);
            // All bits set is no number in any of them.
            bytes[(n - 2) * width..(n - 1) * width].fill(0xff);
            write(&bytes);
            let error = TensorFile::open(&path)
                .unwrap()
                .floats_into("w", &mut read)
                .unwrap_err();
            assert!(error.to_string().contains(&format!("at element {}", n - 2)), "{error}");
        }
    }

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

    #[test]
    fn names_old_and_new_with_and_without_prefix_are_found_and_faults_are_named() {
        let tmp = tempfile::tempdir().unwrap();
        let artifact = fake::artifact();
        let load = |names: &[(&str, usize)], missing| {
            folder(tmp.path(), names);
            let mut params = vec![0.0; artifact.param_elements];
            let absent = Folder::open(tmp.path()).and_then(|f| f.load(&artifact, &mut params, missing, None));
            absent.map(|a| (a, params)).map_err(|e| e.to_string())
        };
        let old = [
            ("encoder.w", 0),
            ("conv.weight_g", 1),
            ("conv.weight_v", 2),
            ("lm_head.weight", 4),
        ];
        let (absent, params) = load(&old, Missing::Quantizer).unwrap();
        assert_eq!(absent, ["quantizer.codevectors"]);
        for p in artifact.params.iter().enumerate().filter(|(i, _)| *i != 3) {
            assert_eq!(params[p.1.offset], p.0 as f32 + 0.5, "{}", p.1.name);
        }
        let (absent, _) = load(&old[..3], Missing::HeadAndQuantizer).unwrap();
        assert_eq!(absent.len(), 2);
        let error = load(&old[1..], Missing::Quantizer).unwrap_err();
        assert!(error.contains("1 tensor is missing: `wav2vec2.encoder.w`"), "{error}");
        let error = load(&[&old[..], &[("adapter.w", 0)]].concat(), Missing::Quantizer).unwrap_err();
        assert!(
            error.contains("`adapter.w`") && error.contains("without a place"),
            "{error}"
        );
        let error = load(&[&old[..3], &[("lm_head.weight", 0)]].concat(), Missing::Quantizer).unwrap_err();
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
