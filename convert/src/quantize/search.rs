//! Types chosen by KL divergence: the smallest file within a given divergence, or the least
//! divergence within a given size.
//!
//! Matrices of one role in one third of the layers are a group, and get one type. Each group is
//! measured once: the model reads a text with that group alone in its cheapest type of four bits or
//! more, and the KL divergence from the input's predictions is the group's. For small errors it
//! grows as the squared quantization error of the weights. So the divergence of every other
//! candidate type follows from its error on a sample of rows, and that of several groups is the
//! sum. A quantized matmul quantizes its activations as well, whatever the type; that divergence is
//! measured once, for all groups in their best such type.
//!
//! The search starts from the cheapest type everywhere and spends bytes where they lower the
//! divergence most for each byte. The outcome is measured as a whole. Where the sum was wrong, the
//! goal is corrected by as much, and the search is made again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::hash::Hasher as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use ollm_runtime::gguf::{TensorInfo, TensorType, Writer};
use ollm_runtime::model::{Model, Role, TensorName, weights_fingerprint};
use ollm_runtime::quant::{self, QuantError};
use ollm_runtime::storage::Storage;
use rayon::prelude::*;
use twox_hash::XxHash64;

use super::measurements::Measurements;
use super::{RECIPES, Recipe, TensorJob, TensorSource, TypeRule, describe, encode, recipe, with_tensors};
use crate::divergence::Reference;
use crate::imatrix::ImportanceMatrix;
use crate::kind::MODELS;
use crate::table::grouped;
use crate::{ConvertError, Opened, Result, checksum};

/// The goal of a choice of types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A file of at most so many bytes.
    Size(usize),
    /// A mean divergence of at most so many nats.
    Divergence(f64),
}

/// What was chosen.
#[derive(Debug)]
pub struct TypeChoice {
    /// The recipe that the file comes nearest to.
    pub recipe: &'static Recipe,
    /// The type of each matrix, by its name.
    pub tensor_types: Vec<TypeRule>,
    /// The groups of matrices with one type each.
    pub groups: Vec<Chosen>,
    /// The predicted KL divergence: the sum of the groups'.
    pub predicted: f64,
    /// The measured KL divergence of the whole.
    pub measured: f64,
    /// Tokens that it was measured over.
    pub tokens: usize,
    /// Bytes of the file.
    pub bytes: usize,
    /// The file that keeps what was measured, if there is one. It has served once the model is
    /// written.
    pub measurements: Option<PathBuf>,
}

/// The type that a group got.
#[derive(Debug)]
pub struct Chosen {
    /// The group.
    pub name: String,
    /// The type.
    pub dtype: TensorType,
    /// Bytes of the group.
    pub bytes: usize,
    /// The KL divergence that it is predicted to cost.
    pub kl: f64,
}

/// The sample of rows of each matrix on which quantization errors are measured.
const SAMPLE: usize = 32;

/// How often a choice is made and measured.
const ROUNDS: usize = 6;

/// How near to the goal is near enough.
const NEAR: f64 = 0.92;

/// Chooses types by KL divergence on `text`, for the matrices of `input` that no rule of
/// `tensor_types` names. No model is written; what was measured is kept in a file whose name is
/// `resume` and what identifies the search, and a search that was broken off, of the same input,
/// text and importance, goes on from there.
///
/// # Errors
/// If a file is not what it should be, or the goal cannot be reached.
pub fn choose(
    input: &Path,
    text: &Path,
    goal: Goal,
    importance: Option<&Path>,
    tensor_types: &[TypeRule],
    resume: Option<&Path>,
    progress: &ProgressBar,
) -> Result<TypeChoice> {
    let model = Opened::open_plain(input, MODELS)?;
    let measured = match resume {
        Some(path) => Measurements::open(path, identity(&model, text, importance)?)?,
        None => Measurements::default(),
    };
    let importance = importance.map(ImportanceMatrix::read).transpose()?;
    let mut search = Search::new(input, &model, tensor_types, importance.as_ref(), measured)?;
    let mut reference = Reference::new(input, text)?;
    progress.set_length(search.groups.len() as u64 + 1);
    for group in 0..search.groups.len() {
        search.measure(group, &mut reference)?;
        progress.inc(1);
    }
    search.measure_activations(&mut reference)?;
    progress.inc(1);
    let choice = search.meet(goal, &mut reference);
    progress.finish_and_clear();
    choice
}

/// A type that a group may have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CandidateType {
    dtype: TensorType,
    /// Of all its tensors, with padding.
    bytes: usize,
    /// Of the weights, squared.
    error: f64,
}

/// Whether a type is one to choose: one that is written, and not one for models that were trained
/// to have such weights.
fn may_choose(dtype: TensorType) -> bool {
    let coarse = [TensorType::Q1_0, TensorType::Q2_0, TensorType::Tq1_0, TensorType::Tq2_0];
    quant::is_writable(dtype) && !coarse.contains(&dtype)
}

/// Matrices that get one type.
struct MatrixGroup<'a> {
    name: String,
    tensors: Vec<&'a TensorInfo>,
    /// From the cheapest to the best; what costs more has a smaller error.
    candidates: Vec<CandidateType>,
    /// The KL divergence of the candidate that is measured.
    kl: f64,
    /// How much of it comes from quantized activations, and so from every quantized type.
    activation_kl: f64,
}

impl MatrixGroup<'_> {
    /// The candidate whose KL divergence is measured: the cheapest of four bits or more, since
    /// below errors are too large to say much of small ones.
    fn measured(&self) -> CandidateType {
        let suits = |candidate: &&CandidateType| {
            candidate.error > 0.0 && candidate.dtype.block_bytes() * 8 >= candidate.dtype.block_len() * 4
        };
        *self.candidates.iter().find(suits).unwrap_or(&self.candidates[0])
    }

    fn kl(&self, candidate: usize) -> f64 {
        let (unit, CandidateType { dtype, error, .. }) = (self.measured().error, self.candidates[candidate]);
        if error == 0.0 {
            return 0.0;
        }
        let activations = if dtype.is_quantized() { self.activation_kl } else { 0.0 };
        activations + (self.kl - self.activation_kl).max(0.0) * error / unit
    }

    /// The best quantized type, whose matmul quantizes its activations.
    fn best_quantized(&self) -> usize {
        self.candidates
            .iter()
            .rposition(|candidate| candidate.dtype.is_quantized() && candidate.error > 0.0)
            .unwrap_or(0)
    }

    fn weights(&self) -> f64 {
        self.tensors.iter().map(|tensor| tensor.elements() as f64).sum()
    }
}

struct Search<'a> {
    input: &'a Path,
    model: &'a Opened,
    importance: Option<&'a ImportanceMatrix>,
    groups: Vec<MatrixGroup<'a>>,
    /// The type of each tensor that is in no group.
    fixed: BTreeMap<&'a str, TensorType>,
    /// Bytes of the file but for the groups.
    rest: usize,
    measured: RefCell<Measurements>,
}

/// What the divergences depend on, beside the types.
fn identity(model: &Opened, text: &Path, importance: Option<&Path>) -> Result<u64> {
    let read = |path: &Path| {
        let io = |source| ollm_runtime::Error::Io { path: path.to_owned(), source };
        fs::read(path).map_err(io)
    };
    let mut hasher = XxHash64::with_seed(0);
    hasher.write_u64(weights_fingerprint(&model.gguf, &model.bytes));
    for (key, value) in checksum::other_keys(model) {
        hasher.write(format!("{key} {value}").as_bytes());
    }
    for path in [Some(text), importance].into_iter().flatten() {
        hasher.write_u64(XxHash64::oneshot(0, &read(path)?));
    }
    Ok(hasher.finish())
}

impl<'a> Search<'a> {
    fn new(
        input: &'a Path,
        model: &'a Opened,
        tensor_types: &[TypeRule],
        importance: Option<&'a ImportanceMatrix>,
        measured: Measurements,
    ) -> Result<Self> {
        let head = TensorName::new(Role::Head).to_string();
        let tied = model.gguf.tensor(&head).is_none();
        let layers = recipe::layers(model.gguf.tensors().iter().map(|tensor| tensor.name.as_str()));
        let mut groups: BTreeMap<(usize, String), Vec<&'a TensorInfo>> = BTreeMap::new();
        let mut fixed = BTreeMap::new();
        for tensor in model.gguf.tensors() {
            let matrix = recipe::is_matrix(&tensor.name, &tensor.dims);
            let rule = tensor_types.iter().rfind(|rule| matrix && rule.matches(&tensor.name, tied));
            if rule.is_none() && matrix {
                groups.entry(recipe::group(&tensor.name, layers)).or_default().push(tensor);
            } else {
                let wanted = rule.map_or(tensor.dtype, |rule| rule.dtype);
                fixed.insert(tensor.name.as_str(), recipe::that_fits(wanted, tensor.cols()));
            }
        }
        let mut search =
            Self { input, model, importance, groups: Vec::new(), fixed, rest: 0, measured: measured.into() };
        for ((_, name), tensors) in groups {
            let candidates = search.candidates(&tensors)?;
            if candidates.is_empty() {
                // No one type fits all of them: they stay as they are.
                search.fixed.extend(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)));
                continue;
            }
            search.groups.push(MatrixGroup { name, tensors, candidates, kl: 0.0, activation_kl: 0.0 });
        }
        let cheapest = vec![0; search.groups.len()];
        let jobs = search.jobs(&cheapest)?;
        let size = search.writer(&jobs, &ProgressBar::hidden())?.size();
        search.rest = size - search.bytes(&cheapest);
        Ok(search)
    }

    /// The types that are worth their bytes.
    fn candidates(&self, tensors: &[&'a TensorInfo]) -> Result<Vec<CandidateType>> {
        let mut candidates = Vec::new();
        for &dtype in TensorType::ALL.iter().filter(|&&dtype| may_choose(dtype)) {
            let size = |tensor: &&TensorInfo| Some(dtype.row_bytes(tensor.cols())? * tensor.rows());
            let Some(sizes) = tensors.iter().map(size).collect::<Option<Vec<_>>>() else { continue };
            if tensors.iter().zip(&sizes).any(|(tensor, &size)| size > tensor.size) {
                continue;
            }
            let bytes = sizes.into_iter().map(|size| self.padded(size)).sum();
            match tensors.iter().map(|tensor| self.error(tensor, dtype)).sum() {
                Ok(error) => candidates.push(CandidateType { dtype, bytes, error }),
                // A type that cannot hold the values is none of those to choose from.
                Err(ConvertError::Row { source: QuantError::OutOfRange { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        candidates.sort_by(|a: &CandidateType, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
        let mut least = f64::INFINITY;
        candidates.retain(|candidate| {
            let better = candidate.error < least;
            least = least.min(candidate.error);
            better
        });
        Ok(candidates)
    }

    /// The squared error that a type makes in a tensor, each column as much as its importance
    /// counts.
    fn error(&self, tensor: &'a TensorInfo, dtype: TensorType) -> Result<f64> {
        if dtype == tensor.dtype {
            return Ok(0.0);
        }
        let job = self.job(tensor, dtype)?;
        let rows = tensor.rows();
        let step = rows.div_ceil(SAMPLE);
        let sample: Vec<usize> = (0..rows).step_by(step).collect();
        let error = |&row: &usize| -> Result<f64> {
            let wrong = |source| job.source.error(row, source);
            let (_, values) = job.source.row(row)?;
            let mut stored = vec![0.0; values.len()];
            let importance = job.importance_of(row);
            let encoded = encode(dtype, &values, importance).map_err(wrong)?;
            quant::decode(dtype, &encoded, &mut stored).map_err(wrong)?;
            let square = |(x, y): (&f32, &f32)| f64::from(x - y).powi(2);
            let squares = values.iter().zip(&stored).map(square);
            Ok(match importance {
                Some(weights) => squares.zip(weights).map(|(square, &weight)| square * f64::from(weight)).sum(),
                None => squares.sum(),
            })
        };
        let errors: Vec<f64> = sample.par_iter().map(error).collect::<Result<_>>()?;
        Ok(errors.iter().sum::<f64>() * rows as f64 / sample.len() as f64)
    }

    fn padded(&self, size: usize) -> usize {
        size.next_multiple_of(self.model.gguf.alignment() as usize)
    }

    fn job(&self, tensor: &'a TensorInfo, dtype: TensorType) -> Result<TensorJob<'a>> {
        let source = TensorSource::of(self.input, self.model, tensor);
        let importance =
            self.importance.map_or(Ok(None), |all| all.of(&tensor.name, tensor.cols(), source.matrices()))?;
        Ok(TensorJob { source, dtype, wanted: dtype, importance })
    }

    /// What happens to each tensor, if the groups get these candidates.
    fn jobs(&self, candidates: &[usize]) -> Result<Vec<TensorJob<'a>>> {
        let mut types = self.fixed.clone();
        for (group, &candidate) in self.groups.iter().zip(candidates) {
            types.extend(group.tensors.iter().map(|tensor| (tensor.name.as_str(), group.candidates[candidate].dtype)));
        }
        self.run(&types)
    }

    fn run(&self, types: &BTreeMap<&str, TensorType>) -> Result<Vec<TensorJob<'a>>> {
        let dtype = |tensor: &TensorInfo| types.get(tensor.name.as_str()).copied().unwrap_or(tensor.dtype);
        self.model.gguf.tensors().iter().map(|tensor| self.job(tensor, dtype(tensor))).collect()
    }

    /// What writes the model that such jobs make.
    fn writer<'b>(&'b self, jobs: &'b [TensorJob<'_>], progress: &'b ProgressBar) -> Result<Writer<'b>> {
        let mut writer = Writer::new();
        describe(self.model, &RECIPES[0], &mut writer).map_err(ConvertError::Output)?;
        with_tensors(writer, jobs, progress)
    }

    /// The divergence of the model that such jobs make.
    fn divergence(&self, jobs: &[TensorJob<'_>], reference: &mut Reference) -> Result<f64> {
        let mut key = XxHash64::with_seed(0);
        for job in jobs {
            key.write(format!("{} {};", job.source.name, job.dtype).as_bytes());
        }
        let key = key.finish();
        if let Some(known) = self.measured.borrow().get(key) {
            return Ok(known);
        }
        let (mut bytes, hidden) = (Cursor::new(Vec::new()), ProgressBar::hidden());
        self.writer(jobs, &hidden)?.write_into(&mut bytes).map_err(ConvertError::from_io)?;
        let model = Model::from_storage(Storage::from(bytes.into_inner()))?;
        let divergence = reference.divergence(&model)?;
        self.measured.borrow_mut().add(key, divergence)?;
        Ok(divergence)
    }

    /// Measures the KL divergence of a group.
    fn measure(&mut self, group: usize, reference: &mut Reference) -> Result<()> {
        let MatrixGroup { tensors, .. } = &self.groups[group];
        let measured = self.groups[group].measured().dtype;
        let types = tensors.iter().map(|tensor| (tensor.name.as_str(), measured)).collect();
        let kl = self.divergence(&self.run(&types)?, reference)?;
        self.groups[group].kl = kl.max(0.0);
        Ok(())
    }

    /// Measures the KL divergence of all groups in their best quantized types, and distributes the
    /// difference from the sum among them.
    fn measure_activations(&mut self, reference: &mut Reference) -> Result<()> {
        let candidates: Vec<usize> = self.groups.iter().map(MatrixGroup::best_quantized).collect();
        let lacking = self.divergence(&self.jobs(&candidates)?, reference)? - self.kl(&candidates);
        let weights: f64 = self.groups.iter().map(MatrixGroup::weights).sum();
        for group in &mut self.groups {
            group.activation_kl = lacking.max(0.0) * group.weights() / weights;
        }
        Ok(())
    }

    fn bytes(&self, candidates: &[usize]) -> usize {
        self.groups.iter().zip(candidates).map(|(group, &candidate)| group.candidates[candidate].bytes).sum()
    }

    fn kl(&self, candidates: &[usize]) -> f64 {
        self.groups.iter().zip(candidates).map(|(group, &candidate)| group.kl(candidate)).sum()
    }

    /// Makes and measures choices until one is near the goal.
    fn meet(&self, goal: Goal, reference: &mut Reference) -> Result<TypeChoice> {
        let tokens = reference.tokens();
        let mut measure = |candidates: &[usize]| self.divergence(&self.jobs(candidates)?, reference);
        match goal {
            Goal::Size(size) => {
                let candidates = self.within(size)?;
                self.choice(&candidates, measure(&candidates)?, tokens)
            }
            Goal::Divergence(most) => {
                let (candidates, measured) = self.under(most, &mut measure)?;
                self.choice(&candidates, measured, tokens)
            }
        }
    }

    /// The smallest choice that is found with a measured divergence of at most `most`. What is
    /// predicted for it is sought between what was too much and what was enough.
    fn under(&self, most: f64, measure: &mut dyn FnMut(&[usize]) -> Result<f64>) -> Result<(Vec<usize>, f64)> {
        let (mut aim, mut enough, mut too_much) = (most, 0.0, f64::INFINITY);
        let mut best: Option<(Vec<usize>, f64)> = None;
        for _ in 0..ROUNDS {
            let candidates = self.below(aim);
            let measured = measure(&candidates)?;
            if measured <= most {
                enough = f64::max(enough, aim);
                if best.as_ref().is_none_or(|(other, _)| self.bytes(&candidates) <= self.bytes(other)) {
                    best = Some((candidates, measured));
                }
            } else {
                too_much = f64::min(too_much, aim);
            }
            if (NEAR * most..=most).contains(&measured) || self.below(too_much) == self.below(enough) {
                break;
            }
            aim *= 0.97 * most / measured.max(NEAR * most / 8.0);
            if aim <= enough || aim >= too_much {
                aim = f64::midpoint(enough, too_much);
            }
        }
        let none = self.below(0.0);
        match best {
            Some(best) => Ok(best),
            None => match measure(&none)? {
                measured if measured <= most => Ok((none, measured)),
                reached => Err(ConvertError::KlNotReached { most, reached }),
            },
        }
    }

    /// The candidates with the smallest KL divergence in a file of at most `size` bytes.
    fn within(&self, size: usize) -> Result<Vec<usize>> {
        let mut candidates = vec![0; self.groups.len()];
        let smallest = self.rest + self.bytes(&candidates);
        if smallest > size {
            return Err(ConvertError::TooSmall { size, smallest });
        }
        while let Some(step) = self.best_step(&candidates, size - self.rest - self.bytes(&candidates)) {
            candidates[step.0] = step.1;
        }
        Ok(candidates)
    }

    /// Candidates of few bytes whose KL divergence is at most `most`.
    fn below(&self, most: f64) -> Vec<usize> {
        let mut candidates = vec![0; self.groups.len()];
        while self.kl(&candidates) > most {
            let Some(step) = self.best_step(&candidates, usize::MAX) else { break };
            candidates[step.0] = step.1;
        }
        candidates
    }

    /// The group, and the candidate for it, that lowers the KL divergence most for each byte, of at
    /// most `bytes` more.
    fn best_step(&self, candidates: &[usize], bytes: usize) -> Option<(usize, usize)> {
        let mut best = (0.0, None);
        for (i, (group, &from)) in self.groups.iter().zip(candidates).enumerate() {
            for to in from + 1..group.candidates.len() {
                let more = group.candidates[to].bytes - group.candidates[from].bytes;
                let gain = (group.kl(from) - group.kl(to)) / more as f64;
                if more <= bytes && gain > best.0 {
                    best = (gain, Some((i, to)));
                }
            }
        }
        best.1
    }

    fn choice(&self, candidates: &[usize], measured: f64, tokens: usize) -> Result<TypeChoice> {
        let jobs = self.jobs(candidates)?;
        let matrices = || jobs.iter().filter(|job| recipe::is_matrix(&job.source.name, &job.source.dims));
        let rules = matrices().map(|job| TypeRule::exactly(&job.source.name, job.dtype)).collect();
        let groups = self.groups.iter().zip(candidates).map(|(group, &candidate)| {
            let CandidateType { dtype, bytes, .. } = group.candidates[candidate];
            Chosen { name: group.name.clone(), dtype, bytes, kl: group.kl(candidate) }
        });
        let (predicted, bytes) = (self.kl(candidates), self.rest + self.bytes(candidates));
        let recipe = recipe::nearest(&matrices().map(|job| (job.dtype, job.source.elements())).collect::<Vec<_>>());
        let (groups, measurements) = (groups.collect(), self.measured.borrow().path());
        Ok(TypeChoice { recipe, tensor_types: rules, groups, predicted, measured, tokens, bytes, measurements })
    }
}

impl fmt::Display for TypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0);
        for Chosen { name, dtype, bytes, kl } in &self.groups {
            writeln!(f, "{name:width$}  {dtype:4}  {:>14} bytes  KL {kl:.5}", grouped(*bytes))?;
        }
        let Self { predicted, measured, tokens, .. } = self;
        writeln!(f, "KL {predicted:.5} predicted, {measured:.5} measured over {tokens} tokens")
    }
}
