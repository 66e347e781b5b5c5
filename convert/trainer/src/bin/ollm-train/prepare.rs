//! From paths to what the library works on: device, backbone, features, head.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::Device;
use ollm_train::data::corpus::{Corpus, Problem};
use ollm_train::features::backbone::{BackboneDescription, BackboneModel, Frozen, StateSource};
use ollm_train::features::candidate_cache;
use ollm_train::features::rows;
use ollm_train::features::segments::Hold;
use ollm_train::features::shards::Shards;
use ollm_train::features::states::{Features, StateRows, row_kind};
use ollm_train::features::stream::Streamed;
use ollm_train::plugin::file::Provenance;
use ollm_train::rollout::samples::SampleQuestions;
use ollm_train::{Error, Result};

use crate::args::{DeviceArgs, HeadChoice, InputArgs};
use crate::progress::bar;
use crate::world;

/// Bytes that logits may take, on each thread that has its own.
pub(crate) const LOGITS: usize = 256 << 20;

/// Parses `cpu`, `cuda:N` or `metal`.
pub(crate) fn device(name: &str) -> Result<Device> {
    let unknown = || Error::Setting { name: "--device", reason: format!("{name} is not cpu, cuda:N or metal") };
    let not_built = |feature: &str| Error::Setting {
        name: "--device",
        reason: format!(
            "this build has no {feature}: build it with `cargo build --release -p ollm-train --features {feature}`"
        ),
    };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) if !cfg!(feature = "cuda") => Err(not_built("cuda")),
        ("metal", _) if !cfg!(feature = "metal") => Err(not_built("metal")),
        ("cuda", index) => Ok(Device::new_cuda(index.parse().map_err(|_| unknown())?)?),
        ("metal", index) => Ok(Device::new_metal(index.parse().map_err(|_| unknown())?)?),
        _ => Err(unknown()),
    }
}

/// Refuses a file to be written, named by `flag`, that is one of those to be read.
pub(crate) fn check_output(flag: &'static str, output: &Path, inputs: &[&Path]) -> Result<()> {
    let refused = ollm_convert::check_output(output, inputs);
    refused.map_err(|error| Error::Setting { name: flag, reason: error.to_string() })
}

/// The threads that are meant: 0 is one for each core.
pub(crate) fn threads(input: &InputArgs) -> usize {
    if input.threads == 0 { ollm_runtime::cpu::cores() } else { input.threads }
}

/// A backbone, and where its caches lie.
pub(crate) struct Workplace<'a> {
    pub(crate) backbone: &'a BackboneModel,
    pub(crate) about: BackboneDescription,
    pub(crate) folder: &'a Path,
    pub(crate) threads: usize,
}

/// The first `limit` problems of a corpus, and their features.
pub(crate) struct TextFeatures<'a> {
    pub(crate) corpus: Corpus,
    pub(crate) limit: usize,
    pub(crate) features: Features<'a>,
}

impl TextFeatures<'_> {
    /// Cut into the segments for which a latent is held.
    pub(crate) fn with_segments(self, backbone: &BackboneModel, hold: Hold) -> Self {
        let ends = backbone.token_ends();
        Self { features: self.features.with_segments(hold, &|token| ends.ends_line(token)), ..self }
    }

    /// Names the problems.
    fn hash(&self) -> String {
        format!("{}:{}", self.corpus.hash, self.limit)
    }
}

impl<'a> Workplace<'a> {
    pub(crate) fn new(backbone: &'a BackboneModel, folder: &'a Path, input: &InputArgs) -> Result<Self> {
        Ok(Self { backbone, about: backbone.describe()?, folder, threads: threads(input) })
    }

    /// The shards of some problems' states, of which those that are missing are made.
    pub(crate) fn shards(&self, problems: &[Problem]) -> Result<Shards> {
        let bar = bar("features", problems.len() as u64, "problems");
        let shards = Shards::open(&row_kind(self.folder, &self.about), problems, world::ranks(), &mut |range| {
            bar.set_position(range.start as u64);
            let made = rows::compute(self.backbone, &problems[range].iter().collect::<Vec<_>>(), self.threads)?;
            bar.inc(made.len() as u64);
            Ok(made)
        })?;
        bar.finish_and_clear();
        Ok(shards)
    }

    /// The features of a whole corpus, on the CPU.
    pub(crate) fn features(&self, corpus: &Corpus) -> Result<Features<'static>> {
        let states = StateRows::of_shards(self.shards(&corpus.problems)?, &self.about, &Device::Cpu)?;
        Ok(Features::of(states))
    }

    /// The data's features on a device: cached, or where `stream` says so, computed by each step,
    /// with the rows of so many problems in memory.
    pub(crate) fn text(
        &self,
        corpus: Corpus,
        limit: Option<usize>,
        stream: Option<usize>,
        device: &Device,
    ) -> Result<TextFeatures<'a>> {
        let problems = corpus.first(limit);
        let states = match stream {
            None => StateRows::of_shards(self.shards(problems)?, &self.about, device)?,
            Some(capacity) => self.streamed(problems, capacity, device)?,
        };
        let (limit, features) = (problems.len(), Features::of(states));
        if features.is_empty() {
            return Err(corpus.no_data());
        }
        print_left_out(features.left_out(), limit, self.backbone);
        Ok(TextFeatures { corpus, limit, features })
    }

    fn streamed(&self, problems: &[Problem], capacity: usize, device: &Device) -> Result<StateRows<'a>> {
        let (mut next, mut bounds) = (Vec::new(), vec![0]);
        for problem in problems {
            next.extend(rows::targets(self.backbone, problem)?);
            bounds.push(next.len());
        }
        let (backbone, problems, threads) = (self.backbone, problems.to_vec(), self.threads);
        let make = move |wanted: &[usize]| {
            rows::compute(backbone, &wanted.iter().map(|&problem| &problems[problem]).collect::<Vec<_>>(), threads)
        };
        let source = Rc::new(Streamed::new(capacity, world::ranks(), Box::new(make)));
        Ok(StateRows::new(source, next, bounds, self.about.backbone.hidden, device))
    }

    /// The text with candidates for its features, from where the features are.
    pub(crate) fn with_candidates<'b>(
        &self,
        frozen: &'b Frozen,
        text: TextFeatures<'b>,
        stream: Option<usize>,
    ) -> Result<TextFeatures<'b>> {
        if let Some(capacity) = stream {
            let candidates = candidate_cache::stream(frozen, &text.features, capacity, world::ranks())?;
            return Ok(TextFeatures { features: text.features.with_candidates(candidates), ..text });
        }
        let problems = text.corpus.first(Some(text.limit));
        let bar = bar("candidates", text.features.len() as u64, "tokens");
        let progress = |rows| bar.inc(rows as u64);
        let candidates =
            candidate_cache::load(self.folder, frozen, problems, &text.features, world::ranks(), &progress)?;
        bar.finish_and_clear();
        Ok(TextFeatures { features: text.features.with_candidates(candidates), ..text })
    }

    /// The backbone's matrices on a device.
    pub(crate) fn frozen(&self, device: &Device) -> Result<Frozen> {
        Frozen::new(self.about.clone(), self.backbone.head(), self.backbone.embeddings(), device)
    }
}

/// Whether training scores candidates rather than the whole vocabulary.
pub(crate) fn scores_candidates(choice: HeadChoice, device: &Device) -> bool {
    match choice {
        HeadChoice::Auto => device.is_cpu(),
        HeadChoice::Full => false,
        HeadChoice::Candidates => true,
    }
}

/// Bytes that logits may take.
pub(crate) fn budget(args: &DeviceArgs) -> usize {
    args.logits_memory << 20
}

/// Says how many of the problems are too long.
pub(crate) fn print_left_out(count: usize, problems: usize, backbone: &BackboneModel) {
    if count > 0 && world::ranks().is_root() {
        let _ = writeln!(
            std::io::stderr(),
            "{count} of {problems} problems are longer than {} tokens: left out",
            backbone.context()
        );
    }
}

/// The problems of data files that are to be answered: the first `limit`, without those that are
/// too long, which is said.
pub(crate) fn to_answer(
    input: &InputArgs,
    backbone: &BackboneModel,
    data: &[PathBuf],
    limit: Option<usize>,
) -> Result<Corpus> {
    let corpus = input.read(data)?;
    let count = corpus.first(limit).len();
    let fits = |problem: &Problem| Ok(backbone.example(problem)?.tokens.len() <= backbone.context());
    let (corpus, left_out) = corpus.keep_first(limit, fits)?;
    print_left_out(left_out, count, backbone);
    Ok(corpus)
}

/// The questions that are answered at each evaluation, if there are any.
pub(crate) fn samples<'a>(
    backbone: &'a BackboneModel,
    valid: &Corpus,
    count: Option<usize>,
    input: &InputArgs,
) -> Option<SampleQuestions<'a>> {
    let count = count.filter(|count| *count > 0)?;
    Some(SampleQuestions::new(backbone, valid, count, input.threads))
}

/// Where a plugin's training text came from.
pub(crate) fn provenance(data: &[PathBuf], text: &TextFeatures<'_>, valid: Option<&TextFeatures<'_>>) -> Provenance {
    Provenance {
        data: file_names(data),
        data_hash: text.hash(),
        tokens: text.features.len(),
        valid_hash: valid.map(TextFeatures::hash),
    }
}

/// The files' names, without their folders.
pub(crate) fn file_names(data: &[PathBuf]) -> String {
    let names = data.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_that_the_build_lacks_is_told_with_the_feature() {
        let error = device("cuda:0").unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
        assert!(device("gpu").unwrap_err().to_string().contains("is not cpu"));
    }

    #[test]
    fn an_output_that_is_an_input_is_refused_however_it_is_spelled() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("ollm-train-output-{}", std::process::id()));
        std::fs::write(&file, "precious").unwrap();
        let spelled = folder.join(".").join(file.file_name().unwrap());
        let refused = check_output("--svg", &spelled, &[&folder.join("other"), &file]);
        assert!(matches!(refused, Err(Error::Setting { name: "--svg", .. })));
        assert!(check_output("--svg", &folder.join("ollm-train-new.svg"), &[&file]).is_ok());
        std::fs::remove_file(&file).unwrap();
    }
}
