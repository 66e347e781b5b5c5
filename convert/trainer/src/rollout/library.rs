//! Answers on disk: what was answered once is read, also by a run that was interrupted.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::data::corpus::{Corpus, Problem};
use crate::data::hash::fnv1a;
use crate::data::records::{Header, Records};
use crate::error::{Error, Result};
use crate::features::backbone::BackboneModel;
use crate::interrupt;
use crate::plugin::deploy;
use crate::plugin::file::Loaded;
use crate::plugin::nets::names;
use crate::ranks::Ranks;
use crate::rollout::engine::{self, Answer, LatentPlan, Plan, RolloutEngine};

/// The answers of one backbone.
pub struct Library<'a> {
    /// The backbone.
    pub backbone: &'a BackboneModel,
    folder: PathBuf,
    threads: usize,
    slots: usize,
    ranks: Ranks,
}

/// Problems that each of several ranks answers before all of them are written: as many rounds of
/// all slots.
const ROUNDS: usize = 4;

impl<'a> Library<'a> {
    /// The answers in `folder`, of which new ones are made on `threads` threads, `slots` at once.
    pub fn new(backbone: &'a BackboneModel, folder: &Path, threads: usize, slots: usize) -> Self {
        Self { backbone, folder: folder.to_owned(), threads, slots, ranks: Ranks::alone() }
    }

    /// The same of several ranks, which share what has to be answered. The root reads and writes.
    #[must_use]
    pub fn on(self, ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), ..self }
    }

    /// The ranks that share what has to be answered.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// The answers to the first `limit` problems. `progress` is called for each problem that was
    /// answered anew.
    ///
    /// # Errors
    /// Those of [`RolloutEngine::run`]; [`Error::Interrupted`] behind a
    /// problem, whose answers are kept.
    pub fn answers(
        &self,
        plugin: Option<&Loaded>,
        plan: &Plan,
        corpus: &Corpus,
        limit: usize,
        progress: &dyn Fn(),
    ) -> Result<Vec<Vec<Answer>>> {
        let problems = corpus.first(Some(limit));
        let header = self.header(plugin, plan, corpus)?;
        let name = fnv1a([header.kind.as_bytes(), header.backbone.as_bytes()]);
        let path = self.folder.join(format!("{}-{name:016x}.rollouts", corpus.hash));
        let mut records = if self.ranks.is_root() { Some(Records::open(&path, &header)?) } else { None };
        let known = records.as_ref().map_or(0, Records::sequences).to_string();
        let known = self.ranks.from_root(|| Ok(known.into_bytes()))?;
        let known: usize = String::from_utf8_lossy(&known).parse().unwrap_or(0);
        if let Some(missing) = problems.get(known..).filter(|missing| !missing.is_empty()) {
            let plugin = plugin.filter(|_| plan.latents != LatentPlan::Backbone);
            let engine = RolloutEngine::new(self.backbone, plugin, self.threads, self.slots)?;
            self.answer(&engine, plan, missing, records.as_mut(), progress)?;
        }
        let all = self.ranks.list_from_root(|| {
            let mut all = vec![Vec::new(); problems.len()];
            let mut read =
                |records: &mut Records| all.iter_mut().enumerate().try_for_each(|(i, to)| records.read(i, to));
            records.as_mut().map_or(Ok(()), &mut read)?;
            Ok(all)
        })?;
        all.iter()
            .map(|bytes| engine::decode(bytes).map_err(|error| Error::bad_file(&path, error.to_string())))
            .collect()
    }

    /// Answers problems and appends the answers to the records, in the order of the problems: a
    /// process alone each at once, several ranks in rounds.
    fn answer(
        &self,
        engine: &RolloutEngine<'_>,
        plan: &Plan,
        problems: &[Problem],
        mut records: Option<&mut Records>,
        progress: &dyn Fn(),
    ) -> Result<()> {
        let alone = self.ranks.is_alone();
        let round = if alone { problems.len() } else { ROUNDS * self.slots.max(1) * self.ranks.size() };
        for round in problems.chunks(round) {
            let (mine, mut made) = (self.ranks.in_turn(round.iter().cloned()).collect::<Vec<_>>(), Vec::new());
            engine.run(&mine, plan, &mut |_, answers| {
                (0..self.ranks.size()).for_each(|_| progress());
                made.push(engine::encode(&answers));
                // Alone, what was answered is not lost with the process.
                if let Some(records) = records.as_deref_mut().filter(|_| alone) {
                    made.drain(..).try_for_each(|answers| records.append(&answers))?;
                    interrupt::check()?;
                }
                Ok(())
            })?;
            for answers in self.ranks.gather_in_turn(made)? {
                records.as_deref_mut().map_or(Ok(()), |records| records.append(&answers))?;
            }
            interrupt::check_on(&self.ranks)?;
        }
        Ok(())
    }

    /// What the answers depend on, beside the problems: the policy where it chooses, the decoder
    /// where there are latents.
    fn header(&self, plugin: Option<&Loaded>, plan: &Plan, corpus: &Corpus) -> Result<Header> {
        let hash = |prefix| plugin.map_or(Ok(0), |plugin| deploy::hash(plugin, prefix));
        let (decoder, policy) = match plan.latents {
            LatentPlan::Backbone => (0, 0),
            LatentPlan::Fixed(_) | LatentPlan::Enumerated => (hash(names::DECODER)?, 0),
            LatentPlan::Policy | LatentPlan::Sampled(_) | LatentPlan::Mixture => {
                (hash(names::DECODER)?, hash(names::POLICY)?)
            }
        };
        Ok(Header {
            kind: format!("rollouts {}", String::from_utf8_lossy(&json(plan))),
            backbone: format!("{:016x} {decoder:016x} {policy:016x}", self.backbone.content()),
            data: corpus.hash.clone(),
            columns: 1,
            row_bytes: 1,
        })
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("names, numbers and text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corpus::Problem;
    use crate::features::segments::Hold;
    use crate::testing;

    const OPTIONS: usize = 3;

    #[test]
    fn what_was_answered_is_read_and_what_is_missing_is_answered() {
        let (backbone, corpus) = (testing::speaker(), corpus());
        let plugin = testing::speaker_plugin(&backbone, OPTIONS);
        let folder = testing::folder("library");
        let library = Library::new(&backbone, &folder, 1, 4);
        let plan = plan();
        let made = std::cell::Cell::new(0);
        let answers = |plugin: &Loaded, plan: &Plan, limit| {
            made.set(0);
            let answers = library.answers(Some(plugin), plan, &corpus, limit, &|| made.set(made.get() + 1)).unwrap();
            (answers, made.get())
        };
        let (all, _) = answers(&plugin, &plan, 5);
        assert_eq!(answers(&plugin, &plan, 5), (all.clone(), 0));
        // A writer that was killed in the middle of a problem.
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() * 2 / 3]).unwrap();
        let (again, made_again) = answers(&plugin, &plan, 5);
        assert!(again == all && (1..5).contains(&made_again));
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
        assert_eq!(answers(&plugin, &plan, 2), (all[..2].to_vec(), 0));
        // Another policy makes other draws, but the answers of a held latent are the same.
        let other = deploy::constant_policy(&plugin, &[0.0, 0.0, 1.0]).unwrap();
        assert_eq!(answers(&other, &plan, 1).1, 1);
        let held = Plan { latents: LatentPlan::Enumerated, samples: OPTIONS, ..plan };
        assert_eq!((answers(&plugin, &held, 2).1, answers(&other, &held, 2).1), (2, 0));
        assert_eq!(answers(&other, &plan, 1).0[0][0].text, answers(&other, &held, 1).0[0][2].text);
    }

    fn corpus() -> Corpus {
        let problem = |question: &str| Problem::new(question, "1");
        Corpus::new(["ab", "and one that is longer", "c", "d e", "f"].map(problem).to_vec())
    }

    fn plan() -> Plan {
        let (latents, held) = (LatentPlan::Sampled(1.0), Hold::All);
        Plan { latents, held, temperature: 0.0, samples: 2, tokens: 24, states: true, seed: 7 }
    }
}
