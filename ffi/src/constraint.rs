//! Constrained output: generated text keeps to a grammar, such as the schema of a JSON document. A
//! grammar is compiled once for a model; any number of sessions keep to it, each at its own place.
//!
//! Each answer of a constrained session is a text of the grammar: a feed begins the next one.
//! Steps, runs, option sets, suggestions and branches have no other tokens than those that it
//! allows; probabilities are those among all tokens. Tokens that the grammar forces are not
//! computed: their log-probability is 0 and their latent -1, and they go through the network in one
//! pass with the next token that is not forced. Where the grammar is complete, end tokens are
//! allowed; where nothing else can follow, an end token comes (of a model without one a run ends
//! there with `OLLM_REASON_END`, and a step is `OLLM_UNSUPPORTED`). A text that a limit cuts is not
//! complete: `OLLM_REASON_LIMIT` says so, and `ollm_session_is_complete`. A grammar that becomes
//! too complex on its way is `OLLM_UNSUPPORTED` too, of whatever chooses tokens.
//!
//! These functions are in every build. The small library has no grammars, and says
//! `OLLM_UNSUPPORTED`: build it with the cargo feature `constraints`.

use std::ffi::c_char;
use std::sync::Arc;

use ollm_runtime::constraint::{Constraint, Grammar, GrammarKind};
use ollm_runtime::model::Model;

use crate::boundary::guard;
use crate::cast::{self, Out, versioned};
use crate::handle::{HandleTable, Named};
use crate::model::OllmModel;
use crate::session::{Live, OllmSession};
use crate::status::{CallFailure, OllmStatus, Result};
use crate::turn::with;

/// A grammar, compiled for the tokens of a model. Since 0.1.0.
pub struct OllmGrammar {
    grammar: Arc<Grammar>,
    model: Arc<Model>,
}

static GRAMMARS: HandleTable<OllmGrammar> = HandleTable::new();

impl Named for OllmGrammar {
    const KIND: usize = 10;
    const NAME: &'static str = "grammar";
    fn table() -> &'static HandleTable<Self> {
        &GRAMMARS
    }
}

/// What the text of a grammar is written in. Since 0.1.0.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum OllmGrammarKind {
    /// JSON schema. A keyword that is not supported is an error that names it. The JSON is of one
    /// line, with one space behind each `,` and `:` and no other white space, unless the schema
    /// says otherwise under `x-guidance`.
    JsonSchema = 0,
    /// A regular expression without look-around, which all of the text matches.
    Regex = 1,
    /// Lark, as llguidance reads it; it begins with the rule `start`.
    Lark = 2,
    /// GBNF, as llama.cpp reads it; it begins with the rule `root`.
    Gbnf = 3,
}

/// Compiles a grammar of `length` bytes, in the notation `kind` (an `ollm_grammar_kind`), for the
/// tokens of `model`. It has at most 256 KiB, and 100 brackets in brackets (those in its texts
/// count). The first one on a model takes some 50 ms more. On success `*grammar` is a handle of one
/// owner: free it with `ollm_grammar_free`. Sessions that keep to it keep it alive.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a text that is no grammar, or asks for a
/// feature that is not supported, which `ollm_last_error` names; `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_NO_TOKENIZER`, `OLLM_IO` if there is no thread to compile on,
/// `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` in a build without grammars. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_grammar_new(
    model: *const OllmModel,
    kind: i32,
    text: *const c_char,
    length: usize,
    grammar: *mut *mut OllmGrammar,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the text is as long as the caller says, and the output is where it says.
        let (text, out) = unsafe { (cast::text("the grammar", text, length)?, Out::new("grammar", grammar)?) };
        let kind = match kind {
            0 => GrammarKind::JsonSchema,
            1 => GrammarKind::Regex,
            2 => GrammarKind::Lark,
            3 => GrammarKind::Gbnf,
            other => return Err(CallFailure::argument(format!("{other} is no kind of grammar"))),
        };
        let model = OllmModel::table().get(model)?;
        let compiled = model.grammars()?.compile(kind, text)?;
        out.set(GRAMMARS.insert(OllmGrammar { grammar: compiled, model: Arc::clone(&model.model) })?);
        Ok(())
    })
}

/// Frees a grammar and makes `*grammar` NULL. Sessions that keep to it still do. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_grammar_free(grammar: *mut *mut OllmGrammar) -> OllmStatus {
    // SAFETY: the pointer is NULL or points to a handle.
    guard(|| unsafe { GRAMMARS.release_at(grammar) }.map(drop))
}

/// Where a constraint begins. A field that is 0 takes its default. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmConstraintOptions {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// If it is not NULL, the text is free until it has this text, such as `</think>`: the grammar
    /// begins behind it. A text without it may end anywhere. At most 4096 bytes.
    pub trigger: *const c_char,
    /// Bytes of `trigger`.
    pub trigger_length: usize,
    /// So many tokens at the end of the sequence are the beginning of the constrained text: an
    /// answer that was begun by a feed, or a restored one.
    pub begun: usize,
}

versioned!(OllmConstraintOptions {
    struct_size: usize,
    trigger: *const c_char,
    trigger_length: usize,
    begun: usize,
});

/// Bytes of a trigger at most: each step compares its beginnings with the text.
const MAX_TRIGGER: usize = 4096;

/// Constrains what the session generates from here on; a NULL `grammar` leaves it free. Forks and
/// branches that are made from now on are constrained as well, each at a place of its own. A rewind
/// takes the constraint back over the generated tokens; a save does not have it. `options` may be
/// NULL.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also if the tokens that are begun are none of the grammar's,
/// or not there; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_MISMATCH` if the
/// grammar was compiled for another model, `OLLM_OUT_OF_MEMORY`. The session then stays as it was.
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_set_constraint(
    session: *mut OllmSession,
    grammar: *const OllmGrammar,
    options: *const OllmConstraintOptions,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let options = unsafe { cast::options(options) }?;
        // SAFETY: the text is as long as the options say.
        let trigger = unsafe { cast::text("the trigger", options.trigger, options.trigger_length) }?;
        if trigger.len() > MAX_TRIGGER {
            let message = format!("a trigger of {} bytes is longer than {MAX_TRIGGER}", trigger.len());
            return Err(CallFailure::argument(message));
        }
        let grammar = if grammar.is_null() { None } else { Some(GRAMMARS.get(grammar)?) };
        with(session, |live| live.constrain(grammar.as_deref(), trigger, options.begun))
    })
}

impl Live {
    fn constrain(&mut self, grammar: Option<&OllmGrammar>, trigger: &str, begun: usize) -> Result<()> {
        let Some(OllmGrammar { grammar, model }) = grammar else { return Ok(self.session.set_constraint(None)?) };
        if !Arc::ptr_eq(model, self.session.model()) {
            let message = "the grammar was compiled for another model: compile it for this one";
            return Err(CallFailure::new(OllmStatus::Mismatch, message));
        }
        let tokens = self.session.tokens();
        let begin = tokens.len().checked_sub(begun);
        let begin = begin.ok_or_else(|| {
            CallFailure::argument(format!("{begun} tokens are begun, but the session has {}", tokens.len()))
        })?;
        let mut constraint = Constraint::after(grammar, trigger);
        tokens[begin..].iter().try_for_each(|&token| constraint.accept(token))?;
        Ok(self.session.set_constraint(Some(constraint))?)
    }
}

/// Whether the text that the session generated since its last feed is a whole one of its grammar,
/// in `*complete`: 1 or 0; 1 of a session without a constraint, and before the trigger.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_is_complete(session: *mut OllmSession, complete: *mut i32) -> OllmStatus {
    guard(|| {
        // SAFETY: the output is where the caller says.
        let out = unsafe { Out::new("complete", complete) }?;
        let constraint = with(session, |live| Ok(live.session.constraint().cloned()))?;
        out.set(i32::from(constraint.is_none_or(|mut constraint| constraint.is_complete())));
        Ok(())
    })
}
