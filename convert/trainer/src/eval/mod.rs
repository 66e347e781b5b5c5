//! Scores: token by token on gold text, and of final answers.

pub mod accuracy;
pub mod answer_command;
pub mod answer_rule;
mod answer_text;
pub mod coverage;
pub mod degeneracy;
pub mod exact_number;
pub mod expression;
pub mod final_answer;
pub mod teacher_forced;
mod written_number;
