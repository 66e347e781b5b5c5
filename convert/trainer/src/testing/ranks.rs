//! Ranks that are threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::ranks::{Ranks, Transport};

/// Channels to and from each of the others.
struct Channels {
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Transport for Channels {
    fn send(&self, to: usize, message: &[u8]) {
        self.to[to].send(message.to_vec()).unwrap();
    }

    fn receive(&self, from: usize) -> Vec<u8> {
        self.from[from].lock().unwrap().recv().unwrap()
    }
}

/// What `work` gives on each of `size` ranks, which are threads.
pub(crate) fn on_ranks<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let (mut to, mut from): (Vec<Vec<_>>, Vec<Vec<_>>) =
        ((0..size).map(|_| Vec::new()).collect(), (0..size).map(|_| Vec::new()).collect());
    for sender in &mut to {
        for receiver in &mut from {
            let (send, receive) = channel();
            sender.push(send);
            receiver.push(Mutex::new(receive));
        }
    }
    let ranks = to.into_iter().zip(from).enumerate();
    std::thread::scope(|scope| {
        let start = |(rank, (to, from))| {
            let ranks = Ranks::new(rank, size, Arc::new(Channels { to, from }));
            let work = &work;
            scope.spawn(move || work(ranks))
        };
        let started: Vec<_> = ranks.map(start).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
