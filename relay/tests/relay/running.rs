//! A relay in this process, and targets for it to dial.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relay::config::Settings;
use relay::metrics::Metrics;
use relay::shutdown::{Trigger, channel};
use relay::{Config, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Nothing that is waited for takes longer, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, and fails the test if it is in vain.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// A running relay.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) scrape: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    /// Never pulled: the relay lives as long as its test.
    _trigger: Trigger,
}

/// Settings of this text, at ports of the kernel's choice; without an own name server all
/// questions go nowhere.
pub(crate) fn config(text: &str) -> Config {
    let mut settings: Settings = toml::from_str(text).unwrap();
    settings.listen.get_or_insert("127.0.0.1:0".into());
    settings.metrics.get_or_insert("127.0.0.1:0".into());
    if settings.nameserver.is_empty() {
        settings.nameserver.push("127.0.0.1:1".into());
    }
    settings.check().unwrap()
}

impl Running {
    pub(crate) async fn start(text: &str) -> Self {
        let relay = Relay::bind(config(text)).await.unwrap();
        let (trigger, shutdown) = channel();
        let running = Self {
            address: relay.address().unwrap(),
            scrape: relay.metrics_address().unwrap(),
            metrics: relay.metrics(),
            _trigger: trigger,
        };
        tokio::spawn(relay.run(shutdown));
        running
    }

    /// The answer to a GET at the metrics listener.
    pub(crate) async fn get(&self, path: &str) -> String {
        get(self.scrape, path).await
    }

    /// Waits until a line of the metrics is there.
    pub(crate) async fn reaches(&self, line: &str) {
        soon(async {
            while !self.get("/metrics").await.lines().any(|told| told == line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    say(address, format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes()).await
}

/// Sends bytes, and reads until the other side closes.
pub(crate) async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a target does with a connection.
#[derive(Clone, Copy)]
pub(crate) enum Habit {
    /// Sends back what comes, and ends when the other side has.
    Echo,
    /// Reads nothing.
    Deaf,
    /// Sends `bytes` and closes.
    Give(usize),
}

/// A TCP server on loopback that counts who came.
pub(crate) struct TargetServer {
    pub(crate) port: u16,
    came: Arc<AtomicUsize>,
}

impl TargetServer {
    pub(crate) async fn start(habit: Habit) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if matches!(habit, Habit::Deaf) {
            // What it does not read waits at the relay, not in the kernel.
            socket.set_recv_buffer_size(4096).unwrap();
        }
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let port = listener.local_addr().unwrap().port();
        let came = Arc::new(AtomicUsize::new(0));
        let counter = came.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, habit));
            }
        });
        Self { port, came }
    }

    /// How many connections there were.
    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

async fn serve(mut socket: TcpStream, habit: Habit) {
    match habit {
        Habit::Echo => {
            let (mut reader, mut writer) = socket.split();
            _ = tokio::io::copy(&mut reader, &mut writer).await;
            _ = writer.shutdown().await;
        }
        Habit::Deaf => std::future::pending().await,
        Habit::Give(bytes) => {
            let block = pattern(64 * 1024);
            let mut left = bytes;
            while left > 0 {
                let part = left.min(block.len());
                if socket.write_all(&block[..part]).await.is_err() {
                    return;
                }
                left -= part;
            }
        }
    }
}

/// Bytes that tell their place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// An exception for loopback, and this port.
pub(crate) fn open_to(port: u16) -> String {
    format!("allow-cidr = [\"127.0.0.0/8\"]\nallow-port = [{port}]\n")
}

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
