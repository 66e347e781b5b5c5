//! Connections: how many, how long, and how they end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::idle::{ConnectionActivity, GuardedBody, RequestGuard};
use super::router::{self, App};
use super::stream::Stream;

/// Connections at most. One more takes the place of the oldest that waits for its client; where
/// there is none, it waits to be accepted.
const MAX_CONNECTIONS: usize = 512;

/// A connection that began to wait for its client this lately may not wait for long.
const JUST_NOW: Duration = Duration::from_secs(1);

/// Bytes of the head of a request at most.
const MAX_HEAD: usize = 64 << 10;

/// Bytes of answers that the system keeps for a client beside those that are on their way to it:
/// how many these are, the client's system says (its receive window).
const MAX_UNSENT: u32 = 16 << 10;

/// How long to wait where the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until interrupted, and then until the answers that are on their way have ended, or a
/// second interrupt.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    let mut interrupt = std::pin::pin!(interrupted());
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            outcome = &mut interrupt => {
                outcome?;
                break;
            }
            Some(_) = connections.join_next() => open.retain(|one| !one.task.is_finished()),
            accepted = listener.accept(), if has_room || open.iter().any(Open::waits) => match accepted {
                Ok((stream, _)) => {
                    if !has_room && let Some(oldest) = open.iter().position(Open::waits).and_then(|at| open.remove(at)) {
                        oldest.task.abort();
                    }
                    let activity = Arc::new(ConnectionActivity::default());
                    let task = connections.spawn(connection(stream, Arc::clone(&app), stopped.clone(), Arc::clone(&activity)));
                    open.push_back(Open { task, activity });
                }
                // No more descriptors, or a client that has gone: the others go on.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            // Some connection may have come to wait for its client meanwhile.
            () = tokio::time::sleep(JUST_NOW), if !has_room => {}
        }
    }
    drop(listener);
    // Whoever listens to it has gone where this fails.
    let _ = stop.send(true);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => Ok(()),
        outcome = interrupted() => outcome,
    }
}

/// A connection that is open.
struct Open {
    task: AbortHandle,
    activity: Arc<ConnectionActivity>,
}

impl Open {
    /// Whether its place can be had.
    fn waits(&self) -> bool {
        self.activity.waits(JUST_NOW)
    }
}

async fn connection(
    stream: TcpStream,
    app: Arc<App>,
    mut stopped: watch::Receiver<bool>,
    activity: Arc<ConnectionActivity>,
) {
    // Tokens go out as they come. Where that cannot be had, they go out later.
    let _ = stream.set_nodelay(true);
    let patience = app.patience;
    // What the client does not take waits in the system no longer than here: see [`MAX_UNSENT`].
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT);
    let stream = Stream::new(stream, patience, Arc::clone(&activity));
    let used = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (app, busy) = (Arc::clone(&app), RequestGuard::new(&used));
        request.extensions_mut().insert(Arc::clone(&used));
        Box::pin(async move {
            router::answer(app, request).await.map(|reply| reply.map(|body| GuardedBody::new(body, busy)))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        // Some chunks of an answer, not all that there is memory for.
        .writev(true)
        .serve_connection(TokioIo::new(stream), service);
    // What is wrong with a connection concerns its client, who is told.
    let ended = tokio::select! {
        _ = poll_fn(|context| connection.poll_without_shutdown(context)) => true,
        _ = stopped.changed() => false,
    };
    if !ended {
        Pin::new(&mut connection).graceful_shutdown();
        let mut rest = poll_fn(|context| connection.poll_without_shutdown(context));
        // What was not asked in time is not answered any more.
        while timeout(JUST_NOW, &mut rest).await.is_err() && !activity.asks(JUST_NOW) {}
    }
    connection.into_parts().io.into_inner().linger().await;
}

/// Waits for Ctrl-C, or for the system to end the program.
async fn interrupted() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
