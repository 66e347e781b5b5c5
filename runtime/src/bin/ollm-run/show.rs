//! How generated tokens look: as text, as a table of option sets, as JSON.
//!
//! A row of the table is a group of latents that agree on the most probable next token; the row of the chosen latent comes
//! first. Its bar and its percentage are the policy's probability of the whole group, and the tokens (with their
//! probabilities in percent) are those of the chosen latent, or else of the group's most probable one.
//!
//! ```text
//!    1 z3 ▇▇▇▇▏   71% 0-3 5 7    The 62 · In 11 · To 8
//!         ▇▎      22% 4 6        First 55 · The 21 · Let 9
//! ```

use ollm_runtime::session::OptionView;
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::failure::Result;
use crate::generation::{Done, Sink, Token};
use crate::output::{Output, Paint, count, number};

/// The width of a full bar, in characters.
const BAR: usize = 6;

/// The longest text of a token in the table, in characters.
const LONGEST: usize = 12;

/// The text as it comes.
pub(crate) struct Plain<'o>(pub(crate) &'o mut Output);

impl Sink for Plain<'_> {
    fn token(&mut self, _: &Engine, token: &Token<'_>) -> Result<()> {
        self.0.text(token.text)
    }

    fn done(&mut self, _: &Engine, done: &Done) -> Result<()> {
        let end = if done.text.ends_with('\n') { "" } else { "\n" };
        self.0.text(&(done.rest.clone() + end))
    }
}

/// One object a line.
pub(crate) struct Json<'o>(pub(crate) &'o mut Output);

impl Sink for Json<'_> {
    fn token(&mut self, engine: &Engine, token: &Token<'_>) -> Result<()> {
        let mut line = json!({
            "token": token.step.token,
            "text": token.text,
            "latent": token.step.latent,
            "logprob": number(token.step.logprob),
        });
        if !token.options.is_empty() {
            line["options"] = token.options.iter().map(|option| option_json(&engine.tokenizer, option)).collect();
        }
        self.0.json(&line)
    }

    fn done(&mut self, _: &Engine, done: &Done) -> Result<()> {
        self.0.json(&done.to_json())
    }
}

fn option_json(tokenizer: &Tokenizer, option: &OptionView) -> Value {
    let token =
        |&(token, p): &(u32, f32)| json!({ "token": token, "text": tokenizer.decode(&[token]), "p": number(p) });
    let top: Vec<Value> = option.top.iter().map(token).collect();
    json!({ "latent": option.latent, "policy": number(option.policy), "top": top })
}

/// The table of option sets, and the text below it.
pub(crate) struct Table<'o> {
    output: &'o mut Output,
    steps: usize,
    /// The text, painted in the colours of its latents.
    text: String,
    /// How often each latent was chosen.
    used: Vec<usize>,
}

impl<'o> Table<'o> {
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

impl Sink for Table<'_> {
    fn token(&mut self, engine: &Engine, token: &Token<'_>) -> Result<()> {
        self.remember(token);
        let rows = Rows { paint: self.output.paint, tokenizer: &engine.tokenizer, token };
        for (index, group) in groups(token).iter().enumerate() {
            let label = if index == 0 { rows.label(self.steps) } else { " ".repeat(8) };
            self.output.line(&format!("{label} {}", rows.row(group)))?;
        }
        Ok(())
    }

    fn done(&mut self, _: &Engine, done: &Done) -> Result<()> {
        let paint = self.output.paint;
        self.output.line(&format!("\n{}{}\n", self.text, done.rest))?;
        let total = format!("{}, {}", count(done.tokens.len(), "token"), done.reason.name());
        let summary = [self.usage(), paint.dim(&total)].join("  ");
        self.output.line(summary.trim_start())
    }
}

/// Latents that agree on the most probable token.
struct Group<'a> {
    /// The chosen latent if it is here, else the policy's favourite.
    speaker: &'a OptionView,
    members: Vec<usize>,
    policy: f32,
}

/// The groups of an option set: the chosen latent's first, then by what the policy gives them.
fn groups<'a>(token: &Token<'a>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let first = |option: &OptionView| option.top.first().map(|&(token, _)| token);
    let rank = |option: &OptionView| (token.step.latent == Some(option.latent), option.policy);
    for option in token.options {
        match groups.iter_mut().find(|group| first(group.speaker) == first(option)) {
            Some(group) => {
                group.members.push(option.latent);
                group.policy += option.policy;
                if rank(option) > rank(group.speaker) {
                    group.speaker = option;
                }
            }
            None => groups.push(Group { speaker: option, members: vec![option.latent], policy: option.policy }),
        }
    }
    let chosen = |group: &Group<'_>| token.step.latent.is_some_and(|latent| group.members.contains(&latent));
    groups.sort_by(|a, b| chosen(b).cmp(&chosen(a)).then(b.policy.total_cmp(&a.policy)));
    groups
}

/// The rows of one step.
struct Rows<'a> {
    paint: Paint,
    tokenizer: &'a Tokenizer,
    token: &'a Token<'a>,
}

impl Rows<'_> {
    /// The number of the step and the chosen latent, 8 characters wide.
    fn label(&self, step: usize) -> String {
        let latent = match self.token.step.latent {
            Some(latent) => self.paint.chosen(latent, &format!("{:<3}", format!("z{latent}"))),
            None => self.paint.bold("mix"),
        };
        format!("{} {latent}", self.paint.dim(&format!("{step:>4}")))
    }

    fn row(&self, group: &Group<'_>) -> String {
        let bar = self.paint.latent(group.speaker.latent, &bar(group.policy, self.paint.is_on()));
        let percent = format!("{:>3.0}%", group.policy * 100.0);
        let whole = group.members.len() == self.token.options.len();
        let members = if whole { "all".to_owned() } else { ranges(&group.members) };
        format!("{bar} {percent} {} {}", self.paint.dim(&format!("{members:<10}")), self.tokens(group))
    }

    /// The most probable tokens; the chosen one is marked, and added in the first row if it is not among them.
    fn tokens(&self, group: &Group<'_>) -> String {
        let chosen = self.token.step.token;
        let speaks = self.token.step.latent.is_none_or(|latent| latent == group.speaker.latent);
        let mut shown: Vec<String> = group.speaker.top.iter().map(|&top| self.word(top, speaks)).collect();
        if self.token.step.latent == Some(group.speaker.latent) && group.speaker.top.iter().all(|t| t.0 != chosen) {
            shown.push(format!("→ {}", self.word((chosen, self.token.step.logprob.exp()), true)));
        }
        shown.join(&self.paint.dim(" · "))
    }

    fn word(&self, (token, p): (u32, f32), speaks: bool) -> String {
        let text = visible(&self.tokenizer.decode(&[token]));
        let percent = self.paint.dim(&format!("{:.0}", p * 100.0));
        if !speaks || token != self.token.step.token {
            return format!("{text} {percent}");
        }
        let marked = match self.token.step.latent {
            Some(latent) => self.paint.chosen(latent, &text),
            None => self.paint.bold(&text),
        };
        format!("{marked} {percent}")
    }
}

/// A bar of [`BAR`] characters, in eighths of a character where there are colours, else in whole `#`.
fn bar(share: f32, fine: bool) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (8 * BAR) as f32).round() as usize;
    let bar = match fine {
        true => "█".repeat(eighths / 8) + EIGHTHS[eighths % 8],
        false => "#".repeat((eighths + 4) / 8),
    };
    format!("{bar:<BAR$}")
}

/// `0-3 5 7`
fn ranges(members: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &member in members {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == member => *last = member,
            _ => runs.push((member, member)),
        }
    }
    let run =
        |&(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

/// A token's text on one line: a space at its edge, line feeds and tabs as signs, and not too long.
fn visible(text: &str) -> String {
    let signs: String = text
        .chars()
        .map(|c| match c {
            '\n' => '⏎',
            '\t' => '⇥',
            c if c.is_control() => '·',
            c => c,
        })
        .collect();
    let body = signs.trim_matches(' ');
    let before = signs.len() - signs.trim_start_matches(' ').len();
    let after = signs.len() - before - body.len();
    let whole = "␣".repeat(before.saturating_sub(1)) + body + &"␣".repeat(after);
    let whole = if whole.is_empty() { "␣".repeat(before) } else { whole };
    if whole.chars().count() <= LONGEST { whole } else { whole.chars().take(LONGEST - 1).chain(['…']).collect() }
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

    #[test]
    fn latents_that_agree_stand_together() {
        let options = [option(0, 0.5, 7), option(1, 0.1, 8), option(2, 0.2, 7), option(3, 0.2, 9)];
        let step = Step { token: 8, latent: Some(1), logprob: 0.0 };
        let token = Token { step, text: "", options: &options };
        let found: Vec<_> = groups(&token).iter().map(|g| (g.speaker.latent, g.members.clone())).collect();
        assert_eq!(found, [(1, vec![1]), (0, vec![0, 2]), (3, vec![3])]);
    }

    #[test]
    fn the_chosen_latent_speaks_for_its_group() {
        let options = [option(0, 0.9, 7), option(1, 0.1, 7)];
        let step = Step { token: 7, latent: Some(1), logprob: 0.0 };
        let token = Token { step, text: "", options: &options };
        assert_eq!(groups(&token)[0].speaker.latent, 1);
    }

    #[test]
    fn members_are_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2 5 7-8");
        assert_eq!(ranges(&[4]), "4");
    }

    #[test]
    fn bars_are_always_as_wide() {
        assert!([0.0, 0.01, 0.5, 0.99, 1.0, f32::NAN, 2.0].iter().all(|&p| bar(p, true).chars().count() == BAR));
        assert_eq!((bar(1.0, false), bar(0.5, false)), ("######".to_owned(), "###   ".to_owned()));
    }

    #[test]
    fn white_space_is_visible() {
        for (text, shown) in [(" the", "the"), ("  x", "␣x"), (" ", "␣"), ("\n\n", "⏎⏎"), ("a ", "a␣"), ("", "")]
        {
            assert_eq!(visible(text), shown, "{text:?}");
        }
        assert_eq!(visible(" supercalifragilistic"), "supercalifr…");
    }
}
