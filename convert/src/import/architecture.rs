//! The architectures of Hugging Face that can be imported, and the family that each becomes.

use ollm_runtime::model::{FAMILIES, Family};

/// How an architecture of transformers differs from its family in GGUF.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what architectures have does not depend on what else they have")]
pub(super) struct Architecture {
    /// As in `architectures` of `config.json`.
    pub(super) name: &'static str,
    /// `general.architecture`.
    family: &'static str,
    /// What norms multiply by is 1 more than the file says.
    pub(super) norms_from_one: bool,
    /// Whether the head is the embedding where the configuration does not say.
    pub(super) tied: bool,
    /// There is a window only if `use_sliding_window` says so.
    pub(super) optional_window: bool,
    /// Whether `query_pre_attn_scalar` and the soft-caps of scores and logits count.
    pub(super) scaled_scores: bool,
}

const LLAMA: Architecture = Architecture {
    name: "LlamaForCausalLM",
    family: "llama",
    norms_from_one: false,
    tied: false,
    optional_window: false,
    scaled_scores: false,
};
const GEMMA: Architecture = Architecture { norms_from_one: true, tied: true, scaled_scores: true, ..LLAMA };

/// All of them.
pub(super) const ALL: [Architecture; 6] = [
    LLAMA,
    Architecture { name: "MistralForCausalLM", ..LLAMA },
    Architecture { name: "Qwen2ForCausalLM", family: "qwen2", optional_window: true, ..LLAMA },
    Architecture { name: "Qwen3ForCausalLM", family: "qwen3", optional_window: true, ..LLAMA },
    Architecture { name: "Gemma2ForCausalLM", family: "gemma2", ..GEMMA },
    Architecture { name: "Gemma3ForCausalLM", family: "gemma3", ..GEMMA },
];

impl Architecture {
    /// What the runtime knows of the family.
    pub(super) fn family(&self) -> &'static Family {
        FAMILIES.iter().find(|family| family.name == self.family).expect("every family here is one of the runtime's")
    }
}
