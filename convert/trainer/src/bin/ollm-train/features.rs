//! `features`: hidden states of the backbone, cached.

use std::path::PathBuf;

use clap::Args;
use ollm_train::Result;

use crate::args::InputArgs;
use crate::output::print;
use crate::prepare::{Workplace, print_left_out};

#[derive(Debug, Args)]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Folder of the caches
    #[arg(short, long, value_name = "FOLDER", default_value = "features")]
    pub(crate) output: PathBuf,
}

pub(crate) fn run(args: &FeaturesArgs) -> Result<()> {
    let backbone = args.input.backbone()?;
    let place = Workplace::new(&backbone, &args.output, &args.input)?;
    let corpus = args.input.read(&args.input.data)?;
    let bounds = place.shards(corpus.first(args.input.limit))?.bounds();
    let (problems, tokens) = (bounds.len() - 1, bounds[bounds.len() - 1]);
    if tokens == 0 {
        return Err(corpus.no_data());
    }
    let left_out = bounds.windows(2).filter(|problem| problem[0] == problem[1]).count();
    print_left_out(left_out, problems, &backbone);
    print(format_args!("{problems} problems, {tokens} answer tokens in {}\n", args.output.display()))
}
