//! `search`: branches of a text, and the best of them. On a terminal they can be watched as they
//! grow, each in the colour of its latent.

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ollm_runtime::branches::{
    Branch, BranchEnd, BranchOptions, Branches, Expansion, Found, Score, SearchOptions, Strategy, Weight, search,
};
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, TokenEnds};
use serde_json::{Value, json};

use crate::args::{BranchArgs, MachineArgs, SearchArgs, SelectArgs, StopArgs};
use crate::engine::Engine;
use crate::failure::{Failure, Result};
use crate::generate::{Timing, is_reported, report};
use crate::output::{Output, Paint, count, number};
use crate::sampling::SampleArgs;

/// Branches that are without a plugin, and that a beam keeps.
const BRANCHES: usize = 10;
const BEAM: usize = 4;

/// The temperature of samples where none above 0 is given.
const TEMPERATURE: f32 = 0.8;

/// Branches that are watched at once; of more those that are gone are not printed.
const SHOWN: usize = 24;

pub(crate) fn run(machine: &MachineArgs, args: &SearchArgs) -> Result<()> {
    machine.model()?;
    args.sample.check()?;
    let text = args.prompt.read()?;
    let grammar = args.constrain.read()?;
    let mut engine = Engine::load(machine)?;
    engine.constrain(grammar.as_ref())?;
    let flags = SearchFlags { branch: &args.branch, select: &args.select, sample: &args.sample, stop: &args.stop };
    let options = flags.options(&engine, args.strategy)?;
    let tokens = args.prompt.fed(&engine, text, None)?.tokens;
    let start = Instant::now();
    let prefill = Timing { tokens: engine.feed(&tokens)?, time: start.elapsed() };
    let (branches, found, decode) = watched(&engine, &options)?;
    let mut output = Output::new();
    if machine.json {
        output.json(&document(&branches, &found, &options))?;
    } else {
        print(&mut output, &branches, &found, &options)?;
    }
    if is_reported(machine) {
        report(&engine, prefill, decode);
    }
    Ok(())
}

/// The flags that a search is made of.
pub(crate) struct SearchFlags<'a> {
    pub(crate) branch: &'a BranchArgs,
    pub(crate) select: &'a SelectArgs,
    pub(crate) sample: &'a SampleArgs,
    pub(crate) stop: &'a StopArgs,
}

/// How branches are made where not all of it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BranchDefaults {
    pub(crate) expansion: Expansion,
    pub(crate) width: usize,
    pub(crate) hold: Hold,
}

impl BranchDefaults {
    /// What is given, and what follows from the plugin for the rest.
    pub(crate) fn new(
        strategy: Strategy,
        branches: Option<usize>,
        expand: Option<Expansion>,
        hold: Option<Hold>,
        plugin: Option<&Plugin>,
        temperature: f32,
    ) -> Self {
        let is_beam = strategy == Strategy::Beam;
        let temperature = if temperature > 0.0 { temperature } else { TEMPERATURE };
        let samples = Expansion::Sample { count: branches.unwrap_or(BRANCHES), temperature };
        let options = plugin.map_or(0, Plugin::option_count);
        let trained = plugin.map_or(Hold::All, |plugin| plugin.spec().hold);
        Self {
            expansion: expand.unwrap_or(if plugin.is_some() { Expansion::Latents } else { samples }),
            width: match branches {
                Some(count) => count,
                None if is_beam => BEAM,
                None => expand.map_or(BRANCHES, |expansion| expansion.count(options).max(1)),
            },
            // A beam without a boundary before the end would be best of N.
            hold: hold.unwrap_or(if is_beam && trained == Hold::All { Hold::Line } else { trained }),
        }
    }
}

impl SearchFlags<'_> {
    /// The search that the flags ask for.
    pub(crate) fn options(&self, engine: &Engine, strategy: Strategy) -> Result<SearchOptions> {
        let Self { branch, select, sample, stop } = self;
        let (plugin, is_beam) = (engine.session.plugin(), strategy == Strategy::Beam);
        let score = branch.score.clone().unwrap_or_default();
        let weight = branch.weight.unwrap_or_default();
        if plugin.is_none() {
            let needs = [
                ("--latent", select.latent.is_some()),
                ("--hold", select.hold.is_some() && !is_beam),
                ("--score policy", matches!(score, Score::Policy)),
                ("--weight policy", weight == Weight::Policy),
            ];
            if let Some((flag, _)) = needs.into_iter().find(|(_, given)| *given) {
                return Err(Failure::NoPlugin { flag });
            }
        }
        let plugin = plugin.map(|plugin| &**plugin);
        let sampling = sample.sampler(&engine.tokenizer)?.options().clone();
        if let Some(given @ Expansion::Sample { temperature, .. }) = branch.expand
            && ![0.0, temperature].contains(&sampling.temperature)
        {
            return Err(Failure::Usage(format!(
                "--temperature has no effect: --expand {given} has a temperature of its own"
            )));
        }
        let BranchDefaults { expansion, width, hold } =
            BranchDefaults::new(strategy, branch.branches, branch.expand, select.hold, plugin, sampling.temperature);
        if select.latent.is_some() && expansion.needs_plugin() && (is_beam || hold == Hold::All) {
            return Err(Failure::Usage(format!(
                "--latent has no effect: --expand {expansion} gives each branch its latent until the next expansion"
            )));
        }
        Ok(SearchOptions {
            strategy,
            expansion,
            width,
            score,
            weight,
            answer: branch.answer.clone().unwrap_or_default(),
            branches: BranchOptions {
                latents: plugin.map(|_| select.mode().unwrap_or(LatentMode::Policy)),
                hold: HoldUntil::new(hold, TokenEnds::new(&engine.tokenizer)),
                sampling,
                stops: stop.stop.clone(),
                limit: stop.limit,
            },
        })
    }
}

/// Searches; on a terminal the branches are shown as they grow, elsewhere a line now and then.
pub(crate) fn watched(engine: &Engine, options: &SearchOptions) -> Result<(Branches, Found, Timing)> {
    let mut watch = io::stderr().is_terminal().then(Watch::new);
    let (start, mut told) = (Instant::now(), Instant::now());
    let found = search(&engine.session, &engine.tokenizer, options, &mut |branches| {
        match &mut watch {
            Some(watch) => watch.show(branches),
            None if told.elapsed() >= TOLD_EVERY => {
                told = Instant::now();
                tell(branches);
            }
            None => {}
        }
        ControlFlow::Continue(())
    });
    if let Some(watch) = watch {
        watch.end();
    }
    let (branches, found) = found?;
    let decode = Timing { tokens: branches.generated(), time: start.elapsed() };
    Ok((branches, found, decode))
}

/// How often a search tells how far it is, where nobody can watch it.
const TOLD_EVERY: Duration = Duration::from_secs(30);

fn tell(branches: &Branches) {
    let open = branches.open().count();
    let line = format!("search: {}, {open} of {} branches are open\n", tokens(branches), branches.all().len());
    // Nobody can be told that standard error is closed.
    let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
}

/// A line for each branch, on standard error.
struct Watch {
    lines: MultiProgress,
    bars: Vec<ProgressBar>,
    paint: Paint,
}

impl Watch {
    fn new() -> Self {
        Self { lines: MultiProgress::new(), bars: Vec::new(), paint: Paint::for_terminal(true) }
    }

    fn show(&mut self, branches: &Branches) {
        let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let shown = shown(branches.all());
        while self.bars.len() < shown.len() {
            self.bars.push(self.lines.add(ProgressBar::new_spinner().with_style(style.clone())));
        }
        for (index, bar) in shown.into_iter().zip(&self.bars) {
            let branch = &branches.all()[index];
            let tail: String = {
                let text = branch.text.replace('\n', "⏎");
                let skipped = text.chars().count().saturating_sub(90);
                text.chars().skip(skipped).collect()
            };
            bar.set_message(format!("{} {}", label(self.paint, index, branch), colour(self.paint, branch, &tail)));
        }
    }

    fn end(self) {
        self.bars.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// The branches that are shown, in their order: all, or of many those that are open, before those
/// that are complete, before the others.
fn shown(all: &[Branch]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..all.len()).collect();
    indices.sort_by_key(|&index| (!all[index].is_open(), !all[index].is_complete()));
    indices.truncate(SHOWN);
    indices.sort_unstable();
    indices
}

/// The latent that a branch began with; a token that a grammar forces has none.
fn latent(branch: &Branch) -> Option<usize> {
    branch.latents.iter().copied().flatten().next()
}

fn colour(paint: Paint, branch: &Branch, text: &str) -> String {
    match &branch.end {
        Some(BranchEnd::Pruned | BranchEnd::Merged(_)) => paint.dim(text),
        _ => latent(branch).map_or_else(|| text.to_owned(), |latent| paint.latent(latent, text)),
    }
}

/// `z3` or `#3`, and how the branch ended.
fn label(paint: Paint, index: usize, branch: &Branch) -> String {
    let name = latent(branch).map_or_else(|| format!("#{index}"), |latent| format!("z{latent}"));
    let end = match &branch.end {
        None => "…".to_owned(),
        Some(BranchEnd::Merged(into)) => format!("= {into}"),
        Some(end) => end.name().to_owned(),
    };
    let name = format!("{name:<4}");
    let name = latent(branch).map_or_else(|| name.clone(), |latent| paint.chosen(latent, &name));
    format!("{} {name} {}", paint.dim(&format!("{index:>3}")), paint.dim(&format!("{end:<7}")))
}

fn print(output: &mut Output, branches: &Branches, found: &Found, options: &SearchOptions) -> Result<()> {
    let paint = output.paint;
    output.line(&paint.dim("  id  z    end     answer       text"))?;
    let (all, mut hidden) = (branches.all(), 0);
    for (index, branch) in all.iter().enumerate() {
        let is_gone = matches!(branch.end, Some(BranchEnd::Pruned | BranchEnd::Merged(_)));
        // Of a beam that are thousands.
        if all.len() > SHOWN && is_gone && index != found.branch {
            hidden += 1;
            continue;
        }
        let merged = matches!(branch.end, Some(BranchEnd::Merged(_)));
        let answer = options.answer.extract(&branch.text).filter(|_| branch.is_complete());
        let answer = answer.filter(|answer| answer.chars().count() <= 12).unwrap_or_default();
        let text = if merged { String::new() } else { branch.text.trim().replace('\n', "⏎") };
        let marked = if index == found.branch { paint.bold("*") } else { " ".to_owned() };
        let row = format!("{marked}{} {answer:<12} {}", label(paint, index, branch), colour(paint, branch, &text));
        output.line(row.trim_end())?;
    }
    if hidden > 0 {
        output.line(&paint.dim(&format!("     and {hidden} more, pruned or merged (--json has all)")))?;
    }
    output.line("")?;
    print_best(output, branches, found, options)
}

/// What a search found, alone.
pub(crate) fn show(
    output: &mut Output,
    branches: &Branches,
    found: &Found,
    options: &SearchOptions,
    json: bool,
) -> Result<()> {
    if json { output.json(&document(branches, found, options)) } else { print_best(output, branches, found, options) }
}

/// The best text, its answer, and how sure that is.
fn print_best(output: &mut Output, branches: &Branches, found: &Found, options: &SearchOptions) -> Result<()> {
    let (paint, best) = (output.paint, &branches.all()[found.branch]);
    output.line(&colour(paint, best, best.text.trim()))?;
    let share = format!("{:.0} % of the weight agrees", 100.0 * found.confidence);
    let agree = match &found.answer {
        None => format!("{} by the rule {}", paint.bold("no answer"), options.answer),
        Some(answer) if answer == best.text.trim() => share,
        Some(answer) => format!("{}, {share}", paint.bold(&format!("answer {answer}"))),
    };
    let passes = format!("{} pass{}", branches.passes(), if branches.passes() == 1 { "" } else { "es" });
    let work = format!("{}, {}", passes, tokens(branches));
    output.line(&format!("\n{agree} · {}", paint.dim(&work)))
}

fn tokens(branches: &Branches) -> String {
    count(branches.generated(), "token")
}

/// A search as a document: what was found, and every branch.
pub(crate) fn document(branches: &Branches, found: &Found, options: &SearchOptions) -> Value {
    let one = |(index, branch): (usize, &Branch)| {
        let mut json = json!({
            "id": index,
            "parent": branch.parent,
            "fork": branch.fork,
            "latents": branch.latents,
            "tokens": branch.tokens,
            "text": branch.text,
            "answer": options.answer.extract(&branch.text).filter(|_| branch.is_complete()),
            "policy": number(branch.policy as f32),
            "logprob": number(branch.logprob as f32),
            "value": branch.value.map(number),
            "score": number(options.score.of(branch) as f32),
            "weight": number(options.weight.of(branch) as f32),
            "end": branch.end.as_ref().map(BranchEnd::name),
        });
        match &branch.end {
            Some(BranchEnd::Merged(into)) => json["merged_into"] = (*into).into(),
            Some(BranchEnd::Failed(error)) => json["error"] = error.to_string().into(),
            _ => {}
        }
        json
    };
    json!({
        "text": branches.all()[found.branch].text,
        "answer": found.answer,
        "confidence": number(found.confidence as f32),
        "branch": found.branch,
        "branches": branches.all().iter().enumerate().map(one).collect::<Vec<_>>(),
        "passes": branches.passes(),
        "generated": branches.generated(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_branches_those_are_shown_that_matter_most() {
        let branch = |end: Option<BranchEnd>| Branch { end, ..Branch::default() };
        let mut all = vec![branch(Some(BranchEnd::Pruned)); SHOWN];
        assert_eq!(shown(&all), (0..SHOWN).collect::<Vec<_>>());
        all.extend([branch(Some(BranchEnd::End)), branch(Some(BranchEnd::Pruned)), branch(None)]);
        let expected: Vec<usize> = (0..SHOWN - 2).chain([SHOWN, SHOWN + 2]).collect();
        assert_eq!(shown(&all), expected);
    }
}
