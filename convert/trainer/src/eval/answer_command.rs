//! `command:CMD`: a program of the user's own judges the answers.
//!
//! It is started once, by the shell, and lives as long as there are answers. For each answer it
//! reads a JSON line, `{"question": "..", "expected": "..", "answer": ".."}`, and writes one,
//! `{"reward": 0..1}`; with `"final"` it says what the final answer is. Lines are written by a
//! thread of its own, so that neither side waits for the other where a pipe is full.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// How long a command may be silent before that is said.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a command may take to end when there is nothing more to read.
const FAREWELL: Duration = Duration::from_secs(5);
/// Lines of the command that wait to be read.
const WAITING: usize = 1024;

/// An answer to be judged: a line of the command's input.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AskedAnswer<'a> {
    /// The question.
    pub question: &'a str,
    /// The field `expected` of the data, or else the whole answer of the data.
    pub expected: &'a str,
    /// The answer.
    pub answer: &'a str,
}

/// What the command says of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandVerdict {
    /// What it is worth, 0 to 1.
    pub reward: f64,
    /// Its final answer: none if `final` is null; all of it if there is no `final`.
    pub final_answer: Option<String>,
}

/// A command that judges answers. Clones share one process, which begins with the first answer.
#[derive(Clone)]
pub struct AnswerCommand {
    command: String,
    process: Arc<Mutex<Option<Process>>>,
}

impl AnswerCommand {
    /// That command, which is not started yet.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into(), process: Arc::default() }
    }

    /// What the command says of each answer, in their order.
    ///
    /// # Errors
    /// [`Error::AnswerCommand`] if it cannot be started, ends before it has judged all of them,
    /// prints a line that is no verdict, or more lines than it was asked for. It is ended then.
    pub fn judge(&self, asked: &[AskedAnswer<'_>]) -> Result<Vec<CommandVerdict>> {
        let mut held = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process = match held.take() {
            Some(process) => process,
            None => {
                Process::start(&self.command).map_err(|error| self.error(1, format!("cannot start it: {error}")))?
            }
        };
        let judged = process.judge(&self.command, asked).map_err(|reason| {
            kill(&mut process.child);
            self.error(process.line, reason)
        })?;
        *held = Some(process);
        Ok(judged)
    }

    /// Ends the process, if it was started.
    ///
    /// # Errors
    /// [`Error::AnswerCommand`] if it printed more lines than it was asked for: some answers may
    /// have got the verdict of others.
    pub fn finish(&self) -> Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut process) = process else { return Ok(()) };
        process.input = None;
        let line = process.line + 1;
        match process.lines.recv_timeout(FAREWELL) {
            Ok(more) => Err(self.error(line, surplus(&more))),
            Err(_) => Ok(()),
        }
    }

    fn error(&self, line: usize, reason: String) -> Error {
        Error::AnswerCommand { command: self.command.clone(), line, reason }
    }
}

impl fmt::Debug for AnswerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnswerCommand").field(&self.command).finish()
    }
}

impl fmt::Display for AnswerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command:{}", self.command)
    }
}

/// A line of the command, or why there is none.
type Line = std::result::Result<String, String>;

/// The command at work. Dropped, its input ends, and it has a moment to end itself.
struct Process {
    child: Child,
    /// None once it has been told that there is no more.
    input: Option<ChildStdin>,
    lines: Receiver<Line>,
    /// Lines that were read; while one is awaited, its number.
    line: usize,
}

impl Process {
    fn start(command: &str) -> std::io::Result<Self> {
        let mut child = shell(command)
            // A Python program would otherwise keep its lines until it has many.
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, lines) = sync_channel(WAITING);
        if let Some(output) = output {
            thread::Builder::new().name("answer command".into()).spawn(move || forward(output, &sender))?;
        }
        Ok(Self { child, input, lines, line: 0 })
    }

    fn judge(&mut self, command: &str, asked: &[AskedAnswer<'_>]) -> std::result::Result<Vec<CommandVerdict>, String> {
        self.line += 1;
        match self.lines.try_recv() {
            Ok(more) => return Err(surplus(&more)),
            Err(TryRecvError::Disconnected) => return Err(self.ended()),
            Err(TryRecvError::Empty) => {}
        }
        self.line -= 1;
        let input = self.input.take().ok_or("its input is closed")?;
        let lines: Vec<Vec<u8>> = asked.iter().map(line).collect();
        let writer = thread::spawn(move || write(input, &lines));
        // Where this fails the writer may wait for the command, and ends with it.
        let verdicts = self.read(command, asked)?;
        // Where it could not write, the command is about to end, which the next reader sees.
        self.input = writer.join().ok().and_then(std::io::Result::ok);
        Ok(verdicts)
    }

    fn read(&mut self, command: &str, asked: &[AskedAnswer<'_>]) -> std::result::Result<Vec<CommandVerdict>, String> {
        let (mut verdicts, mut said) = (Vec::with_capacity(asked.len()), Instant::now());
        while let Some(next) = asked.get(verdicts.len()) {
            self.line += 1;
            let line = loop {
                match self.lines.recv_timeout(SILENCE.saturating_sub(said.elapsed())) {
                    Ok(line) => break line?,
                    Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                    Err(RecvTimeoutError::Timeout) => {
                        let (done, all) = (verdicts.len(), asked.len());
                        let hint = if self.line == 1 { " (it must flush its output after each line)" } else { "" };
                        let note = format!("command:{command}: {done} of {all} answers are judged{hint}");
                        let _ = writeln!(std::io::stderr(), "{note}");
                        said = Instant::now();
                    }
                }
            };
            verdicts.push(verdict(&line, next.answer)?);
        }
        Ok(verdicts)
    }

    /// How it ended, where it should not have.
    fn ended(&mut self) -> String {
        match wait(&mut self.child) {
            Some(status) => format!("it ended ({status}) before it had judged all answers"),
            None => "it closed its output before it had judged all answers".into(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        if wait(&mut self.child).is_none() {
            kill(&mut self.child);
        }
    }
}

/// Ends the shell and what it has started.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits a moment for the end of a child.
fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < FAREWELL => thread::sleep(Duration::from_millis(5)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// The command in a shell of its own process group: what interrupts us from a terminal does not
/// interrupt it, and we end it in our own time.
#[cfg(unix)]
fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).process_group(0);
    shell
}

/// As on Unix; `CREATE_NEW_PROCESS_GROUP` is 0x200.
#[cfg(windows)]
fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt as _;
    let mut shell = Command::new("cmd");
    shell.arg("/C").raw_arg(command).creation_flags(0x0000_0200);
    shell
}

/// A line of the command's input.
fn line(asked: &AskedAnswer<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(asked).expect("three texts");
    line.push(b'\n');
    line
}

/// Writes lines, and gives the input back.
fn write(mut input: ChildStdin, lines: &[Vec<u8>]) -> std::io::Result<ChildStdin> {
    lines.iter().try_for_each(|line| input.write_all(line))?;
    Ok(input)
}

/// Hands on the command's lines until it ends, or nobody reads them.
fn forward(output: ChildStdout, lines: &SyncSender<Line>) {
    for line in BufReader::new(output).lines() {
        if lines.send(line.map_err(|error| format!("cannot be read: {error}"))).is_err() {
            return;
        }
    }
}

fn surplus(line: &Line) -> String {
    let shown = line.as_deref().map_or(String::new(), |line| format!(": {}", shortened(line)));
    format!("it printed more lines than it was given{shown}")
}

/// The verdict of a line.
fn verdict(line: &str, answer: &str) -> std::result::Result<CommandVerdict, String> {
    let refuse = |reason: &str| format!("{} {reason}", shortened(line));
    let object: Value = serde_json::from_str(line).map_err(|error| refuse(&format!("is no JSON: {error}")))?;
    let reward = object.get("reward").and_then(Value::as_f64).ok_or_else(|| refuse("has no number \"reward\""))?;
    if !(0.0..=1.0).contains(&reward) {
        return Err(refuse("has a \"reward\" that is not within 0 and 1"));
    }
    let final_answer = match object.get("final") {
        None => Some(answer.to_owned()),
        Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err(refuse("has a \"final\" that is neither text, a number nor null")),
    };
    Ok(CommandVerdict { reward, final_answer })
}

/// A line as an error shows it.
fn shortened(line: &str) -> String {
    const SHOWN: usize = 80;
    let start: String = line.chars().take(SHOWN).collect();
    format!("{start:?}{}", if start.len() < line.len() { ".." } else { "" })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn asked(answer: &str) -> AskedAnswer<'_> {
        AskedAnswer { question: "q", expected: "e", answer }
    }

    fn refusal(command: &str, answers: usize) -> (usize, String) {
        match AnswerCommand::new(command).judge(&vec![asked("a"); answers]) {
            Err(error @ Error::AnswerCommand { line, .. }) => (line, error.to_string()),
            other => panic!("{command}: {other:?}"),
        }
    }

    #[test]
    fn verdicts_come_in_the_order_of_the_answers_from_one_process() {
        // Each line's reward is its number, so that a second process would begin again.
        let command = AnswerCommand::new("i=0; while read line; do i=$((i+1)); echo \"{\\\"reward\\\": 0.0$i}\"; done");
        let rewards = |answers: &[AskedAnswer<'_>]| -> Vec<f64> {
            command.judge(answers).unwrap().iter().map(|verdict| verdict.reward).collect()
        };
        assert_eq!(rewards(&[asked("a"), asked("b")]), [0.01, 0.02]);
        assert_eq!(rewards(&[]), [0.0; 0]);
        assert_eq!(rewards(&[asked("c")]), [0.03]);
        command.finish().unwrap();
        command.finish().unwrap();
    }

    #[test]
    fn the_command_reads_what_was_asked_and_may_name_the_final_answer() {
        let command = AnswerCommand::new(
            "IFS= read -r line; printf '%s\\n' \"{\\\"reward\\\": 1, \\\"final\\\": ${line#*\\\"answer\\\":}\"; \
             read line; echo '{\"reward\": 0, \"final\": null}'; read line; echo '{\"reward\": 0.5}'",
        );
        let verdicts = command.judge(&[asked("a \"b\"\n"), asked("x"), asked("whole")]).unwrap();
        let finals: Vec<Option<&str>> = verdicts.iter().map(|verdict| verdict.final_answer.as_deref()).collect();
        assert_eq!(finals, [Some("a \"b\"\n"), None, Some("whole")]);
    }

    #[test]
    fn full_pipes_block_nobody() {
        let long = "long ".repeat(40_000);
        // It reads all before it writes anything.
        let late = AnswerCommand::new(
            "i=0; while [ $i -lt 40 ]; do read line; i=$((i+1)); done; \
             while [ $i -gt 0 ]; do i=$((i-1)); echo '{\"reward\": 1}'; done",
        );
        assert_eq!(late.judge(&vec![asked(&long); 40]).unwrap().len(), 40);
        // It answers what it never reads in full, with much of its own.
        let note = "x".repeat(100_000);
        let early = AnswerCommand::new(format!(
            "i=0; while [ $i -lt 40 ]; do printf '%s\\n' '{{\"reward\": 1, \"note\": \"{note}\"}}'; i=$((i+1)); done; \
             while read line; do :; done"
        ));
        assert_eq!(early.judge(&vec![asked(&long); 40]).unwrap().len(), 40);
    }

    #[test]
    fn a_command_that_does_not_judge_is_refused_with_the_line() {
        for (command, answers, line, reason) in [
            ("no-such-command-here", 1, 1, "127"),
            ("read line; exit 3", 1, 1, "exit status: 3"),
            ("read line; echo '{\"reward\": 1}'; exec 1>&-; read line; exit 0", 2, 2, "before it had judged"),
            ("read line; echo hello; cat > /dev/null", 1, 1, "\"hello\" is no JSON"),
            ("read line; echo '{\"right\": true}'; cat > /dev/null", 1, 1, "no number \"reward\""),
            ("read line; echo '{\"reward\": \"1\"}'; cat > /dev/null", 1, 1, "no number \"reward\""),
            ("read line; echo '{\"reward\": 1.5}'; cat > /dev/null", 1, 1, "within 0 and 1"),
            ("read line; echo '{\"reward\": -0.1}'; cat > /dev/null", 1, 1, "within 0 and 1"),
            ("read line; echo '{\"reward\": 1e999}'; cat > /dev/null", 1, 1, "is no JSON"),
            ("read line; echo '{\"reward\": NaN}'; cat > /dev/null", 1, 1, "is no JSON"),
            ("read line; echo '{\"reward\": 1, \"final\": []}'; cat > /dev/null", 1, 1, "\"final\""),
            ("read line; printf '\\377\\n'; cat > /dev/null", 1, 1, "UTF-8"),
            // The writer is stuck: nobody reads.
            ("read line; echo hello; sleep 100", 2000, 1, "is no JSON"),
        ] {
            let (found, says) = refusal(command, answers);
            assert!(found == line && says.contains(reason), "{command}: {found}: {says}");
            assert!(says.contains("{\"reward\": 0..1}"), "{says}");
        }
    }

    #[test]
    fn lines_that_nobody_asked_for_are_refused() {
        let twice = "while read line; do echo '{\"reward\": 1}'; echo '{\"reward\": 0}'; done";
        let command = AnswerCommand::new(twice);
        command.judge(&[asked("a")]).unwrap();
        let refused = command.finish().unwrap_err();
        assert!(matches!(refused, Error::AnswerCommand { line: 2, .. }), "{refused}");
        let command = AnswerCommand::new(twice);
        command.judge(&[asked("a")]).unwrap();
        thread::sleep(Duration::from_millis(300));
        let refused = command.judge(&[asked("b")]).unwrap_err();
        assert!(refused.to_string().contains("more lines"), "{refused}");
    }
}
