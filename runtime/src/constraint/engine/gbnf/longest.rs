//! Whether the longest match of a lexeme is always right.
//!
//! It is wrong where a lexeme has ended, a character follows that another lexeme, or the same one,
//! could take too, having read the same text, and a reading without it goes on with that character.
//! Lexemes are compared as automata of positions (Glushkov, 1961): one for each character class of
//! an expression, with those that may follow it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::chars::Chars;
use super::cut::Pieces;
use super::parts::Part;

/// Positions of an automaton at most. A lexeme with more is taken for one that may be wrong.
const MAX_POSITIONS: usize = 500;

/// Positions of all of them at most.
const MAX_IN_ALL: usize = 4000;

/// Whether it is, however the lexemes follow each other. It may say no where it is.
pub(super) fn is_right(pieces: &Pieces<'_>) -> bool {
    // One lexeme alone has nothing behind it.
    if pieces.regular[pieces.rules.root] {
        return true;
    }
    if pieces.lexemes.iter().all(is_character) {
        return true;
    }
    let mut builder = Builder { rules: &pieces.rules.bodies, built: HashMap::new() };
    let automata: Option<Vec<Automaton>> = pieces.lexemes.iter().map(|lexeme| builder.automaton(lexeme)).collect();
    let few = |automata: &Vec<Automaton>| automata.iter().map(|a| a.classes.len()).sum::<usize>() <= MAX_IN_ALL;
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

/// Builds automata, that of each rule once.
struct Builder<'r> {
    rules: &'r [Part],
    built: HashMap<usize, Option<Automaton>>,
}

impl Builder<'_> {
    /// The automaton of a regular part; none if it has too many positions.
    fn automaton(&mut self, part: &Part) -> Option<Automaton> {
        let built = match part {
            Part::Either(parts) => {
                let mut parts = parts.iter();
                let first = parts.next().map_or_else(|| Some(Automaton::nothing()), |part| self.automaton(part))?;
                parts.try_fold(first, |all, part| Some(all.or(self.automaton(part)?)))?
            }
            Part::Sequence(parts) => {
                let mut all = Automaton::nothing();
                for part in parts {
                    all = all.then(self.automaton(part)?);
                    if all.classes.len() > MAX_POSITIONS {
                        return None;
                    }
                }
                all
            }
            Part::Repeat(part, from, to) => repeat(&self.automaton(part)?, *from, *to)?,
            Part::Text(text) => {
                let characters = text.chars().map(|c| Automaton::character(Chars::one(c)));
                characters.fold(Automaton::nothing(), Automaton::then)
            }
            Part::Class(class) => Automaton::character(class.clone()),
            Part::Rule(rule) => self.rule(*rule)?,
            Part::Lexeme(_) | Part::Tokens { .. } => return None,
        };
        (built.classes.len() <= MAX_POSITIONS).then_some(built)
    }

    fn rule(&mut self, rule: usize) -> Option<Automaton> {
        if let Some(built) = self.built.get(&rule) {
            return built.clone();
        }
        let built = self.automaton(&self.rules[rule]);
        self.built.insert(rule, built.clone());
        built
    }
}

fn repeat(one: &Automaton, from: u32, to: Option<u32>) -> Option<Automaton> {
    let times = to.unwrap_or(from + 1).max(1) as usize;
    if one.classes.len().saturating_mul(times) > MAX_POSITIONS {
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
struct Followers<'a> {
    automata: &'a [Automaton],
    /// The first characters of each rule, and whether it may be empty.
    first: Vec<First>,
    /// The characters that may come behind each rule.
    behind: Vec<Chars>,
    /// The characters that may come behind each lexeme.
    after: Vec<Chars>,
    changed: bool,
}

/// The first characters of a part, and whether it may be empty.
#[derive(Clone, Default, PartialEq)]
struct First {
    chars: Chars,
    empty: bool,
}

impl First {
    /// The first characters of the part and of what may come behind it.
    fn before(mut self, behind: &Chars) -> Chars {
        if self.empty {
            self.chars.add_all(behind);
        }
        self.chars
    }
}

impl<'a> Followers<'a> {
    fn of(pieces: &Pieces<'_>, automata: &'a [Automaton]) -> Self {
        let (rules, lexemes) = (pieces.bodies.len(), pieces.lexemes.len());
        let none = |count| vec![Chars::default(); count];
        let (behind, after) = (none(rules), none(lexemes));
        let mut all = Self { automata, first: vec![First::default(); rules], behind, after, changed: true };
        while std::mem::take(&mut all.changed) {
            for rule in (0..rules).filter(|&rule| !pieces.regular[rule]) {
                let behind = all.behind[rule].clone();
                all.note(&pieces.bodies[rule], &behind);
                let first = all.first(&pieces.bodies[rule]);
                all.changed |= all.first[rule] != first;
                all.first[rule] = first;
            }
        }
        all
    }

    /// The first characters of a part, as far as those of rules are known.
    fn first(&self, part: &Part) -> First {
        match part {
            Part::Either(parts) => {
                let mut all = First::default();
                for own in parts.iter().map(|part| self.first(part)) {
                    all.chars.add_all(&own.chars);
                    all.empty |= own.empty;
                }
                all
            }
            Part::Sequence(parts) => {
                let mut all = First { chars: Chars::default(), empty: true };
                for own in parts.iter().rev().map(|part| self.first(part)) {
                    let empty = all.empty && own.empty;
                    all = First { chars: own.before(&all.chars), empty };
                }
                all
            }
            Part::Repeat(part, from, _) => {
                let first = self.first(part);
                First { empty: first.empty || *from == 0, ..first }
            }
            Part::Lexeme(lexeme) => {
                let automaton = &self.automata[*lexeme];
                let mut first = First { chars: Chars::default(), empty: automaton.empty };
                for &position in &automaton.first {
                    first.chars.add_all(&automaton.classes[position]);
                }
                first
            }
            Part::Rule(rule) => self.first[*rule].clone(),
            // Tokens of the model are no characters.
            Part::Tokens { .. } => First::default(),
            Part::Text(_) | Part::Class(_) => First { chars: Chars::all(), empty: true },
        }
    }

    /// Notes what comes behind the lexemes and rules of a part that `after` comes behind.
    fn note(&mut self, part: &Part, after: &Chars) {
        match part {
            Part::Either(parts) => parts.iter().for_each(|part| self.note(part, after)),
            Part::Sequence(parts) => {
                let mut after = after.clone();
                for part in parts.iter().rev() {
                    self.note(part, &after);
                    after = self.first(part).before(&after);
                }
            }
            Part::Repeat(part, ..) => {
                let mut again = after.clone();
                again.add_all(&self.first(part).chars);
                self.note(part, &again);
            }
            Part::Lexeme(lexeme) => self.changed |= self.after[*lexeme].add_all(after),
            Part::Rule(rule) => self.changed |= self.behind[*rule].add_all(after),
            Part::Tokens { .. } | Part::Text(_) | Part::Class(_) => {}
        }
    }
}
