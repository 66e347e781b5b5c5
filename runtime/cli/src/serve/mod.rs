//! `serve`: an HTTP server with `OpenAI`'s API, and the option explorer as its page.
//!
//! ```text
//! connection -> router -> api (reads, templates, grammars) -> engine: one thread, one batch
//!      ^---------------- reply (JSON, server-sent events) <- channel <-'
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | the flags |
//! | `server`, `idle`, `stream` | connections, which of them are in use, their time limits |
//! | `body` | the bodies of requests, and their bounds |
//! | `router`, `guard`, `page` | which address is answered how, who may ask, the page |
//! | `api` | requests and answers in `OpenAI`'s shapes, and those of options |
//! | `service` | what all requests share |
//! | `engine` | the thread that generates |
//! | `reply`, `error`, `metrics` | documents and streams, errors, counters |

mod api;
pub(crate) mod args;
mod body;
mod engine;
mod error;
mod guard;
mod idle;
mod metrics;
mod page;
mod reply;
mod router;
mod server;
mod service;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;

use crate::args::MachineArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use args::ServeArgs;
use body::Bodies;
use engine::Bounds;
use guard::Guard;
use metrics::Metrics;
use router::App;
use service::Service;

/// Threads that read requests: templates and grammars take their time.
const READERS: usize = 4;

pub(crate) fn run(machine: &MachineArgs, args: &ServeArgs) -> Result<()> {
    let path = machine.model()?;
    if !args.host.is_loopback() && args.api_key.is_none() {
        return Err(Failure::Usage(format!(
            "--host {} is reached by other machines: it needs --api-key KEY, which they have to show",
            args.host
        )));
    }
    let name = args.alias.clone().or_else(|| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let loaded = crate::engine::Engine::load(machine)?;
    let patience = Duration::from_secs(args.timeout);
    let bounds = Bounds { parallel: args.parallel, prefixes: args.prefixes, patience };
    let metrics = Arc::new(Metrics::default());
    let (origin, tokenizer) = (loaded.session.fork()?, Arc::clone(&loaded.tokenizer));
    let (engine, jobs) = engine::Engine::new(origin, tokenizer, args.queue, bounds, Arc::clone(&metrics));
    let service = Service::new(name.unwrap_or_else(|| "ollm".to_owned()), &loaded, jobs, metrics);
    let guard = Guard { key: args.api_key.clone(), cors: args.cors.clone() };
    let app = Arc::new(App { service: Arc::new(service), guard, patience, bodies: Bodies::default() });
    let thread = std::thread::Builder::new().name("engine".to_owned());
    let engine = thread.spawn(move || engine.run()).map_err(Failure::Server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(READERS).build();
    let runtime = runtime.map_err(Failure::Server)?;
    runtime.block_on(listen(SocketAddr::new(args.host, args.port), app, machine.json))?;
    // What still runs after a second interrupt ends with the program.
    runtime.shutdown_background();
    // It ends with the last request.
    drop(engine);
    Ok(())
}

async fn listen(address: SocketAddr, app: Arc<App>, json: bool) -> Result<()> {
    let listener = TcpListener::bind(address).await.map_err(Failure::Server)?;
    let url = format!("http://{}", listener.local_addr().map_err(Failure::Server)?);
    let mut output = Output::new();
    let told = if json { json!({ "listening": url }).to_string() } else { format!("listening at {url}") };
    output.line(&told)?;
    server::serve(listener, app).await.map_err(Failure::Server)
}
