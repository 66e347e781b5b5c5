//! Types chosen by the damage that they do: the smallest file within a given divergence, or the least divergence within a given
//! size.
//!
//! Matrices of one role in one third of the layers are a group, and get one type. Each group is measured once: the model reads
//! a text with that group alone in its cheapest type, and the divergence from the model as it was is the damage. For small
//! errors it is as large as the squared error of the weights, so the damage of every other type follows from the error
//! that the type makes (of a sample of rows), and that of several groups is the sum. Products of quantized weights quantize
//! their inputs as well, whatever the type; what that costs is measured once for all groups in their best such type. Starting
//! from the cheapest type everywhere, bits go where they undo most damage for each byte. The outcome is measured as a whole; where the
//! sum was wrong, the goal is corrected by as much, and the choice is made again.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::path::Path;

use indicatif::ProgressBar;
use ollm_runtime::gguf::{TensorInfo, TensorType, Writer};
use ollm_runtime::model::Model;
use ollm_runtime::quant::{self, QuantError};
use ollm_runtime::storage::Storage;
use rayon::prelude::*;

use super::{Job, Keep, RECIPES, Recipe, Source, describe, encode, recipe, with_tensors};
use crate::divergence::Reference;
use crate::importance::Importance;
use crate::table::grouped;
use crate::{ConvertError, Opened, Result};

/// What a choice of types is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// A file of at most so many bytes.
    Size(usize),
    /// A mean divergence of at most so many nats.
    Divergence(f64),
}

/// What was chosen.
#[derive(Debug)]
pub struct Choice {
    /// The recipe that the file comes nearest to.
    pub recipe: &'static Recipe,
    /// The type of each matrix, by its name.
    pub keep: Vec<Keep>,
    /// The groups of matrices with one type each.
    pub groups: Vec<Chosen>,
    /// The sum of the groups' damages.
    pub predicted: f64,
    /// The divergence of the whole.
    pub measured: f64,
    /// Tokens that it was measured over.
    pub tokens: usize,
    /// Bytes of the file.
    pub bytes: usize,
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
    /// The divergence that it is expected to cost.
    pub damage: f64,
}

/// Rows of each matrix of which the errors of types are told.
const SAMPLE: usize = 32;

/// How often a choice is made and measured.
const ROUNDS: usize = 6;

/// How near to the goal is near enough.
const NEAR: f64 = 0.92;

/// Chooses types for the matrices of `input` that no pattern of `keep` names, by what they do to its predictions on `text`. Nothing is
/// written.
///
/// # Errors
/// If a file is not what it should be, or the goal cannot be reached.
pub fn choose(
    input: &Path,
    text: &Path,
    goal: Goal,
    importance: Option<&Path>,
    keep: &[Keep],
    progress: &ProgressBar,
) -> Result<Choice> {
    let model = Opened::open_plain(input)?;
    let importance = importance.map(Importance::read).transpose()?;
    let mut search = Search::new(input, &model, keep, importance.as_ref())?;
    let mut reference = Reference::new(input, text)?;
    progress.set_length(search.groups.len() as u64 + 1);
    for group in 0..search.groups.len() {
        search.measure(group, &mut reference)?;
        progress.inc(1);
    }
    search.measure_floor(&mut reference)?;
    progress.inc(1);
    let choice = search.reach(goal, &mut reference);
    progress.finish_and_clear();
    choice
}

/// A type that a group may have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rung {
    dtype: TensorType,
    /// Of all its tensors, with padding.
    bytes: usize,
    /// Of the weights, squared.
    error: f64,
}

/// Matrices that get one type.
struct Group<'a> {
    name: String,
    tensors: Vec<&'a TensorInfo>,
    /// From the cheapest to the best; what costs more has a smaller error.
    rungs: Vec<Rung>,
    /// The damage of the cheapest.
    damage: f64,
    /// How much of it every quantized type does.
    floor: f64,
}

impl Group<'_> {
    fn damage(&self, rung: usize) -> f64 {
        let (worst, Rung { dtype, error, .. }) = (self.rungs[0].error, self.rungs[rung]);
        if error == 0.0 {
            return 0.0;
        }
        let floor = if dtype.is_quantized() { self.floor } else { 0.0 };
        floor + (self.damage - self.floor).max(0.0) * error / worst
    }

    /// The best type whose products quantize their inputs.
    fn best_quantized(&self) -> usize {
        self.rungs.iter().rposition(|rung| rung.dtype.is_quantized() && rung.error > 0.0).unwrap_or(0)
    }

    fn weights(&self) -> f64 {
        self.tensors.iter().map(|tensor| tensor.elements() as f64).sum()
    }
}

struct Search<'a> {
    input: &'a Path,
    model: &'a Opened,
    importance: Option<&'a Importance>,
    groups: Vec<Group<'a>>,
    /// The type of each tensor that is in no group.
    fixed: BTreeMap<&'a str, TensorType>,
    /// Bytes of the file but for the groups.
    rest: usize,
}

impl<'a> Search<'a> {
    fn new(input: &'a Path, model: &'a Opened, keep: &[Keep], importance: Option<&'a Importance>) -> Result<Self> {
        let layers = recipe::layers(model.gguf.tensors().iter().map(|tensor| tensor.name.as_str()));
        let mut groups: BTreeMap<(usize, String), Vec<&'a TensorInfo>> = BTreeMap::new();
        let mut fixed = BTreeMap::new();
        for tensor in model.gguf.tensors() {
            let matrix = recipe::is_matrix(&tensor.name, &tensor.dims);
            let kept = keep.iter().rfind(|keep| matrix && keep.matches(&tensor.name));
            if kept.is_none() && matrix {
                groups.entry(recipe::group(&tensor.name, layers)).or_default().push(tensor);
            } else {
                let wanted = kept.map_or(tensor.dtype, |keep| keep.dtype);
                fixed.insert(tensor.name.as_str(), recipe::that_fits(wanted, tensor.cols()));
            }
        }
        let mut search = Self { input, model, importance, groups: Vec::new(), fixed, rest: 0 };
        for ((_, name), tensors) in groups {
            let rungs = search.rungs(&tensors)?;
            if rungs.is_empty() {
                // No one type fits all of them: they stay as they are.
                search.fixed.extend(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)));
                continue;
            }
            search.groups.push(Group { name, tensors, rungs, damage: 0.0, floor: 0.0 });
        }
        let cheapest = vec![0; search.groups.len()];
        let jobs = search.jobs(&cheapest)?;
        let size = search.writer(&jobs, &ProgressBar::hidden())?.size();
        search.rest = size - search.bytes(&cheapest);
        Ok(search)
    }

    /// The types that are worth their bytes.
    fn rungs(&self, tensors: &[&'a TensorInfo]) -> Result<Vec<Rung>> {
        let mut rungs = Vec::new();
        for &dtype in TensorType::ALL {
            let size = |tensor: &&TensorInfo| Some(dtype.row_bytes(tensor.cols())? * tensor.rows());
            let Some(sizes) = tensors.iter().map(size).collect::<Option<Vec<_>>>() else { continue };
            if tensors.iter().zip(&sizes).any(|(tensor, &size)| size > tensor.size) {
                continue;
            }
            let bytes = sizes.into_iter().map(|size| self.padded(size)).sum();
            match tensors.iter().map(|tensor| self.error(tensor, dtype)).sum() {
                Ok(error) => rungs.push(Rung { dtype, bytes, error }),
                // A type that cannot hold the values is none of those to choose from.
                Err(ConvertError::Row { source: QuantError::OutOfRange { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        rungs.sort_by(|a: &Rung, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
        let mut least = f64::INFINITY;
        rungs.retain(|rung| {
            let better = rung.error < least;
            least = least.min(rung.error);
            better
        });
        Ok(rungs)
    }

    /// The squared error that a type makes in a tensor, each column as much as its importance counts.
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
            let encoded = encode(dtype, &values, job.importance).map_err(wrong)?;
            quant::decode(dtype, &encoded, &mut stored).map_err(wrong)?;
            let square = |(x, y): (&f32, &f32)| f64::from(x - y).powi(2);
            let squares = values.iter().zip(&stored).map(square);
            Ok(match job.importance {
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

    fn job(&self, tensor: &'a TensorInfo, dtype: TensorType) -> Result<Job<'a>> {
        let importance = self.importance.map_or(Ok(None), |all| all.of(&tensor.name, tensor.cols()))?;
        Ok(Job { source: Source::of(self.input, self.model, tensor), dtype, wanted: dtype, importance })
    }

    /// What happens to each tensor, if the groups stand on these rungs.
    fn jobs(&self, rungs: &[usize]) -> Result<Vec<Job<'a>>> {
        let mut types = self.fixed.clone();
        for (group, &rung) in self.groups.iter().zip(rungs) {
            types.extend(group.tensors.iter().map(|tensor| (tensor.name.as_str(), group.rungs[rung].dtype)));
        }
        self.run(&types)
    }

    fn run(&self, types: &BTreeMap<&str, TensorType>) -> Result<Vec<Job<'a>>> {
        let dtype = |tensor: &TensorInfo| types.get(tensor.name.as_str()).copied().unwrap_or(tensor.dtype);
        self.model.gguf.tensors().iter().map(|tensor| self.job(tensor, dtype(tensor))).collect()
    }

    /// What writes the model that such jobs make.
    fn writer<'b>(&'b self, jobs: &'b [Job<'_>], progress: &'b ProgressBar) -> Result<Writer<'b>> {
        let mut writer = Writer::new();
        describe(self.model, &RECIPES[0], &mut writer).map_err(ConvertError::Output)?;
        with_tensors(writer, jobs, progress)
    }

    /// The divergence of the model that such jobs make.
    fn divergence(&self, jobs: &[Job<'_>], reference: &mut Reference) -> Result<f64> {
        let (mut bytes, hidden) = (Cursor::new(Vec::new()), ProgressBar::hidden());
        self.writer(jobs, &hidden)?.write_into(&mut bytes).map_err(ConvertError::from_io)?;
        let model = Model::from_storage(Storage::from(bytes.into_inner()))?;
        reference.divergence(&model)
    }

    /// Measures the damage of a group.
    fn measure(&mut self, group: usize, reference: &mut Reference) -> Result<()> {
        let Group { tensors, rungs, .. } = &self.groups[group];
        let types = tensors.iter().map(|tensor| (tensor.name.as_str(), rungs[0].dtype)).collect();
        let damage = self.divergence(&self.run(&types)?, reference)?;
        self.groups[group].damage = damage.max(0.0);
        Ok(())
    }

    /// Measures what all groups do in their best quantized types, and shares out what the sum lacks.
    fn measure_floor(&mut self, reference: &mut Reference) -> Result<()> {
        let rungs: Vec<usize> = self.groups.iter().map(Group::best_quantized).collect();
        let lacking = self.divergence(&self.jobs(&rungs)?, reference)? - self.damage(&rungs);
        let weights: f64 = self.groups.iter().map(Group::weights).sum();
        for group in &mut self.groups {
            group.floor = lacking.max(0.0) * group.weights() / weights;
        }
        Ok(())
    }

    fn bytes(&self, rungs: &[usize]) -> usize {
        self.groups.iter().zip(rungs).map(|(group, &rung)| group.rungs[rung].bytes).sum()
    }

    fn damage(&self, rungs: &[usize]) -> f64 {
        self.groups.iter().zip(rungs).map(|(group, &rung)| group.damage(rung)).sum()
    }

    /// Makes and measures choices until one is near the goal.
    fn reach(&self, goal: Goal, reference: &mut Reference) -> Result<Choice> {
        let tokens = reference.tokens();
        let mut measure = |rungs: &[usize]| self.divergence(&self.jobs(rungs)?, reference);
        match goal {
            Goal::Size(size) => {
                let rungs = self.within(size)?;
                self.choice(&rungs, measure(&rungs)?, tokens)
            }
            Goal::Divergence(most) => {
                let (rungs, measured) = self.under(most, &mut measure)?;
                self.choice(&rungs, measured, tokens)
            }
        }
    }

    /// The smallest choice that is found with a measured divergence of at most `most`. What is predicted for it is sought between
    /// what was too much and what was enough.
    fn under(&self, most: f64, measure: &mut dyn FnMut(&[usize]) -> Result<f64>) -> Result<(Vec<usize>, f64)> {
        let (mut aim, mut enough, mut too_much) = (most, 0.0, f64::INFINITY);
        let mut best: Option<(Vec<usize>, f64)> = None;
        for _ in 0..ROUNDS {
            let rungs = self.below(aim);
            let measured = measure(&rungs)?;
            if measured <= most {
                enough = f64::max(enough, aim);
                if best.as_ref().is_none_or(|(other, _)| self.bytes(&rungs) <= self.bytes(other)) {
                    best = Some((rungs, measured));
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
                reached => Err(ConvertError::TooMuchDamage { most, reached }),
            },
        }
    }

    /// The rungs with the least damage in a file of at most `size` bytes.
    fn within(&self, size: usize) -> Result<Vec<usize>> {
        let mut rungs = vec![0; self.groups.len()];
        let smallest = self.rest + self.bytes(&rungs);
        if smallest > size {
            return Err(ConvertError::TooSmall { size, smallest });
        }
        while let Some(step) = self.best_step(&rungs, size - self.rest - self.bytes(&rungs)) {
            rungs[step.0] = step.1;
        }
        Ok(rungs)
    }

    /// Rungs of few bytes whose damage is at most `most`.
    fn below(&self, most: f64) -> Vec<usize> {
        let mut rungs = vec![0; self.groups.len()];
        while self.damage(&rungs) > most {
            let Some(step) = self.best_step(&rungs, usize::MAX) else { break };
            rungs[step.0] = step.1;
        }
        rungs
    }

    /// The group, and the rung for it, that undoes most damage for each byte, of at most `bytes` more.
    fn best_step(&self, rungs: &[usize], bytes: usize) -> Option<(usize, usize)> {
        let mut best = (0.0, None);
        for (i, (group, &from)) in self.groups.iter().zip(rungs).enumerate() {
            for to in from + 1..group.rungs.len() {
                let more = group.rungs[to].bytes - group.rungs[from].bytes;
                let gain = (group.damage(from) - group.damage(to)) / more as f64;
                if more <= bytes && gain > best.0 {
                    best = (gain, Some((i, to)));
                }
            }
        }
        best.1
    }

    fn choice(&self, rungs: &[usize], measured: f64, tokens: usize) -> Result<Choice> {
        let jobs = self.jobs(rungs)?;
        let matrices = || jobs.iter().filter(|job| recipe::is_matrix(&job.source.name, &job.source.dims));
        let keep = matrices().map(|job| Keep { pattern: job.source.name.clone(), dtype: job.dtype }).collect();
        let groups = self.groups.iter().zip(rungs).map(|(group, &rung)| {
            let Rung { dtype, bytes, .. } = group.rungs[rung];
            Chosen { name: group.name.clone(), dtype, bytes, damage: group.damage(rung) }
        });
        let (predicted, bytes) = (self.damage(rungs), self.rest + self.bytes(rungs));
        let recipe = recipe::nearest(&matrices().map(|job| (job.dtype, job.source.elements())).collect::<Vec<_>>());
        Ok(Choice { recipe, keep, groups: groups.collect(), predicted, measured, tokens, bytes })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.groups.iter().map(|group| group.name.len()).max().unwrap_or(0);
        for Chosen { name, dtype, bytes, damage } in &self.groups {
            writeln!(f, "{name:width$}  {dtype:4}  {:>14} bytes  KL {damage:.5}", grouped(*bytes))?;
        }
        let Self { predicted, measured, tokens, .. } = self;
        writeln!(f, "KL {predicted:.5} predicted, {measured:.5} measured over {tokens} tokens")
    }
}
