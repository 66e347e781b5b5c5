//! The command as a process: it is interrupted, says how to go on, and goes on; and what it logs.
#![cfg(unix)]

#[path = "../src/testing/speaker.rs"]
mod speaker;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ollm_train::data::rng::Rng;
use rustix::process::{Pid, Signal, kill_process};

/// A folder with a model and data, which is removed when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ollm-train-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let values = |name: &str, shape: &[usize]| {
            let mut rng = Rng::stream(0, name, 0);
            (0..shape.iter().product()).map(|_| rng.normal() * 0.5).collect()
        };
        std::fs::write(folder.join("model.gguf"), speaker::file(&values)).unwrap();
        let problem = |i: usize| format!("{{\"question\":\"{i} + 1?\",\"answer\":\"It is {}\"}}\n", i + 1);
        std::fs::write(folder.join("train.jsonl"), (0..20).map(problem).collect::<String>()).unwrap();
        std::fs::write(folder.join("valid.jsonl"), (20..24).map(problem).collect::<String>()).unwrap();
        Self(folder)
    }

    /// `ollm-train` in the folder, with these arguments.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ollm-train"));
        command.args(arguments.split_whitespace()).current_dir(&self.0).env("RAYON_NUM_THREADS", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &str) -> (Output, String) {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn logged(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(2), "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code, and what was said on standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

const SFT: &str = "sft -m model.gguf --data train.jsonl --valid valid.jsonl -o run --features features -t 1 --options 3 \
                   --width 8 --rank 2 --policy-width 4 --encoder-width 4 --batch 32 --eval-every 100000 \
                   --checkpoint-every 100000";
/// More steps than anybody waits for.
const LONG: &str = " --control-epochs 100000";
const SHORT: &str = " --control-epochs 1 --epochs 1 --policy-epochs 0";

#[test]
fn an_interrupted_run_saves_says_how_to_go_on_and_goes_on() {
    let place = Place::new("interrupted");
    let (nothing, said) = place.run(&format!("{SFT}{LONG} --resume"));
    assert!(!nothing.status.success() && said.contains("holds no run to resume"), "{said}");
    let (first, again) = (format!("{SFT}{LONG}"), format!("{SFT}{LONG} --resume"));
    let log = place.0.join("run/log.jsonl");
    for (arguments, sent) in [(&first, Signal::INT), (&again, Signal::TERM)] {
        let before = logged(&log);
        let child = place.command(arguments).spawn().unwrap();
        wait_until(|| logged(&log) >= before + 5);
        signal(&child, sent);
        let (code, said) = ended(child);
        assert_eq!(code, Some(130), "{said}");
        // It was resumed already the second time: the same command goes on.
        let how =
            if sent == Signal::INT { "the same command with --resume goes on" } else { "the same command goes on" };
        assert!(said.contains(&format!("interrupted; what is done is kept: {how}")), "{said}");
        // Nothing but steps was logged, and each of them is in the checkpoint.
        let steps = logged(&log);
        let (stopped, said) = place.run(&format!("{again} --stop-after 3"));
        assert!(stopped.status.success(), "{said}");
        assert!(said.contains(&format!("resumed: stage control, step {steps} of ")), "{steps}: {said}");
        assert_eq!(logged(&log), steps + 3);
    }
}

#[test]
fn a_second_signal_ends_at_once_and_a_command_that_judges_ends_too() {
    let place = Place::new("twice");
    let (made, said) = place.run(&format!("{SFT}{SHORT}"));
    assert!(made.status.success() && said.contains("cross-entropy: backbone"), "{said}");
    // The command says that it runs, and judges nothing.
    let judge = "touch judging; cat > /dev/null; touch ended";
    let arguments =
        "accuracy -m model.gguf --data valid.jsonl --train train.jsonl --plugin run/plugin.safetensors -t 1";
    let child = place.command(arguments).arg("--answer").arg(format!("command:{judge}")).spawn().unwrap();
    wait_until(|| place.0.join("judging").exists());
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    signal(&child, Signal::INT);
    let (code, said) = ended(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(start.elapsed() < Duration::from_secs(10));
    wait_until(|| place.0.join("ended").exists());
}

#[test]
fn an_interrupted_table_goes_on_from_the_answers_that_it_has() {
    let place = Place::new("table");
    let (made, said) = place.run(&format!("{SFT}{SHORT}"));
    assert!(made.status.success(), "{said}");
    let arguments = "accuracy -m model.gguf --data train.jsonl --train valid.jsonl --plugin run/plugin.safetensors -t 1 \
                     --slots 1 --tokens 64 --samples 20";
    let child = place.command(arguments).spawn().unwrap();
    let kept = || std::fs::read_dir(place.0.join("rollouts")).map_or(0, Iterator::count);
    wait_until(|| kept() > 0);
    signal(&child, Signal::INT);
    let (code, said) = ended(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the same command goes on"), "{said}");
    let (whole, said) = place.run(arguments);
    assert!(whole.status.success(), "{said}");
}

#[test]
fn samples_are_logged_and_shown_by_sft_and_lora() {
    let place = Place::new("samples");
    let lora = "lora -m model.gguf --data train.jsonl --valid valid.jsonl -o run -t 1 --epochs 1 --batch 10 --rank 2 \
                --eval-every 1";
    for (arguments, evaluations) in [(format!("{SFT}{SHORT}"), 2), (lora.to_owned(), 2)] {
        let (made, said) = place.run(&format!("{arguments} --samples 2"));
        assert!(made.status.success(), "{said}");
        let log = std::fs::read_to_string(place.0.join("run/log.jsonl")).unwrap();
        let samples: Vec<&str> = log.lines().filter(|line| line.contains("\"split\":\"sample\"")).collect();
        assert_eq!(samples.len(), 2 * evaluations, "{log}");
        assert!(samples[0].contains("\"question\":\"20 + 1?\",\"expected\":\"It is 21\""), "{}", samples[0]);
        assert!(samples[1].contains("\"question\":\"21 + 1?\""), "{}", samples[1]);
        assert_eq!(said.matches("20 + 1? -> ").count(), evaluations, "{said}");
        assert!(log.lines().last().unwrap().contains("\"split\":\"summary\""), "{log}");
        assert!(!place.0.join("run/samples.gguf").exists());
        std::fs::remove_dir_all(place.0.join("run")).unwrap();
    }
}
