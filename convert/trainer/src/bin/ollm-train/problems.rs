//! `problems`: data files of generated problems.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use ollm_train::Result;
use ollm_train::data::corpus::Corpus;
use ollm_train::data::format::Fields;
use ollm_train::data::problems::{Generator, Kind, ProblemRequest, Span, WayMix, json_lines, tally};
use ollm_train::data::tensor_file::write_atomically;

use crate::args::count;
use crate::output::print;
use crate::prepare::check_output;

#[derive(Debug, Args)]
pub(crate) struct ProblemsArgs {
    /// What they are about: arithmetic, countdown, sort or dates
    #[arg(long)]
    pub(crate) kind: Kind,
    /// How many
    #[arg(short = 'n', long, value_name = "N", value_parser = count)]
    pub(crate) count: usize,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The data file, which is replaced where it exists
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Ways of answering with their weights, as in once:2,steps:1,parts:1 (the default for
    /// arithmetic). Every kind has once (the number alone) and steps (one operation a line);
    /// arithmetic parts (hundreds, tens, ones), countdown backwards, sort halves, dates yearday
    #[arg(long, value_name = "MIX")]
    pub(crate) ways: Option<WayMix>,
    /// Numbers of a problem, as in 2..4 (the default for arithmetic; 4..6 for sort)
    #[arg(long, value_name = "A..B")]
    pub(crate) operands: Option<Span>,
    /// Digits of a number, as in 1..3 (the default for arithmetic; 1..2 for sort)
    #[arg(long, value_name = "A..B")]
    pub(crate) digits: Option<Span>,
    /// Take no question of this data file (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude: Vec<PathBuf>,
}

pub(crate) fn run(args: &ProblemsArgs) -> Result<()> {
    let &ProblemsArgs { kind, seed, operands, digits, .. } = args;
    let generator = Generator::new(&ProblemRequest { kind, seed, ways: args.ways.clone(), operands, digits })?;
    let inputs: Vec<&Path> = args.exclude.iter().map(PathBuf::as_path).collect();
    check_output("--output", &args.output, &inputs)?;
    let problems = generator.problems(args.count, &questions(&args.exclude)?)?;
    write_atomically(&args.output, json_lines(&problems).as_bytes())?;
    let ways: Vec<String> = tally(&problems).iter().map(|(way, count)| format!("{count} {way}")).collect();
    print(format_args!("{} problems ({}) in {}\n", problems.len(), ways.join(", "), args.output.display()))
}

/// The questions of data files.
fn questions(paths: &[PathBuf]) -> Result<HashSet<String>> {
    if paths.is_empty() {
        return Ok(HashSet::new());
    }
    Ok(Corpus::read(paths, &Fields::default())?.problems.into_iter().map(|problem| problem.question).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ollm_train::Error;

    /// A folder that is removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ollm-problems-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn args(count: usize, output: PathBuf) -> ProblemsArgs {
        let (ways, digits) = (None, Some("1".parse().unwrap()));
        let operands = Some("2".parse().unwrap());
        ProblemsArgs { kind: Kind::Arithmetic, count, seed: 0, output, ways, operands, digits, exclude: Vec::new() }
    }

    #[test]
    fn files_are_data_files_and_share_no_question() {
        let folder = Folder::new("disjoint");
        let [train, test] = ["train.jsonl", "test.jsonl"].map(|name| folder.0.join(name));
        std::fs::write(&train, "replaced").unwrap();
        run(&args(100, train.clone())).unwrap();
        let rest = ProblemsArgs { exclude: vec![train.clone()], ..args(26, test.clone()) };
        run(&rest).unwrap();
        let corpus = Corpus::read(&[train.clone(), test.clone()], &Fields::default()).unwrap();
        let questions: HashSet<&str> = corpus.problems.iter().map(|problem| problem.question.as_str()).collect();
        // All sums of two digits from 1 to 9, and their differences that are not negative.
        assert_eq!(questions.len(), 9 * 9 + 9 * 10 / 2);
        let line = std::fs::read_to_string(&test).unwrap().lines().next().unwrap().to_owned();
        assert!(line.starts_with("{\"question\":\"What is ") && line.ends_with(",\"kind\":\"arithmetic\"}"), "{line}");

        // Not one more is there, and nothing is written.
        std::fs::remove_file(&test).unwrap();
        let refused = run(&ProblemsArgs { count: 27, ..rest });
        assert!(matches!(refused, Err(Error::NoNewQuestion { found: 26, wanted: 27, .. })), "{refused:?}");
        assert!(!test.exists());
        let over = ProblemsArgs { exclude: vec![train.clone()], ..args(5, train) };
        assert!(matches!(run(&over), Err(Error::Setting { name: "--output", .. })));
        let missing = ProblemsArgs { exclude: vec![folder.0.join("none")], ..args(5, test) };
        assert!(matches!(run(&missing), Err(Error::Io { .. })));
    }
}
