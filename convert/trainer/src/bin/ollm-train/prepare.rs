//! From paths to what the library works on: device, backbone, features, head.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Device;
use indicatif::{ProgressBar, ProgressStyle};
use ollm_train::data::corpus::Corpus;
use ollm_train::data::records::Records;
use ollm_train::eval::accuracy::Progress;
use ollm_train::features::backbone::{BackboneDescription, BackboneModel, Frozen, StateSource};
use ollm_train::features::candidate_cache;
use ollm_train::features::segments::Hold;
use ollm_train::features::states::{self, Features};
use ollm_train::plugin::file::Provenance;
use ollm_train::{Error, Result};

use crate::args::{DeviceArgs, HeadChoice, InputArgs};
use crate::world;

/// Parses `cpu`, `cuda:N` or `metal`.
pub(crate) fn device(name: &str) -> Result<Device> {
    let unknown = || Error::Setting { name: "--device", reason: format!("{name} is not cpu, cuda:N or metal") };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
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

/// A bar that counts something, with its rate; hidden in all of the run's processes but one.
pub(crate) fn bar(length: u64, unit: &str) -> ProgressBar {
    if !world::ranks().is_root() {
        return ProgressBar::hidden();
    }
    let template = format!("{{bar:30}} {{human_pos}}/{{human_len}} {unit} [{{elapsed}} < {{eta}}] {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).expect("a template of known keys");
    let bar = ProgressBar::new(length).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A bar that names the row.
pub(crate) struct BarProgress<'a>(pub(crate) &'a ProgressBar);

impl Progress for BarProgress<'_> {
    fn row(&self, name: &str, problems: usize) {
        self.0.set_length(problems as u64);
        self.0.set_position(0);
        self.0.set_message(name.to_owned());
    }

    fn problem(&self) {
        self.0.inc(1);
    }
}

/// The threads that are meant: 0 is one for each core.
pub(crate) fn threads(input: &InputArgs) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if input.threads == 0 { cores() } else { input.threads }
}

/// A backbone, and where its caches lie.
pub(crate) struct Workplace<'a> {
    pub(crate) backbone: &'a BackboneModel,
    pub(crate) about: BackboneDescription,
    pub(crate) folder: &'a Path,
    pub(crate) threads: usize,
}

/// The first `limit` problems of a corpus, and their features.
pub(crate) struct TextFeatures {
    pub(crate) corpus: Corpus,
    pub(crate) limit: usize,
    pub(crate) features: Features,
}

impl TextFeatures {
    /// Cut into the segments for which a latent is held.
    pub(crate) fn with_segments(self, backbone: &BackboneModel, hold: Hold) -> Result<Self> {
        let ends = backbone.token_ends();
        Ok(Self { features: self.features.with_segments(hold, &|token| ends.ends_line(token))?, ..self })
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

    /// Completes the cache of the first `limit` problems; tells how many those are.
    pub(crate) fn records(&self, corpus: &Corpus, limit: Option<usize>) -> Result<(usize, Records)> {
        let path = states::cache_path(self.folder, &self.about, corpus, "features");
        let mut records = Records::open(&path, &states::header(&self.about, corpus))?;
        let problems = corpus.first(limit);
        let bar = bar(problems.len() as u64, "problems").with_position(records.sequences() as u64);
        states::extend(&mut records, self.backbone, problems, self.threads, &|_| bar.inc(1))?;
        bar.finish_and_clear();
        Ok((problems.len(), records))
    }

    /// The features of a whole corpus, on the CPU.
    pub(crate) fn features(&self, corpus: &Corpus) -> Result<Features> {
        let (limit, mut records) = self.records(corpus, None)?;
        Features::load(&mut records, &self.about.backbone, limit, &Device::Cpu)
    }

    /// The data's features on a device. The cache is free for other runs when this returns.
    pub(crate) fn text(&self, corpus: Corpus, limit: Option<usize>, device: &Device) -> Result<TextFeatures> {
        if !world::ranks().is_root() {
            world::ranks().barrier()?;
        }
        let (limit, mut records) = self.records(&corpus, limit)?;
        let features = Features::load(&mut records, &self.about.backbone, limit, device)?;
        drop(records);
        if world::ranks().is_root() {
            world::ranks().barrier()?;
        }
        if features.is_empty() {
            return Err(corpus.no_data());
        }
        print_left_out(features.left_out(), limit, self.backbone);
        Ok(TextFeatures { corpus, limit, features })
    }

    /// The text with candidates for its features.
    pub(crate) fn with_candidates(&self, frozen: &Frozen, text: TextFeatures) -> Result<TextFeatures> {
        let bar = bar(text.features.len() as u64, "tokens").with_message("candidates");
        let progress = |rows| bar.inc(rows as u64);
        let candidates = candidate_cache::load(self.folder, frozen, &text.corpus, &text.features, &progress)?;
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

/// Where a plugin's training text came from.
pub(crate) fn provenance(data: &[PathBuf], text: &TextFeatures, valid: Option<&TextFeatures>) -> Provenance {
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
