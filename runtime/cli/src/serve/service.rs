//! What all requests share: the model's names and tokens, and the way to the engine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use ollm_runtime::chat::ChatTemplate;
use ollm_runtime::constraint::GrammarCompiler;
use ollm_runtime::plugin::Plugin;
use ollm_runtime::session::{Session, SessionError};
use ollm_runtime::tokenizer::Tokenizer;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::admission::{Admission, Place};
use super::engine::{Between, Job, Request, Task, Then};
use super::error::ApiError;
use super::memory::KvMemory;
use super::metrics::Metrics;

/// What all requests share.
pub(crate) struct Service {
    /// The model's name.
    pub(crate) name: String,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) plugin: Option<Arc<Plugin>>,
    /// Tokens of the vocabulary as the model has it.
    pub(crate) vocabulary: usize,
    /// Numbers of an embedding.
    pub(crate) embedding: usize,
    /// Whether the model continues texts: it may give embeddings alone.
    generates: bool,
    /// Whether it ranks documents.
    pub(crate) ranks: bool,
    pub(crate) context: usize,
    /// Bytes of a text at most: more than the longest tokens that the context has room for.
    pub(crate) text_limit: usize,
    pub(crate) admission: Admission,
    pub(crate) metrics: Arc<Metrics>,
    template: Result<ChatTemplate, ApiError>,
    compiler: OnceLock<GrammarCompiler>,
    engine: UnboundedSender<Request>,
    memory: KvMemory,
    /// Of this run of the server; those of requests follow from it.
    seed: u64,
    requests: AtomicU64,
}

impl Service {
    pub(crate) fn new(
        name: String,
        engine: &crate::engine::Engine,
        jobs: UnboundedSender<Request>,
        admission: Admission,
        memory: KvMemory,
        metrics: Arc<Metrics>,
        template: Option<ChatTemplate>,
    ) -> Self {
        let session = &engine.session;
        let vocabulary = session.model().config().vocab;
        let lengths = (0..vocabulary as u32).filter_map(|token| Some(engine.tokenizer.token_bytes(token)?.len()));
        let longest = lengths.max().unwrap_or(0);
        Self {
            name,
            created: now(),
            tokenizer: Arc::clone(&engine.tokenizer),
            plugin: session.plugin().cloned(),
            vocabulary,
            embedding: session.model().config().embedding_width(),
            generates: session.model().config().causal,
            ranks: session.model().config().classifier.is_some(),
            context: session.context(),
            text_limit: session.context().saturating_mul(longest),
            admission,
            metrics,
            template: template.map_or_else(|| Ok(ChatTemplate::from_metadata(engine.metadata())?), Ok),
            compiler: OnceLock::new(),
            engine: jobs,
            memory,
            seed: RandomState::new().build_hasher().finish(),
            requests: AtomicU64::new(0),
        }
    }

    /// That the model continues texts.
    pub(crate) fn check_generates(&self) -> Result<(), ApiError> {
        if self.generates { Ok(()) } else { Err(SessionError::Bidirectional.into()) }
    }

    /// The chat template.
    pub(crate) fn template(&self) -> Result<&ChatTemplate, ApiError> {
        self.template.as_ref().map_err(ApiError::clone)
    }

    /// What compiles grammars; the first request that needs it waits for it.
    pub(crate) fn compiler(&self) -> Result<&GrammarCompiler, ApiError> {
        if let Some(compiler) = self.compiler.get() {
            return Ok(compiler);
        }
        let compiler = GrammarCompiler::new(&self.tokenizer, self.vocabulary)?;
        Ok(self.compiler.get_or_init(|| compiler))
    }

    /// A token, if it is one of the vocabulary.
    pub(crate) fn token(&self, value: &Value) -> Option<u32> {
        value.as_u64().filter(|&token| token < self.vocabulary as u64).map(|token| token as u32)
    }

    /// A name for an answer.
    pub(crate) fn next_id(&self, prefix: &str) -> String {
        format!("{prefix}-{:08x}{:08x}", self.seed as u32, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for a request that gives none.
    pub(crate) fn next_seed(&self) -> u64 {
        // Half of it: clients read integers as floats.
        (self.seed >> 32).wrapping_add(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Does work that needs a session of its own, behind a prompt; gives what it gives. The memory
    /// is that of a [job](Self::job).
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        prompt: Vec<u32>,
        (tokens, count): (usize, usize),
        place: Place,
        work: impl FnOnce(Session, &mut Between<'_>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (work, reply) = Task::boxed(work);
        self.submit(vec![self.job(prompt, Then::Work(work), tokens, count)], place)?;
        reply.await.map_err(|_| ApiError::stopped())?
    }

    /// A prompt and what follows it: `count` texts of at most `tokens` tokens, the prompt's
    /// included.
    pub(crate) fn job(&self, prompt: Vec<u32>, then: Then, tokens: usize, count: usize) -> Job {
        let kv = self.memory.needed(prompt.len(), tokens.min(self.context), count);
        Job { prompt, then, kv }
    }

    /// Gives the jobs of a request to the engine, unless there will never be memory for one.
    pub(crate) fn submit(&self, jobs: Vec<Job>, place: Place) -> Result<(), ApiError> {
        let limit = self.memory.limit();
        if let Some(needed) = jobs.iter().map(|job| job.kv).filter(|&kv| kv > limit).max() {
            let message = format!(
                "the answers may need {} MB of KV cache, and there are {} MB (--kv-memory): ask for fewer, or for \
                 shorter ones (max_tokens)",
                needed / 1_000_000,
                limit / 1_000_000
            );
            return Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("kv_memory_exceeded"));
        }
        self.engine.send(Request::new(jobs, place)).map_err(|_| ApiError::ending())
    }

    /// Whether nothing is generated any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.engine.is_closed()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
