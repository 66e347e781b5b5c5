//! `serve`: an HTTP server with OpenAI's API, and the option explorer as its page.
//!
//! ```text
//! connection -> router -> admission -> api (reads, templates, grammars) -> engine: one batch
//!      ^---------------- reply (JSON, server-sent events) <- channel <-----'
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the flags |
//! | `server`, `idle`, `stream` | connections, which of them are in use, their time limits |
//! | `body` | the bodies of requests, and their bounds |
//! | `router`, `guard`, `page` | which address is answered how, who may ask, the page |
//! | `admission`, `memory` | which requests are taken on: how many, and how much memory |
//! | `api` | requests and answers in OpenAI's shapes, and those of options |
//! | `service` | what all requests share |
//! | `engine` | the thread that generates |
//! | `reply`, `error`, `metrics` | documents and streams, errors, counters |

mod admission;
mod api;
pub(crate) mod args;
mod body;
mod engine;
mod error;
mod guard;
mod idle;
mod memory;
mod metrics;
mod page;
mod reply;
mod router;
mod server;
mod service;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ollm_runtime::model::Config;
use serde_json::json;
use tokio::net::TcpListener;

use crate::args::MachineArgs;
use crate::failure::{Failure, Result};
use crate::output::{self, Output};
use admission::Admission;
use args::ServeArgs;
use body::Bodies;
use engine::Bounds;
use guard::Guard;
use memory::KvMemory;
use metrics::Metrics;
use router::App;
use service::Service;

/// A context of fewer tokens is of no use.
const SHORTEST_CONTEXT: usize = 16;

pub(crate) fn run(machine: &MachineArgs, args: &ServeArgs) -> Result<()> {
    let path = machine.model()?;
    if machine.draft.is_some() || machine.prompt_cache.is_some() {
        let message =
            "serve takes no --draft and no --prompt-cache: it decodes in batches, and reuses prefixes in memory";
        return Err(Failure::Usage(message.to_owned()));
    }
    let key = args.key()?;
    if !args.host.is_loopback() && key.is_none() {
        return Err(Failure::Usage(format!(
            "--host {} is reached by other machines: it needs a key (OLLM_API_KEY, --api-key-file, --api-key), which \
             they have to show",
            args.host
        )));
    }
    let name = args.alias.clone().or_else(|| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let mut limit = 0;
    let loaded = crate::engine::Engine::load_for(machine, |model, _| {
        limit = args.kv_memory.map_or_else(memory::default_limit, |mb| mb.saturating_mul(1_000_000));
        context_within(machine, model.config(), limit)
    })?;
    let memory = KvMemory::new(Arc::clone(loaded.session.model()), machine.kv_type, limit);
    let patience = Duration::from_secs(args.timeout);
    let bounds = Bounds { parallel: args.parallel, prefixes: args.prefixes, patience };
    let metrics = Arc::new(Metrics::default());
    let (origin, tokenizer) = (loaded.session.fork()?, Arc::clone(&loaded.tokenizer));
    let (engine, jobs) = engine::Scheduler::new(origin, tokenizer, bounds, memory.clone(), Arc::clone(&metrics));
    let admission = Admission::new(args.queue, patience);
    let name = name.unwrap_or_else(|| "ollm".to_owned());
    let template = args.template.named(loaded.metadata())?;
    let service = Service::new(name, &loaded, jobs, admission, memory, metrics, template);
    let guard = Guard { key, cors: args.cors.clone() };
    let app = Arc::new(App { service: Arc::new(service), guard, patience, bodies: Bodies::default() });
    let thread = std::thread::Builder::new().name("engine".to_owned());
    let engine = thread.spawn(move || engine.run()).map_err(Failure::Server)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(admission::THREADS).build();
    let runtime = runtime.map_err(Failure::Server)?;
    runtime.block_on(listen(SocketAddr::new(args.host, args.port), app, machine.json))?;
    // What still runs after a second interrupt ends with the program.
    runtime.shutdown_background();
    // It ends with the last request.
    drop(engine);
    Ok(())
}

/// The context that was asked for, or as much of it as there is memory for.
fn context_within(machine: &MachineArgs, config: &Config, limit: usize) -> Result<usize> {
    let wanted = if machine.context == 0 { config.context_length } else { machine.context };
    let fitting = memory::fitting_context(config, machine.kv_type, wanted, limit);
    if fitting < wanted.min(SHORTEST_CONTEXT) {
        let mb = limit / 1_000_000;
        let message = format!("{mb} MB for KV caches have room for {fitting} tokens: give more with --kv-memory");
        return Err(Failure::Usage(message));
    }
    if fitting < wanted {
        let mb = limit / 1_000_000;
        output::warn(&format!(
            "the context has {fitting} positions, not {wanted}: {mb} MB for KV caches (--kv-memory) have no room for more"
        ));
    }
    Ok(fitting)
}

async fn listen(address: SocketAddr, app: Arc<App>, json: bool) -> Result<()> {
    let taken = |error: io::Error| Failure::Server(io::Error::new(error.kind(), format!("{address}: {error}")));
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let url = format!("http://{}", listener.local_addr().map_err(Failure::Server)?);
    let mut output = Output::new();
    let told = if json { json!({ "listening": url }).to_string() } else { format!("listening at {url}") };
    output.line(&told)?;
    server::serve(listener, app).await.map_err(Failure::Server)
}
