//! A TCP connection whose peer has to read: where nothing can be written for too long, it is over.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::idle::ConnectionActivity;

/// How long a connection that has had its last reply stays open, and how much is read of it.
const LINGER: Duration = Duration::from_secs(1);
const MAX_DRAINED: usize = 64 << 20;

/// A connection.
pub(crate) struct Stream {
    inner: TcpStream,
    patience: Duration,
    /// Runs while the peer does not read.
    timer: Pin<Box<Sleep>>,
    waits: bool,
    activity: Arc<ConnectionActivity>,
}

impl Stream {
    pub(crate) fn new(inner: TcpStream, patience: Duration, activity: Arc<ConnectionActivity>) -> Self {
        Self { inner, patience, timer: Box::pin(sleep(patience)), waits: false, activity }
    }

    /// Closes a connection on which the peer still sends, so that it sees the reply: what comes is
    /// read, within reason. Else the system resets the connection, and the peer loses the reply.
    pub(crate) async fn linger(mut self) {
        let close = poll_fn(|context| Pin::new(&mut self.inner).poll_shutdown(context));
        // A peer that has gone sees nothing anyway.
        let _ = timeout(LINGER, close).await;
        let drain = async {
            let (mut read, mut buffer) = (0, vec![0; 16 << 10]);
            while read < MAX_DRAINED && self.inner.readable().await.is_ok() {
                match self.inner.try_read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => read += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        let _ = timeout(LINGER, drain).await;
    }

    /// Lets the timer run while there is no progress.
    fn watch<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            if self.waits {
                self.waits = false;
                self.activity.set_blocked(false);
            }
            return progress;
        }
        if !self.waits {
            self.waits = true;
            self.activity.set_blocked(true);
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
        self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.watch(context, progress)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}
