//! Cuts a grammar into lexemes.

use std::collections::BTreeSet;

use super::parts::{Part, Rules};

/// How long lexemes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// Whatever is regular: a rule, or parts that follow each other.
    Runs,
    /// A text, or a character of a class.
    Texts,
    /// A character.
    Characters,
}

/// A grammar in lexemes.
pub(super) struct Pieces<'r> {
    pub(super) rules: &'r Rules,
    /// The rules that lexemes name, and nothing else: they are a part of these.
    pub(super) regular: Vec<bool>,
    /// The bodies of all rules; those that are not regular have lexemes instead of texts and
    /// classes.
    pub(super) bodies: Vec<Part>,
    /// What each lexeme matches; the numbers of rules are those of regular ones.
    pub(super) lexemes: Vec<Part>,
}

/// Cuts a grammar.
pub(super) fn pieces(rules: &Rules, cut: Cut) -> Pieces<'_> {
    let regular = if cut == Cut::Runs { regular(rules) } else { vec![false; rules.bodies.len()] };
    let mut pieces = Pieces { rules, regular, bodies: Vec::new(), lexemes: Vec::new() };
    for (rule, body) in rules.bodies.iter().enumerate() {
        let is_part = pieces.regular[rule];
        let body = if is_part { body.clone() } else { pieces.cut(body, cut) };
        pieces.bodies.push(body);
    }
    pieces
}

impl Pieces<'_> {
    fn cut(&mut self, part: &Part, cut: Cut) -> Part {
        if cut == Cut::Runs {
            return self.runs(part);
        }
        match part {
            Part::Text(text) if text.is_empty() => Part::Sequence(Vec::new()),
            Part::Text(text) if cut == Cut::Characters => {
                Part::Sequence(text.chars().map(|c| self.lexeme(Part::Text(c.to_string()))).collect())
            }
            Part::Text(_) | Part::Class(_) => self.lexeme(part.clone()),
            part => part.map(|part| self.cut(part, cut)),
        }
    }

    /// Puts regular parts together that follow each other.
    fn runs(&mut self, part: &Part) -> Part {
        match part {
            part if self.is_regular(part) => self.lexeme(part.clone()),
            Part::Sequence(parts) => {
                let runs = parts.chunk_by(|a, b| self.is_regular(a) && self.is_regular(b));
                let runs: Vec<&[Part]> = runs.collect();
                let runs = runs.into_iter().map(|run| match run {
                    [part] => self.runs(part),
                    run => self.lexeme(Part::Sequence(run.to_vec())),
                });
                Part::Sequence(runs.collect())
            }
            part => part.map(|part| self.runs(part)),
        }
    }

    fn lexeme(&mut self, part: Part) -> Part {
        let known = self.lexemes.iter().position(|other| *other == part);
        Part::Lexeme(known.unwrap_or_else(|| {
            self.lexemes.push(part);
            self.lexemes.len() - 1
        }))
    }

    fn is_regular(&self, part: &Part) -> bool {
        !has_token(part) && names(part).into_iter().all(|rule| self.regular[rule])
    }
}

/// Which rules a regular expression can say: those that name only such rules, and so never come
/// back to themselves.
fn regular(rules: &Rules) -> Vec<bool> {
    let named: Vec<BTreeSet<usize>> = rules.bodies.iter().map(names).collect();
    let tokens: Vec<bool> = rules.bodies.iter().map(has_token).collect();
    let mut regular = vec![false; named.len()];
    loop {
        // What names what was found so far, until nothing is added.
        let is_regular = |rule: usize| !tokens[rule] && named[rule].iter().all(|&other| regular[other]);
        let found: Vec<bool> = (0..named.len()).map(is_regular).collect();
        if found == regular {
            return regular;
        }
        regular = found;
    }
}

/// The rules that a part names.
fn names(part: &Part) -> BTreeSet<usize> {
    match part {
        Part::Rule(rule) => BTreeSet::from([*rule]),
        part => part.parts().iter().flat_map(names).collect(),
    }
}

fn has_token(part: &Part) -> bool {
    matches!(part, Part::Tokens { .. }) || part.parts().iter().any(has_token)
}
