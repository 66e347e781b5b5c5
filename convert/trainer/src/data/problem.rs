//! What is learned and asked: a question and its answer.

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A question and the text that answers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The turns before the question.
    pub before: Vec<Turn>,
    /// What the user asks; empty where the answer is a text of its own.
    pub question: String,
    /// What the assistant should say: the only part that is trained on.
    pub answer: String,
    /// The final answer, where the data name it apart.
    pub expected: Option<String>,
}

impl Problem {
    /// A question that begins a conversation.
    pub fn new(question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { question: question.into(), answer: answer.into(), ..Self::default() }
    }

    /// All that decides what the problem is, part by part.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let before = self.before.iter().flat_map(|turn| [turn.role.as_bytes(), turn.content.as_bytes()]);
        let rest = [self.question.as_bytes(), self.answer.as_bytes()];
        before.chain(rest).chain(self.expected.as_deref().map(str::as_bytes))
    }
}
