//! Connections: how many, how long, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::router::{self, App};
use super::stream::Stream;

/// Connections at most; others wait to be accepted.
const MOST_CONNECTIONS: usize = 512;

/// Bytes of the head of a request at most.
const MOST_HEAD: usize = 64 << 10;

/// How long to wait where the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until interrupted, and then until the answers that are on their way have ended, or a
/// second interrupt.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut interrupt = std::pin::pin!(interrupted());
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            outcome = &mut interrupt => {
                outcome?;
                break;
            }
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let (app, stopped) = (Arc::clone(&app), stopped.clone());
                    connections.spawn(async move {
                        connection(stream, app, stopped).await;
                        drop(place);
                    });
                }
                // No more descriptors, or a client that has gone: the others go on.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // Whoever listens to it has gone where this fails.
    let _ = stop.send(true);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => Ok(()),
        outcome = interrupted() => outcome,
    }
}

async fn connection(stream: TcpStream, app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    // Tokens go out as they come. Where that cannot be had, they go out later.
    let _ = stream.set_nodelay(true);
    let patience = app.patience;
    let service = service_fn(move |request| router::answer(Arc::clone(&app), request));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(MOST_HEAD)
            .serve_connection(TokioIo::new(Stream::new(stream, patience)), service)
    );
    // What is wrong with a connection concerns its client, who knows.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
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
