//! Answers on disk: what was answered once is read, also by a run that was interrupted.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::data::corpus::Corpus;
use crate::data::hash::fnv1a;
use crate::data::records::{Header, Records};
use crate::error::Result;
use crate::features::backbone::BackboneModel;
use crate::interrupt;
use crate::plugin::deploy;
use crate::plugin::file::Loaded;
use crate::plugin::nets::names;
use crate::rollout::engine::{Answer, LatentPlan, Plan, RolloutEngine};

/// The answers of one backbone.
pub struct Library<'a> {
    /// The backbone.
    pub backbone: &'a BackboneModel,
    folder: PathBuf,
    threads: usize,
    slots: usize,
}

impl<'a> Library<'a> {
    /// The answers in `folder`, of which new ones are made on `threads` threads, `slots` at once.
    pub fn new(backbone: &'a BackboneModel, folder: &Path, threads: usize, slots: usize) -> Self {
        Self { backbone, folder: folder.to_owned(), threads, slots }
    }

    /// The answers to the first `limit` problems. `progress` is called for each problem that was
    /// answered anew.
    ///
    /// # Errors
    /// Those of [`RolloutEngine::run`]; [`Error::Interrupted`](crate::Error::Interrupted) behind a
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
        let mut records = Records::open(&self.folder.join(format!("{}-{name:016x}.rollouts", corpus.hash)), &header)?;
        if let Some(missing) = problems.get(records.sequences()..).filter(|missing| !missing.is_empty()) {
            let plugin = plugin.filter(|_| plan.latents != LatentPlan::Backbone);
            let engine = RolloutEngine::new(self.backbone, plugin, self.threads, self.slots)?;
            engine.run(missing, plan, &mut |_, answers| {
                progress();
                records.append(&json(&answers))?;
                interrupt::check()
            })?;
        }
        let (mut all, mut bytes) = (Vec::with_capacity(problems.len()), Vec::new());
        for problem in 0..problems.len() {
            records.read(problem, &mut bytes)?;
            all.push(serde_json::from_slice(&bytes).map_err(|error| records.bad(error.to_string()))?);
        }
        Ok(all)
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
