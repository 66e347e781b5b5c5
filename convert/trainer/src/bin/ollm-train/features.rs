//! `features`: hidden states of the backbone, cached.

use std::path::PathBuf;

use clap::Args;
use ollm_train::Result;

use crate::args::InputArgs;
use crate::output::print;
use crate::prepare::Workplace;

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
    print(format_args!("{problems} problems, {tokens} answer tokens in {}\n", args.output.display()))
}
