//! A TCP proxy before a store: it cuts connections, loses a request or a reply at a chosen point, swallows what passes
//! (half-open: no data and no end), delays, or is away.
//!
//! Requests and replies are counted on the connections for work only, one a read: a call of the store waits for each
//! answer before it asks again. The tests of the Postgres store use it as well.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use windlass::Env;

/// What is lost, once so many of its kind have passed from now on; then the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lose {
    Request(u32),
    Reply(u32),
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    There,
    Back,
}

enum Judged {
    Pass(Duration),
    Swallow,
    Cut,
}

struct Rules {
    /// The connections that are there. Cancelled: they are cut.
    generation: CancellationToken,
    away: bool,
    delay: Duration,
    lose: Option<Lose>,
}

struct Shared {
    target: AtomicU16,
    rules: Mutex<Rules>,
    /// How many requests or replies were lost.
    lost: watch::Sender<u32>,
    round_trips: AtomicU32,
}

/// One connection through the proxy.
struct Passage {
    cut: CancellationToken,
    half_open: AtomicBool,
    /// It only hears what is published.
    hears: AtomicBool,
    /// Something was asked, and nothing has come back yet.
    asking: AtomicBool,
    generation: CancellationToken,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    passages: Arc<Mutex<Vec<Arc<Passage>>>>,
    end: CancellationToken,
}

impl Proxy {
    /// Before the server on this port of this host.
    pub async fn before(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let rules = Rules { generation: CancellationToken::new(), away: false, delay: Duration::ZERO, lose: None };
        let shared = Shared {
            target: target.into(),
            rules: Mutex::new(rules),
            lost: watch::Sender::new(0),
            round_trips: AtomicU32::new(0),
        };
        let proxy = Self {
            port: listener.local_addr().expect("its address").port(),
            shared: Arc::new(shared),
            passages: Arc::default(),
            end: CancellationToken::new(),
        };
        let accepting = accept(listener, proxy.shared.clone(), proxy.passages.clone());
        let end = proxy.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(accepting).await });
        proxy
    }

    fn rules<A>(&self, change: impl FnOnce(&mut Rules) -> A) -> A {
        change(&mut self.shared.rules.lock().unwrap())
    }

    /// Leads new connections to another port.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    /// Ends all connections that there are.
    pub fn cut(&self) {
        let old = self.rules(|rules| std::mem::replace(&mut rules.generation, CancellationToken::new()));
        old.cancel();
    }

    /// Ends all connections, and until it is back new ones end at once.
    pub fn away(&self, away: bool) {
        self.rules(|rules| rules.away = away);
        if away {
            self.cut();
        }
    }

    /// From now on what passes through the connections that there are is swallowed, both ways. New ones work.
    pub fn leave_half_open(&self) {
        let passages = self.passages.lock().unwrap();
        passages.iter().for_each(|passage| passage.half_open.store(true, Ordering::Relaxed));
    }

    /// The same for those alone that hear what is published.
    pub fn deafen(&self) {
        let passages = self.passages.lock().unwrap();
        let hearing = passages.iter().filter(|passage| passage.hears.load(Ordering::Relaxed));
        hearing.for_each(|passage| passage.half_open.store(true, Ordering::Relaxed));
    }

    /// Each piece takes this long in either direction.
    pub fn delay(&self, delay: Duration) {
        self.rules(|rules| rules.delay = delay);
    }

    pub fn lose(&self, what: Lose) {
        self.rules(|rules| rules.lose = Some(what));
    }

    /// Takes back what was to be lost; says whether it had not been lost yet.
    pub fn keep(&self) -> bool {
        self.rules(|rules| rules.lose.take()).is_some()
    }

    /// How often something was asked, over all connections; what is asked before anything has come back counts once.
    pub fn round_trips(&self) -> u32 {
        self.shared.round_trips.load(Ordering::Relaxed)
    }

    /// How many requests and replies were lost so far, and what changes it.
    pub fn lost(&self) -> watch::Receiver<u32> {
        self.shared.lost.subscribe()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, passages: Arc<Mutex<Vec<Arc<Passage>>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (away, generation) = {
            let rules = shared.rules.lock().unwrap();
            (rules.away, rules.generation.clone())
        };
        let target = SocketAddr::from(([127, 0, 0, 1], shared.target.load(Ordering::Relaxed)));
        let server = if away { None } else { TcpStream::connect(target).await.ok() };
        let Some(server) = server else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let passage = Arc::new(Passage {
            cut: generation.child_token(),
            half_open: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            asking: AtomicBool::new(false),
            generation,
        });
        let mut known = passages.lock().unwrap();
        known.retain(|passage| !passage.cut.is_cancelled());
        known.push(passage.clone());
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(pump(Way::There, from_client, to_server, passage.clone(), shared.clone()));
        tokio::spawn(pump(Way::Back, from_server, to_client, passage, shared.clone()));
    }
}

/// Carries bytes one way until either end or the proxy ends it.
async fn pump(way: Way, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passage: Arc<Passage>, shared: Arc<Shared>) {
    let mut bytes = vec![0; 64 << 10];
    let cut = passage.cut.clone();
    while let Some(Ok(many @ 1..)) = cut.run_until_cancelled(from.read(&mut bytes)).await {
        match judge(way, &bytes[..many], &passage, &shared) {
            Judged::Swallow => {}
            Judged::Cut => break,
            Judged::Pass(delay) => {
                if !delay.is_zero() {
                    Env::system().sleep(delay).await;
                }
                if !matches!(cut.run_until_cancelled(to.write_all(&bytes[..many])).await, Some(Ok(()))) {
                    break;
                }
            }
        }
    }
    cut.cancel();
}

fn judge(way: Way, bytes: &[u8], passage: &Passage, shared: &Shared) -> Judged {
    if !passage.asking.swap(way == Way::There, Ordering::Relaxed) && way == Way::There {
        shared.round_trips.fetch_add(1, Ordering::Relaxed);
    }
    if way == Way::There
        && [&b"SUBSCRIBE"[..], b"LISTEN "].iter().any(|hear| bytes.windows(hear.len()).any(|word| word == *hear))
    {
        passage.hears.store(true, Ordering::Relaxed);
    }
    if passage.half_open.load(Ordering::Relaxed) {
        return Judged::Swallow;
    }
    let mut rules = shared.rules.lock().unwrap();
    if passage.hears.load(Ordering::Relaxed) || passage.generation.is_cancelled() {
        return Judged::Pass(rules.delay);
    }
    match (way, &mut rules.lose) {
        (Way::There, Some(Lose::Request(left))) | (Way::Back, Some(Lose::Reply(left))) if *left > 0 => *left -= 1,
        (Way::There, Some(Lose::Request(_))) | (Way::Back, Some(Lose::Reply(_))) => {
            rules.lose = None;
            shared.lost.send_modify(|lost| *lost += 1);
            return Judged::Cut;
        }
        _ => {}
    }
    Judged::Pass(rules.delay)
}
