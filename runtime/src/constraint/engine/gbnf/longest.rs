//! Whether the longest match of a lexeme is always right.
//!
//! It is wrong where a lexeme has ended, a character follows that another lexeme, or the same one,
//! could take too, having read the same text, and a reading without it goes on with that character.
//! Lexemes are compared as automata of positions (Glushkov, 1961): one for each character class of
//! an expression, with those that may follow it.

use std::collections::{BTreeSet, HashSet};

use super::chars::Chars;
use super::cut::Pieces;
use super::parts::Part;

/// Positions of an automaton at most. A lexeme with more is taken for one that may be wrong.
const MOST_POSITIONS: usize = 500;

/// Positions of all of them at most.
const MOST_IN_ALL: usize = 4000;

/// Whether it is, however the lexemes follow each other. It may say no where it is.
pub(super) fn is_right(pieces: &Pieces<'_>) -> bool {
    // One lexeme alone has nothing behind it.
    if pieces.regular[pieces.rules.root] {
        return true;
    }
    if pieces.lexemes.iter().all(is_character) {
        return true;
    }
    let automata: Option<Vec<Automaton>> = pieces.lexemes.iter().map(|lexeme| automaton(lexeme, pieces)).collect();
    let few = |automata: &Vec<Automaton>| automata.iter().map(|a| a.classes.len()).sum::<usize>() <= MOST_IN_ALL;
    let Some(automata) = automata.filter(few) else { return false };
    let followers = Followers::of(pieces, &automata);
    let right = |(a, after): (&Automaton, &Chars)| automata.iter().all(|b| !takes_too_much(a, b, after));
    automata.iter().zip(&followers.after).all(right)
}

/// Whether it matches one character and nothing else.
fn is_character(lexeme: &Part) -> bool {
    match lexeme {
        Part::Class(_) => true,
        Part::Text(text) => text.chars().count() == 1,
        _ => false,
    }
}

/// Whether `b` can go on with a character of `after`, having read a text that ends `a`.
fn takes_too_much(a: &Automaton, b: &Automaton, after: &Chars) -> bool {
    let both = |from_a: &BTreeSet<usize>, from_b: &BTreeSet<usize>| -> Vec<(usize, usize)> {
        let pairs = from_a.iter().flat_map(|&p| from_b.iter().map(move |&q| (p, q)));
        pairs.filter(|&(p, q)| a.classes[p].meets(&b.classes[q])).collect()
    };
    let (mut waiting, mut seen) = (both(&a.first, &b.first), HashSet::new());
    while let Some((p, q)) = waiting.pop() {
        if !seen.insert((p, q)) {
            continue;
        }
        if a.last.contains(&p) && b.next[q].iter().any(|&next| b.classes[next].meets(after)) {
            return true;
        }
        waiting.extend(both(&a.next[p], &b.next[q]));
    }
    false
}

/// An automaton of positions.
#[derive(Clone, Default)]
struct Automaton {
    classes: Vec<Chars>,
    next: Vec<BTreeSet<usize>>,
    first: BTreeSet<usize>,
    last: BTreeSet<usize>,
    /// Whether it matches the empty text.
    empty: bool,
}

impl Automaton {
    fn nothing() -> Self {
        Self { empty: true, ..Self::default() }
    }

    fn character(class: Chars) -> Self {
        let only = BTreeSet::from([0]);
        Self { classes: vec![class], next: vec![BTreeSet::new()], first: only.clone(), last: only, empty: false }
    }

    /// Takes the positions of another in, and tells where its ends are now.
    fn take(&mut self, other: Self) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let moved = |set: BTreeSet<usize>, by: usize| set.into_iter().map(|p| p + by).collect::<BTreeSet<_>>();
        let by = self.classes.len();
        self.classes.extend(other.classes);
        self.next.extend(other.next.into_iter().map(|next| moved(next, by)));
        (moved(other.first, by), moved(other.last, by))
    }

    fn or(mut self, other: Self) -> Self {
        self.empty |= other.empty;
        let (first, last) = self.take(other);
        self.first.extend(first);
        self.last.extend(last);
        self
    }

    fn then(mut self, other: Self) -> Self {
        let (was_empty, is_empty) = (self.empty, other.empty);
        let (first, last) = self.take(other);
        self.connect(&first);
        if was_empty {
            self.first.extend(first);
        }
        self.last = if is_empty { self.last.union(&last).copied().collect() } else { last };
        self.empty = was_empty && is_empty;
        self
    }

    fn repeated(mut self) -> Self {
        let first = self.first.clone();
        self.connect(&first);
        self
    }

    fn or_nothing(mut self) -> Self {
        self.empty = true;
        self
    }

    /// What may be last may have these behind it.
    fn connect(&mut self, first: &BTreeSet<usize>) {
        for &last in &self.last {
            self.next[last].extend(first);
        }
    }
}

/// The automaton of a regular part; none if it has too many positions.
fn automaton(part: &Part, pieces: &Pieces<'_>) -> Option<Automaton> {
    let built = match part {
        Part::Either(parts) => {
            let mut parts = parts.iter().map(|part| automaton(part, pieces));
            let first = parts.next().unwrap_or_else(|| Some(Automaton::nothing()))?;
            parts.try_fold(first, |all, part| Some(all.or(part?)))?
        }
        Part::Sequence(parts) => {
            let mut all = Automaton::nothing();
            for part in parts {
                all = all.then(automaton(part, pieces)?);
                if all.classes.len() > MOST_POSITIONS {
                    return None;
                }
            }
            all
        }
        Part::Repeat(part, from, to) => repeat(&automaton(part, pieces)?, *from, *to)?,
        Part::Text(text) => {
            let characters = text.chars().map(|c| Automaton::character(Chars::one(c)));
            characters.fold(Automaton::nothing(), Automaton::then)
        }
        Part::Class(class) => Automaton::character(class.clone()),
        Part::Rule(rule) => automaton(&pieces.rules.bodies[*rule], pieces)?,
        Part::Lexeme(_) | Part::Token(_) => return None,
    };
    (built.classes.len() <= MOST_POSITIONS).then_some(built)
}

fn repeat(one: &Automaton, from: u32, to: Option<u32>) -> Option<Automaton> {
    let times = to.unwrap_or(from + 1).max(1) as usize;
    if one.classes.len().saturating_mul(times) > MOST_POSITIONS {
        return None;
    }
    let mut all = Automaton::nothing();
    for _ in 0..from {
        all = all.then(one.clone());
    }
    Some(match to {
        None => all.then(one.clone().repeated().or_nothing()),
        Some(to) => (from..to).fold(all, |all, _| all.then(one.clone().or_nothing())),
    })
}

/// What may come behind lexemes and rules.
struct Followers {
    /// The first characters of each rule.
    first: Vec<Chars>,
    /// Whether each rule may be empty.
    empty: Vec<bool>,
    behind: Vec<Chars>,
    /// The characters that may come behind each lexeme.
    after: Vec<Chars>,
    changed: bool,
}

impl Followers {
    fn of(pieces: &Pieces<'_>, automata: &[Automaton]) -> Self {
        let (rules, lexemes) = (pieces.bodies.len(), pieces.lexemes.len());
        let none = |count| vec![Chars::default(); count];
        let mut all = Self {
            first: none(rules),
            empty: vec![false; rules],
            behind: none(rules),
            after: none(lexemes),
            changed: true,
        };
        while std::mem::take(&mut all.changed) {
            for rule in (0..rules).filter(|&rule| !pieces.regular[rule]) {
                let behind = all.behind[rule].clone();
                let (first, empty) = all.walk(&pieces.bodies[rule], &behind, automata);
                let grew = all.first[rule].add_all(&first) || all.empty[rule] != (all.empty[rule] | empty);
                all.empty[rule] |= empty;
                all.changed |= grew;
            }
        }
        all
    }

    /// Notes what comes behind the lexemes and rules of a part that `after` comes behind; the first
    /// characters of the part, and whether it may be empty.
    fn walk(&mut self, part: &Part, after: &Chars, automata: &[Automaton]) -> (Chars, bool) {
        match part {
            Part::Either(parts) => {
                let (mut first, mut empty) = (Chars::default(), false);
                for part in parts {
                    let own = self.walk(part, after, automata);
                    first.add_all(&own.0);
                    empty |= own.1;
                }
                (first, empty)
            }
            Part::Sequence(parts) => {
                let (mut first, mut empty, mut after) = (Chars::default(), true, after.clone());
                for part in parts.iter().rev() {
                    let own = self.walk(part, &after, automata);
                    (first, after) = join(own.0, own.1, &first, &after);
                    empty &= own.1;
                }
                (first, empty)
            }
            Part::Repeat(part, from, _) => {
                let (first, empty) = self.walk(part, after, automata);
                let mut again = after.clone();
                again.add_all(&first);
                self.walk(part, &again, automata);
                (first, empty || *from == 0)
            }
            Part::Lexeme(lexeme) => {
                self.changed |= self.after[*lexeme].add_all(after);
                let automaton = &automata[*lexeme];
                let mut first = Chars::default();
                for &position in &automaton.first {
                    first.add_all(&automaton.classes[position]);
                }
                (first, automaton.empty)
            }
            Part::Rule(rule) => {
                self.changed |= self.behind[*rule].add_all(after);
                (self.first[*rule].clone(), self.empty[*rule])
            }
            // Tokens of the model are no characters.
            Part::Token(_) => (Chars::default(), false),
            Part::Text(_) | Part::Class(_) => (Chars::all(), true),
        }
    }
}

/// The first characters of a part and of those behind it, and of all that may come behind the part
/// before.
fn join(own: Chars, empty: bool, first: &Chars, after: &Chars) -> (Chars, Chars) {
    let (mut all, mut before) = (own.clone(), own);
    if empty {
        all.add_all(first);
        before.add_all(after);
    }
    (all, before)
}
