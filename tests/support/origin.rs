//! An origin: a tiny HTTP server at a site's address, which can be told to fail.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const UP: u8 = 0;
const FAILING: u8 = 1;
const CLOSED: u8 = 2;
const ENDED: u8 = 3;

/// Answers every request with 200, until told otherwise.
pub struct Origin {
    mood: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// One at each of `addresses`, all at one free port: probes have one.
    pub fn at(addresses: &[&str]) -> (u16, Vec<Self>) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        for _ in 0..50 {
            let first = TcpListener::bind((addresses[0], 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            let rest: Result<Vec<_>, _> = addresses[1..].iter().map(|a| TcpListener::bind((*a, port))).collect();
            if let Ok(rest) = rest {
                return (port, std::iter::once(first).chain(rest).map(Self::serve).collect());
            }
        }
        panic!("no port is free at all of {addresses:?}");
    }

    fn serve(listener: TcpListener) -> Self {
        let mood = Arc::new(AtomicU8::new(UP));
        let address = listener.local_addr().unwrap();
        let seen = mood.clone();
        let thread = std::thread::spawn(move || answer(listener, address, &seen));
        Self { mood, thread: Some(thread) }
    }

    /// 200 from now on.
    pub fn recover(&self) {
        self.mood.store(UP, Ordering::SeqCst);
    }

    /// 503 from now on.
    pub fn fail(&self) {
        self.mood.store(FAILING, Ordering::SeqCst);
    }

    /// Connections are refused from now on.
    pub fn close(&self) {
        self.mood.store(CLOSED, Ordering::SeqCst);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.mood.store(ENDED, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn answer(listener: TcpListener, address: SocketAddr, mood: &AtomicU8) {
    listener.set_nonblocking(true).unwrap();
    let mut listener = Some(listener);
    loop {
        let now = mood.load(Ordering::SeqCst);
        match now {
            ENDED => return,
            CLOSED => listener = None,
            _ if listener.is_none() => {
                listener = TcpListener::bind(address).ok();
                if let Some(listener) = &listener {
                    listener.set_nonblocking(true).unwrap();
                }
            }
            _ => {}
        }
        let Some(Ok((mut stream, _))) = listener.as_ref().map(TcpListener::accept) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let status = if now == UP { "200 OK" } else { "503 Service Unavailable" };
        // A probe that has gone away is no failure of the origin.
        _ = stream.set_nonblocking(false);
        _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        _ = stream.read(&mut [0; 2048]);
        _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}
