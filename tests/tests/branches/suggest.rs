//! Suggestions.

use ollm_runtime::branches::{BranchError, SuggestOptions, Suggestion, Until, suggest};
use ollm_runtime::session::{SessionError, SessionOptions};

use crate::{PROMPT, model, options, session, session_with, tokenizer};

#[test]
fn suggestions_are_distinct_ranked_and_leave_the_session_where_it_is() {
    for latents in [true, false] {
        let (origin, tokenizer) = session(latents);
        for (count, tokens, until) in [
            (1, 1, Until::Tokens),
            (3, 8, Until::Tokens),
            (6, 4, Until::Word),
            (4, 12, Until::Line),
            (20, 2, Until::Tokens),
        ] {
            let options = SuggestOptions { count, tokens, until };
            let all = suggest(&origin, &tokenizer, &options).unwrap();
            assert!(!all.is_empty() && all.len() <= count, "{}", all.len());
            if until == Until::Tokens {
                assert_eq!(all.len(), count, "{latents} {count}");
            }
            assert!(all.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
            for (i, one) in all.iter().enumerate() {
                assert!(one.tokens.len() <= tokens && one.probability > 0.0 && one.probability <= 1.0 + 1e-6);
                assert!(tokenizer.decode(&one.tokens).starts_with(&one.text));
                let begins = |other: &Suggestion| other.text.starts_with(&one.text);
                assert!(!all.iter().enumerate().any(|(j, other)| i != j && begins(other)), "{all:?}");
            }
            assert_eq!(suggest(&origin, &tokenizer, &options).unwrap(), all);
        }
        assert_eq!(origin.tokens(), PROMPT);
        let none = SuggestOptions { count: 0, tokens: 8, until: Until::Tokens };
        assert!(matches!(suggest(&origin, &tokenizer, &none), Err(BranchError::Count { .. })));
        let none = SuggestOptions { count: 3, tokens: 0, until: Until::Tokens };
        assert!(matches!(suggest(&origin, &tokenizer, &none), Err(BranchError::Count { .. })));
    }
}

#[test]
fn a_full_context_has_no_room_for_suggestions() {
    let model = model("llama");
    let tokenizer = tokenizer(&model);
    for latents in [true, false] {
        let suggestions = |context: usize| {
            let origin = session_with(&model, latents, &SessionOptions { context, ..options(1) });
            suggest(&origin, &tokenizer, &SuggestOptions { count: 3, tokens: 8, until: Until::Tokens })
        };
        let full = suggestions(PROMPT.len());
        assert!(matches!(full, Err(BranchError::Session(SessionError::ContextFull { .. }))), "{full:?}");
        // Where there is room for one token, there are suggestions of one.
        let short = suggestions(PROMPT.len() + 1).unwrap();
        assert!(!short.is_empty() && short.iter().all(|one| one.tokens.len() == 1), "{short:?}");
    }
}
