//! Drafts: tokens that are likely to follow, guessed cheaply (speculation, arXiv 2211.17192).
//!
//! A draft goes through the network in the pass of the token before it: a pass of a few tokens
//! reads the weights once, and takes hardly longer than that of one. Then each step chooses its
//! token as it always does; where that is the drafted one, its pass has been made already. So
//! drafts change how long a text takes and not one bit of it.

use std::fmt;

use crate::clock::Instant;
use crate::model::BATCH;

/// The strengths of evidence that are told apart: see [`Drafter::evidence`].
pub const STRENGTHS: usize = 8;

/// Tokens of a draft at most.
pub(super) const LONGEST: usize = 16;

/// Pending tokens beside which a draft is evaluated at most: more are a prompt.
const MAX_PENDING: usize = 16;

/// Tokens of a pass with a draft at most.
pub(super) const LONGEST_PASS: usize = MAX_PENDING + LONGEST;

const _: () = assert!(LONGEST_PASS <= BATCH, "a draft and the tokens before it are one pass");

/// Guesses how a text goes on.
pub trait Drafter: fmt::Debug + Send + Sync {
    /// How strong the evidence is for what follows `text`: a number below [`STRENGTHS`]. A session
    /// learns how often the drafts of each strength are right. `None` where there is no evidence.
    fn evidence(&mut self, text: &[u32]) -> Option<usize>;

    /// Appends the tokens that may follow `text`, for which there was evidence, to `draft`: at most
    /// `count`.
    fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>);

    /// Tokens of `text` that a draft has to read first. Many are a prompt, whose time says nothing
    /// of the drafts that follow.
    fn unread(&self, _text: &[u32]) -> usize {
        0
    }
}

/// The drafts of a session.
#[derive(Debug)]
pub(super) struct Speculation {
    drafter: Box<dyn Drafter>,
    lengths: DraftLengths,
    /// The tokens of the next pass: those that are pending, then those of the last draft.
    tokens: Vec<u32>,
    /// The strength of the last draft.
    strength: usize,
    /// The pass of a step: its tokens, and the seconds that it took.
    pass: Option<(usize, f64)>,
}

impl Speculation {
    pub(super) fn new(drafter: Box<dyn Drafter>) -> Self {
        Self { drafter, lengths: DraftLengths::default(), tokens: Vec::new(), strength: 0, pass: None }
    }

    /// Drafts what may follow `text`, whose last `pending` tokens are pending: at most `room`
    /// tokens below `vocab`. Tells how many tokens that are.
    pub(super) fn draft(&mut self, text: &[u32], pending: usize, room: usize, vocab: usize) -> usize {
        let most = LONGEST.min(room);
        if most == 0 || pending > MAX_PENDING {
            return 0;
        }
        let Some(strength) = self.drafter.evidence(text) else { return 0 };
        self.strength = strength.min(STRENGTHS - 1);
        let length = self.lengths.choose(self.strength, most);
        if length == 0 {
            return 0;
        }
        self.tokens.clear();
        self.tokens.extend_from_slice(&text[text.len() - pending..]);
        let (begin, unread) = (Instant::now(), self.drafter.unread(text));
        self.drafter.draft(text, length, &mut self.tokens);
        if unread <= LONGEST_PASS {
            self.lengths.drafted(length, begin.elapsed().as_secs_f64());
        }
        let drafted = self.tokens[pending..].iter().take(length);
        let drafted = drafted.take_while(|&&token| (token as usize) < vocab).count();
        self.tokens.truncate(pending + drafted);
        drafted
    }

    /// The pending tokens and those of the last draft.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// A pass of `tokens` tokens has taken so long.
    pub(super) fn passed(&mut self, tokens: usize, seconds: f64) {
        self.pass = Some((tokens, seconds));
    }

    /// What came after the pass, logits and choice, has taken so long.
    pub(super) fn chosen(&mut self, seconds: f64) {
        if let Some((tokens, pass)) = self.pass.take() {
            self.lengths.passed(tokens, pass + seconds);
        }
    }

    /// Notes whether a drafted token was right.
    pub(super) fn observe(&mut self, was_right: bool) {
        self.lengths.observe(self.strength, was_right);
    }
}

/// How many tokens are worth a draft: those that give the most tokens in a second, by what passes
/// have taken and how often drafts were right.
#[derive(Debug)]
struct DraftLengths {
    /// Seconds of a pass of so many tokens; 0 where none has been made.
    seconds: [f64; LONGEST + 2],
    /// Seconds that a token of a draft takes.
    drafting: f64,
    /// How often a drafted token was right, of those whose predecessors were.
    right: [Share; STRENGTHS],
    /// Passes without a draft since the last one.
    idle: u32,
    /// Passes without a draft before the next trial.
    wait: u32,
}

/// The share that a new measurement has in an average.
const RATE: f64 = 0.125;

/// What a token adds to a pass, as long as nothing is known: a share of the pass of one.
const ADDED: f64 = 0.08;

/// Tokens of a trial.
const TRIAL: usize = 2;

/// Passes without a draft between two trials at most: what they cost does not count then.
const LONGEST_WAIT: u32 = 128;

impl Default for DraftLengths {
    fn default() -> Self {
        Self {
            seconds: [0.0; LONGEST + 2],
            drafting: 0.0,
            right: [Share { hits: 1.0, all: 2.0 }; STRENGTHS],
            idle: 0,
            wait: 1,
        }
    }
}

impl DraftLengths {
    /// How many tokens are worth their draft and their pass, at most `most`.
    fn choose(&mut self, strength: usize, most: usize) -> usize {
        let (mut best, mut highest) = (0, 0.0);
        let (mut sure, mut expected) = (1.0, 1.0);
        for length in 0..=most {
            let rate = expected / (self.cost(length + 1) + self.drafting * length as f64);
            if rate > highest {
                (best, highest) = (length, rate);
            }
            sure *= self.right[strength].get();
            expected += sure;
        }
        if best == 0 && most > 0 {
            self.idle += 1;
            if self.idle > self.wait {
                self.wait = (2 * self.wait).min(LONGEST_WAIT);
                best = TRIAL.min(most);
            }
        }
        if best > 0 {
            self.idle = 0;
        }
        best
    }

    /// The time of a pass of `tokens` tokens; that of one, where none was made, counts 1.
    fn cost(&self, tokens: usize) -> f64 {
        let one = if self.seconds[1] > 0.0 { self.seconds[1] } else { 1.0 };
        match (1..=tokens).rev().find(|&n| self.seconds[n] > 0.0) {
            Some(n) => self.seconds[n].max(one) + one * ADDED * (tokens - n) as f64,
            None => one * (1.0 + ADDED * (tokens - 1) as f64),
        }
    }

    /// A draft of `tokens` tokens has taken so long.
    fn drafted(&mut self, tokens: usize, seconds: f64) {
        average(&mut self.drafting, seconds / tokens as f64);
    }

    /// A pass of `tokens` tokens has taken so long.
    fn passed(&mut self, tokens: usize, seconds: f64) {
        if let Some(known) = self.seconds.get_mut(tokens) {
            average(known, seconds);
        }
    }

    /// Notes whether a drafted token was right.
    fn observe(&mut self, strength: usize, was_right: bool) {
        self.right[strength].add(was_right);
        if was_right {
            self.wait = 1;
        }
    }
}

/// How often something is so; what was longer ago counts less.
#[derive(Clone, Copy, Debug)]
struct Share {
    hits: f64,
    all: f64,
}

impl Share {
    fn get(self) -> f64 {
        self.hits / self.all
    }

    fn add(&mut self, hit: bool) {
        const KEPT: f64 = 0.95;
        *self = Self { hits: KEPT * self.hits + f64::from(u8::from(hit)), all: KEPT * self.all + 1.0 };
    }
}

/// Takes a measurement into an average, of which 0 is none.
fn average(known: &mut f64, seconds: f64) {
    *known = if *known > 0.0 { *known + RATE * (seconds - *known) } else { seconds };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(seconds_of: impl Fn(usize) -> f64, right: f64) -> DraftLengths {
        let mut lengths =
            DraftLengths { right: [Share { hits: right, all: 1.0 }; STRENGTHS], ..DraftLengths::default() };
        (1..=LONGEST + 1).for_each(|tokens| lengths.passed(tokens, seconds_of(tokens)));
        lengths
    }

    #[test]
    fn a_draft_is_as_long_as_it_pays() {
        let cheap = |tokens: usize| 1.0 + 0.02 * tokens as f64;
        let dear = |tokens: usize| tokens as f64;
        assert_eq!(lengths(cheap, 1.0).choose(0, LONGEST), LONGEST);
        assert_eq!(lengths(cheap, 1.0).choose(0, 3), 3);
        assert!((1..6).contains(&lengths(cheap, 0.5).choose(0, LONGEST)));
        assert_eq!(lengths(dear, 0.9).choose(0, LONGEST), 0);
        assert_eq!(lengths(cheap, 1.0).choose(0, 0), 0);
    }

    #[test]
    fn what_does_not_pay_is_tried_less_and_less_and_again_when_it_does() {
        let mut lengths = lengths(|tokens| 1.0 + 0.2 * tokens as f64, 0.0);
        let tried = (0..1000).filter(|_| lengths.choose(3, LONGEST) > 0).count();
        assert!((6..20).contains(&tried), "{tried}");
        (0..80).for_each(|_| lengths.observe(3, true));
        assert!(lengths.choose(3, LONGEST) > 4 && lengths.choose(2, LONGEST) == 0);
    }

    #[test]
    fn a_prompt_that_a_drafter_reads_does_not_count() {
        #[derive(Debug)]
        struct Reads(usize);
        impl Drafter for Reads {
            fn evidence(&mut self, _: &[u32]) -> Option<usize> {
                Some(0)
            }

            fn draft(&mut self, text: &[u32], _: usize, draft: &mut Vec<u32>) {
                self.0 = text.len();
                draft.push(1);
            }

            fn unread(&self, text: &[u32]) -> usize {
                text.len() - self.0
            }
        }
        let mut speculation = Speculation::new(Box::new(Reads(0)));
        let text = [7; 1000];
        assert_eq!(speculation.draft(&text[..900], 1, 9, 10), 1);
        assert!(speculation.lengths.drafting == 0.0);
        assert_eq!(speculation.draft(&text[..901], 1, 9, 10), 1);
        assert!(speculation.lengths.drafting > 0.0);
    }

    #[test]
    fn a_draft_keeps_to_room_and_vocabulary() {
        #[derive(Debug)]
        struct Counts;
        impl Drafter for Counts {
            fn evidence(&mut self, _: &[u32]) -> Option<usize> {
                Some(1000)
            }

            fn draft(&mut self, text: &[u32], count: usize, draft: &mut Vec<u32>) {
                draft.extend((text.len() as u32..).take(count + 5));
            }
        }
        let mut speculation = Speculation::new(Box::new(Counts));
        speculation.lengths = lengths(|_| 1.0, 1.0);
        let mut drafted = |pending, room, vocab| {
            let count = speculation.draft(&[7, 8, 9], pending, room, vocab);
            (count > 0).then(|| speculation.tokens().to_vec())
        };
        assert_eq!(drafted(1, 3, 1000), Some(vec![9, 3, 4, 5]));
        assert_eq!(drafted(2, 9, 5), Some(vec![8, 9, 3, 4]));
        assert_eq!(drafted(1, 9, 3), None);
        assert_eq!(drafted(1, 0, 1000), None);
        assert_eq!(drafted(3, 9, 1000).map(|tokens| tokens.len()), Some(12));
    }
}
