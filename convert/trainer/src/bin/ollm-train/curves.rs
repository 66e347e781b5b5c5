//! `curves`: runs of `rl` beside each other.

use std::path::PathBuf;

use clap::Args;
use ollm_train::Result;
use ollm_train::report::curves::{CurveRuns, draw, log_of};

use crate::args::named_file;
use crate::output::print;
use crate::prepare::check_output;

#[derive(Debug, Args)]
pub(crate) struct CurvesArgs {
    /// A run of `rl`, and the name of its curve; runs of one name are one curve
    #[arg(value_name = "NAME=RUN", required = true, value_parser = named_file)]
    pub(crate) runs: Vec<(String, PathBuf)>,
    /// What is drawn of each evaluation: reward, right, tokens, degenerate, kl, ..
    #[arg(long, value_name = "NAME", default_value = "reward")]
    pub(crate) field: String,
    /// The picture, an SVG file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

pub(crate) fn run(args: &CurvesArgs) -> Result<()> {
    let logs: Vec<PathBuf> = args.runs.iter().map(|(_, path)| log_of(path)).collect();
    check_output("--output", &args.output, &logs.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let mut curves: Vec<CurveRuns> = Vec::new();
    for (name, path) in &args.runs {
        match curves.iter_mut().find(|curve| curve.name == *name) {
            Some(curve) => curve.logs.push(path.clone()),
            None => curves.push(CurveRuns { name: name.clone(), logs: vec![path.clone()] }),
        }
    }
    draw(&args.output, &args.field, &curves)?;
    print(format_args!("{} curves in {}\n", curves.len(), args.output.display()))
}
