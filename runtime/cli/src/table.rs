//! Option sets as a table: what the policy thinks, what each option would say.
//!
//! A row is a group of latents that agree on the most probable next token; the row of the chosen
//! latent comes first. The bar is the policy's probability of the group, each latent's share in its
//! own colour. The tokens, with probabilities in percent, are those of the chosen latent, or else
//! of the group's most probable one.
//!
//! ```text
//! step  z    policy            latents      most probable tokens, %
//!    1  z3   ▇▇▇▇▇▇▇    71%  0-3 5 7      The 62 · In 11 · To 8
//!            ▇▇         22%  4 6          First 55 · The 21 · Let 9
//! ```

use ollm_runtime::chat::{ChatEvent, Message};
use ollm_runtime::generate::{Generated, Token};
use ollm_runtime::session::OptionView;
use ollm_runtime::tokenizer::Tokenizer;

use crate::failure::Result;
use crate::generation::TokenSink;
use crate::output::{Output, Paint, count};

/// The width of a full bar, in characters.
const BAR: usize = 10;

/// The width of the list of latents.
const LATENTS: usize = 11;

/// The longest text of a token in the table, in characters.
const LONGEST: usize = 12;

const HEADER: &str = "step  z    policy            latents      most probable tokens, %";

/// The table of option sets, and the text below it.
pub(crate) struct OptionTable<'o> {
    output: &'o mut Output,
    steps: usize,
    /// The text, painted in the colours of its latents.
    text: String,
    /// How often each latent was chosen.
    used: Vec<usize>,
}

impl<'o> OptionTable<'o> {
    pub(crate) fn new(output: &'o mut Output) -> Self {
        Self { output, steps: 0, text: String::new(), used: Vec::new() }
    }

    fn remember(&mut self, token: &Token<'_>) {
        self.steps += 1;
        self.used.resize(token.options.len().max(self.used.len()), 0);
        match token.step.latent {
            Some(latent) => {
                self.used[latent] += 1;
                self.text.push_str(&painted_lines(self.output.paint, latent, token.text));
            }
            None => self.text.push_str(token.text),
        }
    }

    /// `z3 ×12  z0 ×7`, the most used first.
    fn usage(&self) -> String {
        let mut used: Vec<(usize, usize)> = self.used.iter().copied().enumerate().filter(|&(_, n)| n > 0).collect();
        used.sort_by_key(|&(latent, n)| (std::cmp::Reverse(n), latent));
        let latent = |&(latent, n): &(usize, usize)| self.output.paint.latent(latent, &format!("z{latent} ×{n}"));
        used.iter().map(latent).collect::<Vec<_>>().join("  ")
    }
}

impl TokenSink for OptionTable<'_> {
    fn token(&mut self, tokenizer: &Tokenizer, token: &Token<'_>, _: &[ChatEvent]) -> Result<()> {
        if self.steps == 0 {
            self.output.line(&self.output.paint.dim(HEADER))?;
        }
        self.remember(token);
        let rows = Rows { paint: self.output.paint, tokenizer, token };
        for (index, group) in groups(token).iter().enumerate() {
            let label = if index == 0 { rows.label(self.steps) } else { " ".repeat(9) };
            self.output.line(&format!("{label}  {}", rows.row(group)))?;
        }
        Ok(())
    }

    fn done(&mut self, done: &Generated, _: &[ChatEvent], _: Option<&Message>) -> Result<()> {
        let total = format!("{}, {}", count(done.tokens.len(), "token"), done.reason.name());
        let parts = [self.usage(), self.output.paint.dim(&total)];
        let summary: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        self.output.line(&format!("\n{}{}\n\n{}", self.text.trim_start_matches('\n'), done.rest, summary.join("  ")))
    }
}

/// Latents that agree on the most probable token.
struct OptionGroup<'a> {
    /// The chosen latent if it is here, else the policy's favourite.
    speaker: &'a OptionView,
    members: Vec<&'a OptionView>,
}

impl<'a> OptionGroup<'a> {
    fn policy(&self) -> f32 {
        self.members.iter().map(|member| member.policy).sum()
    }

    fn holds(&self, latent: usize) -> bool {
        self.members.iter().any(|member| member.latent == latent)
    }

    fn most_probable(&self) -> Option<u32> {
        first_token(self.speaker)
    }

    fn add(&mut self, option: &'a OptionView, rank: impl Fn(&OptionView) -> (bool, f32)) {
        self.members.push(option);
        if rank(option) > rank(self.speaker) {
            self.speaker = option;
        }
    }
}

fn first_token(option: &OptionView) -> Option<u32> {
    option.top.first().map(|&(token, _)| token)
}

/// The groups of an option set: the chosen latent's first, then by what the policy gives them.
fn groups<'a>(token: &Token<'a>) -> Vec<OptionGroup<'a>> {
    let rank = |option: &OptionView| (token.step.latent == Some(option.latent), option.policy);
    let mut groups: Vec<OptionGroup<'a>> = Vec::new();
    for option in token.options {
        match groups.iter_mut().find(|group| group.most_probable() == first_token(option)) {
            Some(group) => group.add(option, rank),
            None => groups.push(OptionGroup { speaker: option, members: vec![option] }),
        }
    }
    let chosen = |group: &OptionGroup<'_>| token.step.latent.is_some_and(|latent| group.holds(latent));
    groups.sort_by(|a, b| chosen(b).cmp(&chosen(a)).then(b.policy().total_cmp(&a.policy())));
    groups
}

/// The rows of one step.
struct Rows<'a> {
    paint: Paint,
    tokenizer: &'a Tokenizer,
    token: &'a Token<'a>,
}

impl Rows<'_> {
    /// The number of the step and the chosen latent, 9 characters wide.
    fn label(&self, step: usize) -> String {
        let latent = match self.token.step.latent {
            Some(latent) => self.paint.chosen(latent, &format!("{:<3}", format!("z{latent}"))),
            None => self.paint.bold("mix"),
        };
        format!("{}  {latent}", self.paint.dim(&format!("{step:>4}")))
    }

    fn row(&self, group: &OptionGroup<'_>) -> String {
        let percent = format!("{:>4.0}%", group.policy() * 100.0);
        format!("{} {percent}  {}  {}", self.bar(group), self.latents(group), self.tokens(group))
    }

    /// Each member's share of the bar in its colour, the speaker first.
    fn bar(&self, group: &OptionGroup<'_>) -> String {
        let sign = if self.paint.is_on() { "▇" } else { "#" };
        let mut members = group.members.clone();
        members.sort_by(|a, b| b.policy.total_cmp(&a.policy));
        members.sort_by_key(|member| member.latent != group.speaker.latent);
        let shares: Vec<f32> = members.iter().map(|member| member.policy).collect();
        let cells = cells(&shares);
        let painted = members.iter().zip(&cells).map(|(member, &n)| self.paint.latent(member.latent, &sign.repeat(n)));
        painted.collect::<String>() + &" ".repeat(BAR - cells.iter().sum::<usize>())
    }

    /// `0-3 5 7`, or `all`.
    fn latents(&self, group: &OptionGroup<'_>) -> String {
        if group.members.len() == self.token.options.len() {
            return self.paint.dim(&format!("{:<LATENTS$}", "all"));
        }
        let runs = runs(&group.members.iter().map(|member| member.latent).collect::<Vec<_>>());
        let run = |first: String, last: String, is_one: bool| if is_one { first } else { format!("{first}-{last}") };
        let listed = |show: &dyn Fn(usize) -> String| {
            let parts: Vec<String> = runs.iter().map(|&(a, b)| run(show(a), show(b), a == b)).collect();
            parts.join(" ")
        };
        let width = listed(&|latent| latent.to_string()).len();
        listed(&|latent| self.paint.latent(latent, &latent.to_string())) + &" ".repeat(LATENTS.saturating_sub(width))
    }

    /// The most probable tokens. The chosen one is marked, and added to the chosen latent's if it
    /// is not among them.
    fn tokens(&self, group: &OptionGroup<'_>) -> String {
        let step = self.token.step;
        let speaks = step.latent.is_none_or(|latent| latent == group.speaker.latent);
        let mut shown: Vec<String> = group.speaker.top.iter().map(|&top| self.word(top, speaks)).collect();
        if step.latent == Some(group.speaker.latent) && group.speaker.top.iter().all(|top| top.0 != step.token) {
            shown.push(format!("→ {}", self.word((step.token, step.logprob.exp()), true)));
        }
        shown.join(&self.paint.dim(" · "))
    }

    fn word(&self, (token, p): (u32, f32), speaks: bool) -> String {
        let text = visible(&self.tokenizer.decode(&[token]));
        let percent = self.paint.dim(&format!("{:.0}", p * 100.0));
        let marked = match self.token.step.latent {
            _ if !speaks || token != self.token.step.token => text,
            Some(latent) => self.paint.chosen(latent, &text),
            None => self.paint.bold(&text),
        };
        format!("{marked} {percent}")
    }
}

/// How many characters of a bar each share gets: the ends of the shares are rounded, so that the
/// sum is right.
fn cells(shares: &[f32]) -> Vec<usize> {
    let (mut end, mut drawn) = (0.0, 0);
    let mut cell = |share: &f32| {
        end += share;
        let n = ((end * BAR as f32).round() as usize).min(BAR).saturating_sub(drawn);
        drawn += n;
        n
    };
    shares.iter().map(&mut cell).collect()
}

/// Runs of successive numbers: first and last.
fn runs(latents: &[usize]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &latent in latents {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == latent => *last = latent,
            _ => runs.push((latent, latent)),
        }
    }
    runs
}

/// A token's text on one line: without the space that most words begin with; other white space as
/// signs; not too long.
fn visible(text: &str) -> String {
    let word = if text == " " { text } else { text.strip_prefix(' ').unwrap_or(text) };
    let edges = word.len() - word.trim_matches(' ').len();
    let sign = |c: char| match c {
        '\n' => '⏎',
        '\t' => '⇥',
        ' ' if edges > 0 => '␣',
        c if c.is_control() => '·',
        c => c,
    };
    let signs: String = word.chars().map(sign).collect();
    if signs.chars().count() <= LONGEST { signs } else { signs.chars().take(LONGEST - 1).chain(['…']).collect() }
}

/// Paint ends at the end of a line: some terminals would colour the whole rest of it.
fn painted_lines(paint: Paint, latent: usize, text: &str) -> String {
    text.split('\n').map(|line| paint.latent(latent, line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use ollm_runtime::session::Step;

    use super::*;

    fn option(latent: usize, policy: f32, top: u32) -> OptionView {
        OptionView { latent, policy, top: vec![(top, 0.5)] }
    }

    fn step(latent: usize) -> Step {
        Step { token: 8, latent: Some(latent), logprob: 0.0, forced: false }
    }

    #[test]
    fn latents_that_agree_stand_together() {
        let options = [option(0, 0.5, 7), option(1, 0.1, 8), option(2, 0.2, 7), option(3, 0.2, 9)];
        let token = Token { step: step(1), text: "", top: &[], options: &options };
        let latents = |group: &OptionGroup<'_>| group.members.iter().map(|member| member.latent).collect::<Vec<_>>();
        let found: Vec<_> = groups(&token).iter().map(|g| (g.speaker.latent, latents(g))).collect();
        assert_eq!(found, [(1, vec![1]), (0, vec![0, 2]), (3, vec![3])]);
    }

    #[test]
    fn the_chosen_latent_speaks_for_its_group() {
        let options = [option(0, 0.9, 7), option(1, 0.1, 7)];
        let token = Token { step: step(1), text: "", top: &[], options: &options };
        assert_eq!(groups(&token)[0].speaker.latent, 1);
    }

    #[test]
    fn successive_latents_are_runs() {
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8]), [(0, 2), (5, 5), (7, 8)]);
    }

    #[test]
    fn shares_of_a_bar_add_up() {
        assert_eq!(cells(&[0.34, 0.33, 0.33]), [3, 4, 3]);
        assert_eq!(cells(&[0.04, 0.02]), [0, 1]);
        assert_eq!(cells(&[1.0, 1.0]), [10, 0]);
        assert_eq!(cells(&[f32::NAN]), [0]);
    }

    #[test]
    fn white_space_is_visible() {
        for (text, shown) in [(" the", "the"), ("  x", "␣x"), (" ", "␣"), ("   ", "␣␣"), ("\n\n", "⏎⏎"), ("a b", "a b")]
        {
            assert_eq!(visible(text), shown, "{text:?}");
        }
        assert_eq!(visible(" supercalifragilistic"), "supercalifr…");
        assert_eq!(visible(""), "");
    }
}
