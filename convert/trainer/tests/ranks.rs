//! Runs of several processes under `mpirun` (feature `mpi`), compared with those of one.

#[path = "../src/testing/speaker.rs"]
mod speaker;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ollm-train");

/// A folder with a tiny backbone and problems, removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ollm-ranks-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.gguf"), speaker::file(&weights)).unwrap();
        for (name, from, count) in [("train.jsonl", 0, 90), ("valid.jsonl", 90, 12)] {
            let problem =
                |i: u32| format!("{{\"question\":\"{i}+{}?\",\"answer\":\"so\\n#### {}\"}}\n", i % 7, i + i % 7);
            std::fs::write(folder.join(name), (from..from + count).map(problem).collect::<String>()).unwrap();
        }
        Self(folder)
    }

    /// `ollm-train` in `ranks` processes (0: without MPI's launcher).
    fn command(&self, ranks: usize, arguments: &str) -> Command {
        let mut command = launcher(ranks);
        command.args(arguments.split_whitespace()).current_dir(&self.0).env("RAYON_NUM_THREADS", "1");
        command
    }

    fn run(&self, ranks: usize, arguments: &str) -> Output {
        let output = self.command(ranks, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The log without what depends on time.
    fn log(&self, run: &str) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.read(&format!("{run}/log.jsonl"))).unwrap();
        let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter_mut().filter_map(serde_json::Value::as_object_mut).for_each(|line| {
            line.remove("tokens_per_second");
        });
        lines
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn launcher(ranks: usize) -> Command {
    if ranks == 0 {
        return Command::new(PROGRAM);
    }
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string(), PROGRAM]);
    command
}

/// Numbers that only look random.
fn weights(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut state = name.bytes().fold(1_u64, |state, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..shape.iter().product()).map(|_| next()).collect()
}

const SFT: &str = "sft -m model.gguf --data train.jsonl --valid valid.jsonl --options 3 --width 16 --rank 4 \
    --policy-width 8 --encoder-width 8 --batch 64 --micro-batch 16 --epochs 1 --control-epochs 1 --policy-epochs 1 \
    --eval-every 5 --checkpoint-every 2 -t 1";

#[test]
fn two_processes_train_the_files_of_one() {
    let place = Place::new("same");
    let lora = "lora -m model.gguf --data train.jsonl --valid valid.jsonl --rank 2 --epochs 1 --batch 8 \
        --pass-tokens 64 --eval-every 4 --merged-type f32 -t 1";
    let rl = "rl -m model.gguf --data train.jsonl --limit 6 --valid valid.jsonl --valid-limit 3 --hold line \
        --plugin sft1/plugin.safetensors --group 2 --problems 3 --steps 3 --tokens 8 --slots 2 --eval-every 2 -t 1";
    let accuracy = "accuracy -m model.gguf --data valid.jsonl --train train.jsonl --train-limit 3 --tokens 6 \
        --slots 2 --samples 2 --plugin sft1/plugin.safetensors --json -t 1";
    let mut tables = Vec::new();
    for (ranks, name) in [(0, "1"), (2, "2")] {
        place.run(ranks, &format!("{SFT} --features features{name} -o sft{name}"));
        place.run(ranks, &format!("{lora} -o lora{name}"));
        let said = place.run(ranks, &format!("{rl} --rollouts rollouts{name} -o rl{name}")).stdout;
        assert_eq!(String::from_utf8_lossy(&said).matches("wrote ").count(), 1);
        tables.push(place.run(ranks, &format!("{accuracy} --rollouts rollouts{name}")).stdout);
    }
    for file in ["sft*/control.safetensors", "sft*/options.safetensors", "sft*/plugin.safetensors"].into_iter().chain([
        "lora*/lora.safetensors",
        "lora*/merged.gguf",
        "rl*/plugin.safetensors",
    ]) {
        assert!(place.read(&file.replace('*', "1")) == place.read(&file.replace('*', "2")), "{file}");
    }
    for run in ["sft", "lora", "rl"] {
        assert_eq!(place.log(&format!("{run}1")), place.log(&format!("{run}2")), "{run}");
    }
    assert!(tables[0] == tables[1] && !tables[0].is_empty());
    for folder in ["rollouts", "features"] {
        let files = |name: &str| {
            let found = std::fs::read_dir(place.0.join(name)).unwrap().map(|file| file.unwrap().path());
            let mut found: Vec<_> = found.map(|path| (path.file_name().unwrap().to_owned(), read(&path))).collect();
            found.sort();
            found
        };
        assert!(files(&format!("{folder}1")) == files(&format!("{folder}2")), "{folder}");
    }
}

/// Token-level RL, whose shorter answers earn more, so that groups differ.
#[test]
fn two_processes_reinforce_tokens_to_the_files_of_one() {
    let place = Place::new("tokens");
    place.run(0, &format!("{SFT} -o sft"));
    let rl = "rl -m model.gguf --data train.jsonl --limit 6 --valid valid.jsonl --valid-limit 3 --group 4 --problems 3 \
        --steps 2 --tokens 30 --token-cost 0.01 --slots 2 --eval-every 1 -t 1";
    for (learn, more, files) in [
        ("control", "--plugin sft/plugin.safetensors", vec!["plugin.safetensors"]),
        ("adapters", "", vec!["lora.safetensors", "merged.gguf"]),
    ] {
        for (ranks, name) in [(0, "1"), (2, "2")] {
            place.run(ranks, &format!("{rl} --learn {learn} {more} --rollouts {learn}r{name} -o {learn}{name}"));
        }
        for file in files {
            let [one, two] = ["1", "2"].map(|name| place.read(&format!("{learn}{name}/{file}")));
            assert!(one == two, "{learn}: {file}");
        }
        let log = place.log(&format!("{learn}1"));
        assert_eq!(log, place.log(&format!("{learn}2")), "{learn}");
        let told = log.iter().any(|entry| entry["split"] == "train" && entry["no_signal"].as_f64() < Some(1.0));
        assert!(told, "{learn}: no group said anything");
        let scratch = std::fs::read_dir(place.0.join(format!("{learn}2"))).unwrap();
        assert!(
            scratch.map(|file| file.unwrap().file_name()).all(|name| !name.to_string_lossy().starts_with("answering"))
        );
    }
}

#[test]
fn streamed_states_train_the_bytes_of_cached_ones() {
    let place = Place::new("stream");
    for hold in ["token", "all"] {
        place.run(0, &format!("{SFT} --hold {hold} --shuffle-buffer 16 -o cached-{hold}"));
        for ranks in [0, 2] {
            let stream =
                format!("--hold {hold} --shuffle-buffer 16 --stream --features none -o streamed-{hold}{ranks}");
            place.run(ranks, &format!("{SFT} {stream}"));
            let plugin = |run: &str| place.read(&format!("{run}/plugin.safetensors"));
            assert!(plugin(&format!("cached-{hold}")) == plugin(&format!("streamed-{hold}{ranks}")));
            assert_eq!(place.log(&format!("cached-{hold}")), place.log(&format!("streamed-{hold}{ranks}")));
        }
    }
    assert!(!place.0.join("none").exists(), "something was stored");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn an_error_of_one_process_ends_all_with_its_message() {
    let place = Place::new("errors");
    let failed = |first: &str, second: &str| {
        let mut command = place.command(1, first);
        command.args([":", "-n", "1", PROGRAM]).args(second.split_whitespace());
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let good = format!("{SFT} -o run");
    let said = failed(&good, &good.replace("train.jsonl", "nothing.jsonl"));
    assert!(said.contains("error (rank 1): nothing.jsonl"), "{said}");
    let said = failed(&good, &format!("{good} --lr 0.5"));
    assert!(said.contains("rank 1 has another run"), "{said}");
    let bad = good.replace("--options 3", "--options 0");
    // What is wrong for all of them is told once.
    let said = failed(&bad, &bad);
    assert_eq!(said.matches("--options: must be").count(), 1, "{said}");
    let said = failed("eval -m model.gguf --data valid.jsonl", "eval -m model.gguf --data valid.jsonl");
    assert!(said.contains("leave out mpirun"), "{said}");
}

#[test]
fn a_killed_process_ends_all_and_the_run_resumes_to_the_same_bytes() {
    let place = Place::new("killed");
    let long = SFT.replace("--control-epochs 1", "--control-epochs 40");
    place.run(0, &format!("{long} -o whole"));
    let command = &mut place.command(2, &format!("{long} -o parts"));
    let mut started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (begin, checkpoint) = (Instant::now(), place.0.join("parts/checkpoint.safetensors"));
    while !checkpoint.exists() {
        assert!(begin.elapsed() < Duration::from_mins(1), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    let children = format!("/proc/{0}/task/{0}/children", started.id());
    let children = std::fs::read_to_string(children).unwrap();
    let rank = children.split_whitespace().last().expect("mpirun has processes");
    assert!(Command::new("kill").args(["-9", rank]).status().unwrap().success());
    assert!(!started.wait().unwrap().success());
    assert!(!place.0.join("parts/plugin.safetensors").exists(), "it was over before it was killed");
    place.run(2, &format!("{long} -o parts --resume"));
    assert!(place.read("whole/plugin.safetensors") == place.read("parts/plugin.safetensors"));
    assert_eq!(place.log("whole"), place.log("parts"));
}
