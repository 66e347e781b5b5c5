//! What guesses the tokens to come (speculation): the text itself, or a smaller model. A
//! [`Session`](crate::session::Session) makes fewer passes with a good guess, and the same text
//! with any.

mod model;
mod ngram;
mod suffix_automaton;

pub use model::ModelDrafter;
pub use ngram::NgramDrafter;
