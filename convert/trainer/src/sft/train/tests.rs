use super::*;
use crate::features::candidate_cache;
use crate::plugin::deploy;
use crate::plugin::nets::{Control, DecoderNet};
use crate::sft::objective::Objective;
use crate::sft::settings::DecoderChoice;
use crate::testing;
use crate::testing::ranks::on_ranks;

fn settings(decoder: DecoderChoice, objective: Objective) -> SftSettings {
    SftSettings {
        options: 3,
        decoder,
        width: Some(16),
        rank: 4,
        keep_control: decoder == DecoderChoice::LowRank,
        policy_width: 8,
        encoder_width: 8,
        objective,
        hold: Hold::Token,
        kl_target: 0.3,
        epochs: 4,
        control_epochs: 4,
        policy_epochs: 2,
        spread: 1.25,
        batch: 32,
        micro_batch: 32,
        shuffle_buffer: None,
        lr: 0.02,
        seed: 5,
        patience: None,
    }
}

fn provenance() -> Provenance {
    Provenance { data: "synthetic".into(), data_hash: "d".into(), tokens: 512, valid_hash: Some("v".into()) }
}

fn train(folder: &Path, settings: &SftSettings, stop_after: Option<u64>, resume: bool) -> Result<Ended> {
    let pace = SftPace { checkpoint_every: 7, eval_every: 16, stop_after, ..SftPace::default() };
    train_at(folder, settings, &pace, resume)
}

fn train_at(folder: &Path, settings: &SftSettings, pace: &SftPace, resume: bool) -> Result<Ended> {
    train_on(&Ranks::alone(), folder, settings, pace, resume)
}

fn train_on(ranks: &Ranks, folder: &Path, settings: &SftSettings, pace: &SftPace, resume: bool) -> Result<Ended> {
    let frozen = testing::frozen(8, 12);
    let train = testing::features(&frozen, 512);
    let candidates = candidate_cache::compute(&frozen, &train, 4, 8).unwrap();
    let train = train.with_candidates(candidates);
    let train = train.with_segments(settings.hold, &|token| token < 4);
    let head = OutputHead::new(&frozen, 1 << 20).unwrap();
    let provenance = provenance();
    let material = SftData {
        frozen: &frozen,
        head: &head,
        train: &train,
        valid: Some(&train),
        provenance: &provenance,
        samples: None,
    };
    let mut run = RunFolder::open_on(ranks, folder, resume)?;
    sft(&material, settings, pace, &mut run, &ProgressBar::hidden())
}

fn held_out(folder: &Path, stage: &str) -> Vec<f64> {
    logged(folder, stage, "valid", "cross_entropy")
}

fn logged(folder: &Path, stage: &str, split: &str, field: &str) -> Vec<f64> {
    let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let entries = entries.filter(|entry| entry["split"] == split && entry["stage"] == stage);
    entries.map(|entry| entry[field].as_f64().unwrap()).collect()
}

#[test]
fn each_kind_and_objective_learns() {
    for decoder in [DecoderChoice::LowRank, DecoderChoice::Swiglu] {
        for objective in [Objective::Prior, Objective::Paper] {
            let folder = testing::folder(&format!("learns-{}-{}", decoder.name(), objective.name()));
            train(&folder, &settings(decoder, objective), None, false).unwrap();
            let control = held_out(&folder, "control");
            assert!(control.last().unwrap() < &(control[0] - 0.1), "{control:?}");
            let options = held_out(&folder, "options");
            assert!(options.last().unwrap() < &(control.last().unwrap() + 0.05), "{control:?} {options:?}");
        }
    }
}

#[test]
fn an_interrupted_run_resumes_to_the_same_bytes() {
    let settings = settings(DecoderChoice::LowRank, Objective::Paper);
    let (whole, parts) = (testing::folder("whole"), testing::folder("parts"));
    assert_eq!(train(&whole, &settings, None, false).unwrap(), Ended::Finished);
    let mut resume = false;
    while train(&parts, &settings, Some(23), resume).unwrap() == Ended::Stopped {
        resume = true;
    }
    for name in ["control.safetensors", "plugin.safetensors"] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&whole) == read(&parts), "{name} differs");
    }
    assert_eq!(held_out(&whole, "options"), held_out(&parts, "options"));
}

#[test]
fn several_ranks_train_the_bytes_of_one_process_and_resume_to_them() {
    for (objective, hold) in
        [(Objective::Paper, Hold::Token), (Objective::Prior, Hold::Token), (Objective::Prior, Hold::Line)]
    {
        let settings = SftSettings {
            hold,
            micro_batch: 8,
            epochs: 1,
            control_epochs: 1,
            ..settings(DecoderChoice::LowRank, objective)
        };
        let pace = |stop_after| SftPace { checkpoint_every: 7, eval_every: 16, stop_after, ..SftPace::default() };
        let name = |size: usize| format!("ranks-{}-{hold:?}-{size}", objective.name());
        let whole = testing::folder(&name(1));
        train_at(&whole, &settings, &pace(None), false).unwrap();
        for size in [2, 3] {
            let folder = testing::folder(&name(size));
            for (stop_after, resume) in [(Some(20), false), (None, true)] {
                on_ranks(size, |ranks| train_on(&ranks, &folder, &settings, &pace(stop_after), resume).unwrap());
            }
            for name in ["control.safetensors", "options.safetensors", "plugin.safetensors"] {
                let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
                assert!(read(&whole) == read(&folder), "{name} differs on {size} ranks");
            }
            assert_eq!(held_out(&whole, "options"), held_out(&folder, "options"));
            assert_eq!(logged(&whole, "options", "train", "kl"), logged(&folder, "options", "train", "kl"));
        }
    }
}

#[test]
fn more_ranks_than_micro_batches_are_refused() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let folder = testing::folder("many-ranks");
    let errors =
        on_ranks(2, |ranks| train_on(&ranks, &folder, &settings, &SftPace::default(), false).unwrap_err().to_string());
    assert!(errors.iter().all(|error| error.contains("at most 16 tokens")), "{errors:?}");
    assert!(!folder.exists());
}

#[test]
fn held_latents_learn_and_resume() {
    for hold in [Hold::Line, Hold::All] {
        // Two answers of 256 tokens: a latent for each.
        let (options, batch) = if hold == Hold::All { (2, 512) } else { (3, 32) };
        let settings = SftSettings { options, hold, batch, ..settings(DecoderChoice::LowRank, Objective::Prior) };
        let (whole, parts) =
            (testing::folder(&format!("held-{hold:?}")), testing::folder(&format!("held-parts-{hold:?}")));
        train(&whole, &settings, None, false).unwrap();
        let mut resume = false;
        while train(&parts, &settings, Some(13), resume).unwrap() == Ended::Stopped {
            resume = true;
        }
        let read = |folder: &Path| std::fs::read(folder.join("plugin.safetensors")).unwrap();
        assert!(read(&whole) == read(&parts), "{hold:?}");
        let text = String::from_utf8_lossy(&read(&whole)).into_owned();
        assert!(text.contains(&format!("\"ollm.latent.hold\":\"{hold}\"")));
        let control = held_out(&whole, "control");
        assert!(held_out(&whole, "options").last().unwrap() < &(control.last().unwrap() + 0.05));
        assert!(whole.join("log.svg").exists());
    }
}

#[test]
fn held_latents_that_begin_alike_part_as_far_as_they_are_asked_to() {
    let settings = SftSettings { hold: Hold::Line, epochs: 30, ..settings(DecoderChoice::LowRank, Objective::Prior) };
    let folder = testing::folder("held-part");
    train(&folder, &settings, None, false).unwrap();
    let kl = logged(&folder, "options", "train", "kl");
    let last = &kl[kl.len() - 20..];
    let mean = last.iter().sum::<f64>() / last.len() as f64;
    assert!(kl[0] < 0.02 && (mean - settings.kl_target).abs() < 0.1, "from {} to {mean}", kl[0]);
}

#[test]
fn too_few_segments_for_the_options_are_refused() {
    let settings = SftSettings { hold: Hold::All, ..settings(DecoderChoice::LowRank, Objective::Prior) };
    let refused = |settings: &SftSettings| {
        let folder = testing::folder("few-segments");
        let error = train(&folder, settings, None, false).unwrap_err();
        assert!(!folder.exists());
        error.to_string()
    };
    // Two answers of 256 tokens.
    let error = refused(&settings);
    assert!(error.contains("the data has 2 of 512 tokens: take more data or fewer options"), "{error}");
    let settings = SftSettings { options: 2, ..settings };
    let error = refused(&settings);
    assert!(error.contains("512 would do"), "{error}");
    train(&testing::folder("enough-segments"), &SftSettings { batch: 512, ..settings }, Some(1), false).unwrap();
}

#[test]
fn patience_ends_a_stage_at_its_best_look_and_resumes_to_the_same_bytes() {
    // A rate at which the loss soon rises again.
    let slow = settings(DecoderChoice::LowRank, Objective::Prior);
    let settings = SftSettings { patience: Some(1), lr: 0.5, epochs: 12, ..slow };
    let (whole, parts) = (testing::folder("patience"), testing::folder("patience-parts"));
    train(&whole, &settings, None, false).unwrap();
    let mut resume = false;
    while train(&parts, &settings, Some(5), resume).unwrap() == Ended::Stopped {
        resume = true;
    }
    for name in ["control.safetensors", "options.safetensors", "plugin.safetensors"] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&whole) == read(&parts), "{name} differs");
    }
    let log = std::fs::read_to_string(whole.join("log.jsonl")).unwrap();
    let entries: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for stage in ["control", "options", "policy"] {
        let of = |split: &str| -> Vec<(u64, f64)> {
            let found = entries.iter().filter(|entry| entry["stage"] == stage && entry["split"] == split);
            found.map(|entry| (entry["step"].as_u64().unwrap(), entry["loss"].as_f64().unwrap())).collect()
        };
        let best = of("valid").into_iter().reduce(|best, look| if look.1 < best.1 { look } else { best });
        assert_eq!(of("kept"), [best.unwrap()], "{stage}");
    }
    let steps = entries.iter().filter(|entry| entry["stage"] == "options" && entry["split"] == "train").count();
    assert!(steps < 12 * 16, "{steps} steps: nothing was stopped");
}

#[test]
fn patience_needs_held_out_text_and_the_same_evaluations() {
    let settings = SftSettings { patience: Some(1), ..settings(DecoderChoice::LowRank, Objective::Prior) };
    let folder = testing::folder("patience-other");
    train(&folder, &settings, Some(1), false).unwrap();
    let other = SftSettings { patience: Some(2), ..settings };
    assert!(matches!(train(&folder, &other, None, true), Err(Error::Mismatch { .. })));
}

#[test]
fn a_checkpoint_is_never_written_with_a_tensor_that_is_not_finite() {
    // The first loss is finite, the first step's tensors are not.
    let settings = SftSettings { lr: 1e38, ..settings(DecoderChoice::LowRank, Objective::Prior) };
    let folder = testing::folder("nan-checkpoint");
    train(&folder, &SftSettings { lr: 1e38, ..settings.clone() }, Some(0), false).unwrap();
    let before = std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
    let error = train(&folder, &settings, Some(1), true).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    assert!(std::fs::read(folder.join("checkpoint.safetensors")).unwrap() == before);
    let temporary = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "tmp");
    assert!(!std::fs::read_dir(&*folder).unwrap().any(|entry| temporary(&entry.unwrap())));
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_as_another() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let folder = testing::folder("other-run");
    train(&folder, &settings, Some(1), false).unwrap();
    assert!(matches!(train(&folder, &settings, None, false), Err(Error::RunExists(_))));
    let other = SftSettings { seed: 6, ..settings };
    assert!(matches!(train(&folder, &other, None, true), Err(Error::Mismatch { .. })));
}

/// As an interruption before the first checkpoint leaves it.
#[test]
fn without_a_checkpoint_the_log_begins_anew() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let folder = testing::folder("no-checkpoint");
    train(&folder, &settings, Some(3), false).unwrap();
    std::fs::remove_file(folder.join("checkpoint.safetensors")).unwrap();
    train(&folder, &settings, Some(3), true).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("log.jsonl")).unwrap().lines().count(), 3);
}

#[test]
fn sizes_that_nobody_means_are_refused() {
    let good = || settings(DecoderChoice::LowRank, Objective::Prior);
    assert!(good().check().is_ok());
    let huge = 1 << 40;
    for (flag, bad) in [
        ("--options", SftSettings { options: huge, ..good() }),
        ("--rank", SftSettings { rank: huge, ..good() }),
        ("--width", SftSettings { width: Some(huge), ..good() }),
        ("--policy-width", SftSettings { policy_width: huge, ..good() }),
        ("--encoder-width", SftSettings { encoder_width: huge, ..good() }),
        ("--epochs", SftSettings { epochs: huge, ..good() }),
        ("--epochs", SftSettings { epochs: 0, control_epochs: 0, policy_epochs: 0, ..good() }),
        ("--kl-target", SftSettings { hold: Hold::All, options: 2, kl_target: 0.7, ..good() }),
        ("--kl-target", SftSettings { hold: Hold::Token, options: 2, kl_target: 0.7, ..good() }),
    ] {
        assert!(matches!(bad.check(), Err(Error::Setting { name, .. }) if name == flag), "{flag}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let settings = SftSettings { lr: 1e30, ..settings(DecoderChoice::LowRank, Objective::Prior) };
    let error = train(&testing::folder("nan"), &settings, None, false).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
}

#[test]
fn the_control_stays_one_of_the_options() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let folder = testing::folder("keeps-control");
    train(&folder, &settings, None, false).unwrap();
    let about = testing::frozen(8, 12).about;
    let plugin = Loaded::plugin(&folder.join("plugin.safetensors"), &about, &Device::Cpu).unwrap();
    assert_eq!(deploy::control_latent(&plugin).unwrap(), Some(0));
    let hidden = testing::normal("hidden", &[5, 8], 1.0);
    let lookup = |name: &str| plugin.tensor(name);
    let options = DecoderNet::bind(&plugin.spec, &lookup).unwrap().options(&hidden).unwrap();
    let control = Control::bind(&plugin.spec, &lookup).unwrap().forward(&hidden).unwrap();
    let option = |z: usize| options.narrow(1, z, 1).unwrap().squeeze(1).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(option(0), control.to_vec2::<f32>().unwrap());
    assert!((1..3).all(|z| option(z) != option(0)));
    let other = SftSettings { keep_control: false, ..settings };
    let folder = testing::folder("keeps-no-control");
    train(&folder, &other, None, false).unwrap();
    let plugin = Loaded::plugin(&folder.join("plugin.safetensors"), &about, &Device::Cpu).unwrap();
    assert_eq!(deploy::control_latent(&plugin).unwrap(), None);
    let swiglu = SftSettings { decoder: DecoderChoice::Swiglu, keep_control: true, ..other };
    assert!(matches!(swiglu.check(), Err(Error::Setting { name: "--keep-control", .. })));
}

#[test]
fn a_run_begins_with_the_tensors_of_another() {
    for decoder in [DecoderChoice::LowRank, DecoderChoice::Swiglu] {
        let settings = settings(decoder, Objective::Prior);
        let first = testing::folder(&format!("init-first-{}", decoder.name()));
        train(&first, &SftSettings { spread: 1.0, ..settings.clone() }, None, false).unwrap();
        let begun = |name: &str, file: &str, settings: &SftSettings| {
            let folder = testing::folder(&format!("init-{name}-{}", decoder.name()));
            let init_from = Some(first.join(file));
            let pace = SftPace { checkpoint_every: 7, eval_every: 16, stop_after: None, init_from };
            train_at(&folder, settings, &pace, false).map(|_| folder).unwrap()
        };
        let tensors = |folder: &Path, file: &str| {
            let tensors = tensor_file::load(&folder.join(file), &Device::Cpu).unwrap().0;
            let values = |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            tensors.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect::<Vec<_>>()
        };
        // A stage of no epochs leaves what it was given.
        let policy = SftSettings { control_epochs: 0, epochs: 0, spread: 1.0, ..settings.clone() };
        let folder = begun("policy", "options.safetensors", &policy);
        let metadata = tensor_file::load(&folder.join("plugin.safetensors"), &Device::Cpu).unwrap().1;
        assert!(metadata.keys().any(|key| key.ends_with("training.init")), "{metadata:?}");
        assert!(tensors(&folder, "options.safetensors") == tensors(&first, "options.safetensors"));
        let options = SftSettings { control_epochs: 0, ..settings.clone() };
        let folder = begun("options", "control.safetensors", &options);
        assert!(tensors(&folder, "control.safetensors") == tensors(&first, "control.safetensors"));
        // Trained on, what was learned is there from the first step.
        let more = SftSettings { lr: 1e-4, ..settings.clone() };
        let folder = begun("more", "plugin.safetensors", &more);
        for stage in ["control", "options"] {
            let (before, after) = (held_out(&first, stage), held_out(&folder, stage));
            assert!(after[0] < before.last().unwrap() + 0.02, "{stage}: {before:?} {after:?}");
        }
    }
}

#[test]
fn tensors_of_other_sizes_or_of_another_run_are_refused() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let first = testing::folder("init-sizes");
    train(&first, &settings, None, false).unwrap();
    let folder = testing::folder("init-refused");
    let begun = |file: &str, settings: &SftSettings, resume| {
        let pace = SftPace { stop_after: Some(1), init_from: Some(first.join(file)), ..SftPace::default() };
        train_at(&folder, settings, &pace, resume).unwrap_err()
    };
    for (what, other) in [
        ("options", SftSettings { options: 4, ..settings.clone() }),
        ("decoder", SftSettings { rank: 5, ..settings.clone() }),
        ("policy width", SftSettings { policy_width: 9, ..settings.clone() }),
        ("encoder width", SftSettings { encoder_width: 9, ..settings.clone() }),
        ("keep-control", SftSettings { keep_control: false, ..settings.clone() }),
    ] {
        let refused = begun("plugin.safetensors", &other, false);
        assert!(matches!(&refused, Error::Mismatch { what: found, .. } if found == what), "{what}: {refused}");
    }
    let wide = SftSettings { width: Some(24), ..settings.clone() };
    let refused = begun("control.safetensors", &wide, false).to_string();
    assert!(refused.contains("made with width 16, this run has 24"), "{refused}");
    // The control would move away under options that stay.
    let refused = begun("plugin.safetensors", &SftSettings { epochs: 0, ..settings.clone() }, false);
    assert!(matches!(refused, Error::Setting { name: "--control-epochs", .. }), "{refused}");
    assert!(!folder.exists());
    train(&folder, &settings, Some(1), false).unwrap();
    let refused = begun("plugin.safetensors", &settings, true);
    assert!(matches!(&refused, Error::Mismatch { what, .. } if what == "init"), "{refused}");
}

#[test]
fn the_log_ends_with_a_summary_of_the_plugin() {
    let settings = settings(DecoderChoice::LowRank, Objective::Prior);
    let folder = testing::folder("summary");
    train(&folder, &settings, None, false).unwrap();
    let log = || std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let last_line = log().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last_line).unwrap();
    assert_eq!((last["stage"].as_str(), last["split"].as_str()), (Some("sft"), Some("summary")));
    // It is the mixture that the last evaluation saw, and a control that beats the backbone.
    let evaluated = *held_out(&folder, "policy").last().unwrap();
    assert!((last["mixture_cross_entropy"].as_f64().unwrap() - evaluated).abs() < 1e-4, "{last}");
    let control = *held_out(&folder, "control").last().unwrap();
    assert!((last["control_cross_entropy"].as_f64().unwrap() - control).abs() < 1e-4, "{last} {control}");
    assert!(last["control_cross_entropy"].as_f64() < last["backbone_cross_entropy"].as_f64(), "{last}");
    assert_eq!(last["usage"].as_array().unwrap().len(), 3);
    // Once more at the end of a finished run, the summary is still there once.
    train(&folder, &settings, None, true).unwrap();
    assert_eq!(log().matches("summary").count(), 1);
    assert!(log().ends_with(&format!("{last_line}\n")), "{last_line}");
}
