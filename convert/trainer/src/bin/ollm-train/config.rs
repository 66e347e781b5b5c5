//! `--config FILE`: the settings of a command from a file.
//!
//! A key is a long flag without its dashes; its value is what the flag takes, a list where the flag
//! may be given several times. The file's settings become arguments before the command line is
//! parsed. So each command tells clap once what it takes, flags override the file, and what clap
//! refuses is refused in a file too, with its line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use ollm_train::fit::run::RECORDED;
use ollm_train::{Error, Result};
use toml::de::{DeTable, DeValue};

use crate::cli::TrainCli;

/// Flags that say what to do with a run, and are no part of what it is.
const NOT_RECORDED: [&str; 3] = ["config", "resume", "stop-after"];

/// A parsed command line, with the settings of its file.
pub(crate) struct Invocation {
    pub(crate) cli: TrainCli,
    matches: ArgMatches,
}

/// A setting of a file, as arguments.
struct Setting {
    /// The flag as clap writes it in errors.
    flag: String,
    line: usize,
    args: Vec<OsString>,
}

impl Invocation {
    /// Parses the process's arguments. What clap refuses ends the process, as do `--help` and
    /// `--version`.
    pub(crate) fn parse() -> Result<Self> {
        Ok(Self::of(std::env::args_os().collect())?.unwrap_or_else(|error| error.exit()))
    }

    /// What clap refuses in the file is our error, with its line; what it refuses in the arguments
    /// is clap's.
    fn of(mut args: Vec<OsString>) -> Result<clap::error::Result<Self>> {
        let Some((path, given)) = config_of(&args) else { return Ok(Self::new(&args)) };
        let settings = read(&path, &given)?;
        let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
        args.splice(end..end, settings.iter().flat_map(|setting| setting.args.iter().cloned()));
        let parsed = Self::new(&args);
        let blamed = parsed.as_ref().err().and_then(|error| Some((error, settings.iter().find(|s| blames(error, s))?)));
        match blamed {
            Some((error, &Setting { line, .. })) => Err(Error::Line { path, line, reason: first_line(error) }),
            None => Ok(parsed),
        }
    }

    fn new(args: &[OsString]) -> clap::error::Result<Self> {
        let matches = TrainCli::command().try_get_matches_from(args)?;
        Ok(Self { cli: TrainCli::from_arg_matches(&matches)?, matches })
    }

    /// All settings in effect, as a file that `--config` reads.
    pub(crate) fn settings(&self) -> Result<String> {
        let (name, matches) = self.matches.subcommand().expect("clap requires a command");
        let mut lines = vec![format!("{RECORDED}: ollm-train {name} --config THIS-FILE repeats it.\n")];
        for arg in flags(&command(name)) {
            if let Some(values) = matches.get_raw(arg.get_id().as_str()) {
                let values: Vec<String> = values.map(|value| literal(&arg, value.to_str())).collect::<Result<_>>()?;
                let value = if is_list(&arg) { format!("[{}]", values.join(", ")) } else { values.concat() };
                lines.push(format!("{} = {value}\n", long(&arg)));
            }
        }
        Ok(lines.concat())
    }
}

/// The file that the arguments name, and what they say themselves.
fn config_of(args: &[OsString]) -> Option<(PathBuf, ArgMatches)> {
    // What the file has yet to say is missing here.
    let matches = TrainCli::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    let path = matches.subcommand()?.1.get_one::<PathBuf>("config")?.clone();
    Some((path, matches))
}

fn command(name: &str) -> Command {
    let mut all = TrainCli::command();
    // Only then do flags know how they are written.
    all.build();
    all.find_subcommand(name).expect("a command that was parsed").clone()
}

/// The flags that a file may set.
fn flags(command: &Command) -> Vec<Arg> {
    let settable = |arg: &&Arg| arg.get_long().is_some_and(|long| !NOT_RECORDED.contains(&long) && long != "help");
    command.get_arguments().filter(settable).cloned().collect()
}

fn long(arg: &Arg) -> &str {
    arg.get_long().expect("flags have a long form")
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The settings of the file that were not given as flags.
fn read(path: &Path, given: &ArgMatches) -> Result<Vec<Setting>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let refuse = |at: usize, reason: String| Error::Line { path: path.to_owned(), line: line_of(&text, at), reason };
    let parsed = DeTable::parse(&text)
        .map_err(|error| refuse(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    let (name, matches) = given.subcommand().expect("a config belongs to a command");
    let flags = flags(&command(name));
    let mut settings = Vec::new();
    for (key, value) in parsed.get_ref() {
        let at = key.span().start;
        let arg = flags.iter().find(|arg| long(arg) == key.get_ref());
        let arg = arg.ok_or_else(|| {
            refuse(at, format!("{:?} is no setting of {name}: `ollm-train {name} --help` lists them", key.get_ref()))
        })?;
        let texts = texts(value.get_ref()).map_err(|reason| refuse(at, format!("{}: {reason}", key.get_ref())))?;
        if matches.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine) {
            settings.push(Setting { flag: arg.to_string(), line: line_of(&text, at), args: arguments(arg, &texts) });
        }
    }
    settings.sort_by_key(|setting| setting.line);
    Ok(settings)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The values as they would be typed.
fn texts(value: &DeValue<'_>) -> std::result::Result<Vec<String>, &'static str> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(list) if list.iter().all(|value| !matches!(value.get_ref(), DeValue::Array(_))) => {
            let texts = list.iter().map(|value| texts(value.get_ref())).collect::<std::result::Result<Vec<_>, _>>()?;
            return Ok(texts.concat());
        }
        _ => return Err("the value must be text, a decimal number, true, false, or a list of such"),
    };
    Ok(vec![text])
}

/// `--flag=value` for each value; a flag without values is there or is not.
fn arguments(arg: &Arg, texts: &[String]) -> Vec<OsString> {
    let flag = format!("--{}", long(arg));
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        // Anything but true and false goes to clap, which refuses it.
        return texts
            .iter()
            .filter(|text| *text != "false")
            .map(|text| match text.as_str() {
                "true" => flag.clone().into(),
                other => format!("{flag}={other}").into(),
            })
            .collect();
    }
    texts.iter().map(|text| format!("{flag}={text}").into()).collect()
}

/// Whether clap's error is about that setting.
fn blames(error: &clap::Error, setting: &Setting) -> bool {
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(flag)) if *flag == setting.flag)
}

/// What clap says, without the usage that follows.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// A value in TOML: numbers, true and false as they are, all else as text.
fn literal(arg: &Arg, text: Option<&str>) -> Result<String> {
    let refused = || Error::Setting { name: "--config", reason: format!("cannot record {arg}: it is not UTF-8") };
    let text = text.ok_or_else(refused)?;
    let bare = DeValue::parse(text).is_ok_and(|value| match value.get_ref() {
        DeValue::Integer(number) => number.radix() == 10 && number.as_str() == text,
        DeValue::Float(number) => number.as_str() == text,
        DeValue::Boolean(_) => true,
        _ => false,
    });
    Ok(if bare { text.to_owned() } else { toml::Value::from(text).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::TrainCommand;
    use crate::sft::SftArgs;

    /// `ollm-train` with these arguments and a file of this text.
    fn parse(name: &str, text: &str, args: &[&str]) -> Result<Invocation> {
        let path = std::env::temp_dir().join(format!("ollm-config-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let config: [OsString; 2] = ["--config".into(), path.clone().into()];
        let args = ["ollm-train"].iter().chain(args).map(OsString::from).chain(config);
        let parsed = Invocation::of(args.collect());
        std::fs::remove_file(path).unwrap();
        parsed.map(|parsed| parsed.unwrap())
    }

    fn sft(invocation: &Invocation) -> &SftArgs {
        match &invocation.cli.command {
            TrainCommand::Sft(args) => args,
            other => panic!("{other:?}"),
        }
    }

    const FILE: &str = "# A run.\nmodel = \"m.gguf\"\ndata = [\"a.jsonl\", \"b.jsonl\"]\noutput = \"run\"\nlr = 3e-4\n\
        hold = \"line\"\nbatch = 512\n";

    #[test]
    fn a_file_sets_what_flags_do_not() {
        let parsed = parse("sets", FILE, &["sft", "--batch", "64"]).unwrap();
        let args = sft(&parsed);
        assert_eq!(args.input.data, [Path::new("a.jsonl"), Path::new("b.jsonl")]);
        assert_eq!((args.batch, args.options, args.run.output.as_path()), (64, 10, Path::new("run")));
        assert!((args.lr - 3e-4).abs() < 1e-12);
        // A list on the command line replaces the file's.
        let parsed = parse("replaces", FILE, &["sft", "--data", "c.jsonl"]).unwrap();
        assert_eq!(sft(&parsed).input.data, [Path::new("c.jsonl")]);
        let parsed = parse("eval", "json = true\nmodel = \"m\"\ndata = \"d\"\n", &["eval", "--run", "r"]).unwrap();
        assert!(matches!(&parsed.cli.command, TrainCommand::Eval(args) if args.json));
    }

    #[test]
    fn what_a_run_records_repeats_it() {
        let odd = "lr = 0.1\nmodel = \"12\"\ndata = [\"a \\\"b\\\"\\n\", \"true\"]\noutput = \"r\"\nvalid = \"v\"\npatience = 3\n";
        let first = parse("first", odd, &["sft", "--resume", "--seed", "7"]).unwrap();
        let text = first.settings().unwrap();
        let second = parse("second", &text, &["sft"]).unwrap();
        assert_eq!(second.settings().unwrap(), text);
        let recorded = |args: &SftArgs| format!("{:?}", (&args.input, &args.run.output, args.settings(), args.pace()));
        assert_eq!(recorded(sft(&second)), recorded(sft(&first)));
        assert!(!sft(&second).run.resume);
        for line in ["seed = 7", "patience = 3", "batch = 256", "hold = \"token\"", "checkpoint-every = 250"] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_refused_with_its_line() {
        for (wrong, line, reason) in [
            ("batches = 3", 8, "is no setting of sft"),
            ("resume = true", 8, "is no setting of sft"),
            ("\nseed = \"x\"", 9, "invalid value"),
            ("decoder = \"block\"", 8, "invalid value"),
            ("seed = [1, 2]", 8, "multiple times"),
            ("seed = 0x10", 8, "decimal number"),
            ("seed = {a = 1}", 8, "must be text"),
            ("[sft]", 8, "is no setting of sft"),
            ("seed = ", 8, ""),
            ("lr = 1", 8, "duplicate"),
        ] {
            match parse("wrong", &format!("{FILE}{wrong}\n"), &["sft"]).err() {
                Some(Error::Line { line: found, reason: why, .. }) => {
                    assert!(found == line && why.contains(reason), "{wrong}: {found}: {why}");
                }
                other => panic!("{wrong}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let args = ["ollm-train", "--config", "no-such.toml", "sft"].map(OsString::from).to_vec();
        assert!(matches!(Invocation::of(args), Err(Error::Io { .. })));
    }
}
