//! What the relay can do on this machine, as one line of JSON:
//!
//! ```text
//! cargo build --release -p relay && cargo run --release -p relay --example throughput
//! ```
//!
//! A relay as a child process; its clients and targets in here. What counts is the relay's
//! own processor time (`/proc/PID/stat`), because all of it shares the machine.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wisp::client::{Client, Config, Event};
use wisp::{Kind, Reason};

/// How long each way is measured.
const SPAN: Duration = Duration::from_millis(1500);

/// Idle connections.
const CONNECTIONS: usize = 1000;

/// Idle streams, on so many connections.
const STREAMS: (usize, usize) = (8, 125);

/// Round trips for the added delay.
const ROUNDS: usize = 2000;

/// Ticks of `/proc/PID/stat` a second; the same on every Linux (`USER_HZ`).
const TICKS: f64 = 100.0;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Down,
    Up,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (source, sink, echo) =
        (target(Habit::Source).await?, target(Habit::Sink).await?, target(Habit::Echo).await?);
    let mut relay = Relay::start(&[source, sink, echo])?;
    let mut results = Vec::new();
    for (name, way, port) in [("down", Way::Down, source), ("up", Way::Up, sink)] {
        for streams in [1, 32] {
            let figure = transfer(&relay, way, port, streams).await?;
            results.push((format!("{name}_{streams}"), figure));
        }
    }
    let added = delay(&relay, echo).await?;
    let fresh = Relay::start(&[echo])?;
    let idle_connection = idle_connections(&fresh).await?;
    drop(fresh);
    let fresh = Relay::start(&[echo])?;
    let idle_stream = idle_streams(&fresh, echo).await?;
    relay.child.kill()?;
    let mut object = serde_json::Map::new();
    for (name, (rate, a_core)) in results {
        object.insert(format!("{name}_mib_s"), rate.round().into());
        object.insert(format!("{name}_mib_s_core"), a_core.round().into());
    }
    object.insert("added_p50_us".into(), added.round().into());
    object.insert("idle_connection_kib".into(), tenth(idle_connection));
    object.insert("idle_stream_kib".into(), tenth(idle_stream));
    println!("{}", serde_json::Value::Object(object));
    Ok(())
}

fn tenth(number: f64) -> serde_json::Value {
    ((number * 10.0).round() / 10.0).into()
}

struct Relay {
    child: Child,
    address: SocketAddr,
    settings: PathBuf,
}

impl Drop for Relay {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_file(&self.settings);
    }
}

impl Relay {
    fn start(ports: &[u16]) -> Result<Self, Failure> {
        static STARTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let nth = STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let settings =
            std::env::temp_dir().join(format!("relay-bench-{}-{nth}.toml", std::process::id()));
        let text = format!(
            "listen = \"127.0.0.1:0\"\nallow-cidr = [\"127.0.0.0/8\"]\nallow-port = {ports:?}\n\
             nameserver = [\"127.0.0.1\"]\n[limits]\nconnections = 2000\nconnections-per-address = 2000\n\
             address-rate = 100000\naddress-burst = 100000\nconnects = 100000\nconnects-burst = 100000\n"
        );
        fs::write(&settings, text)?;
        let here = std::env::current_exe()?;
        let program =
            here.parent().and_then(|folder| folder.parent()).ok_or("no folder")?.join("relay");
        let mut child = Command::new(program)
            .arg("--config")
            .arg(&settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().trim_start_matches("listening on ws://").trim_end_matches('/');
        Ok(Self { child, address: address.parse()?, settings })
    }

    /// Processor time so far, in seconds.
    fn spent(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("odd stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS)
    }

    /// Memory in use, in KiB.
    fn memory(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("odd status")?;
        Ok(line.split_whitespace().nth(1).ok_or("odd status")?.parse()?)
    }
}

#[derive(Clone, Copy)]
enum Habit {
    Source,
    Sink,
    Echo,
}

async fn target(habit: Habit) -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                _ = socket.set_nodelay(true);
                let mut block = vec![0; 256 * 1024];
                match habit {
                    Habit::Source => while socket.write_all(&block).await.is_ok() {},
                    Habit::Sink => while socket.read(&mut block).await.is_ok_and(|n| n > 0) {},
                    Habit::Echo => {
                        while let Ok(length @ 1..) = socket.read(&mut block).await {
                            _ = socket.write_all(&block[..length]).await;
                        }
                    }
                }
            });
        }
    });
    Ok(port)
}

/// A WISP connection.
struct Tab {
    socket: WebSocketStream<TcpStream>,
    client: Client,
}

impl Tab {
    async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        socket
            .write_all(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                  Sec-WebSocket-Protocol: wisp-v2\r\n\r\n",
            )
            .await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        let socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
        let mut tab = Self { socket, client: Client::new(Config { v2: true, credentials: None }) };
        while tab.client.terms().is_none() {
            tab.hear().await?;
        }
        Ok(tab)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        while let Some(message) = self.client.transmit() {
            self.socket.feed(Message::Binary(message.into())).await?;
        }
        Ok(self.socket.flush().await?)
    }

    /// Takes one message; how many bytes of data it had.
    async fn hear(&mut self) -> Result<usize, Failure> {
        let message = self.socket.next().await.ok_or("the relay has closed")??;
        let Message::Binary(bytes) = message else { return Ok(0) };
        let mut length = 0;
        match self.client.receive(&bytes)? {
            Event::Data { stream, bytes } => {
                length = bytes.len();
                self.client.consumed(stream, length);
            }
            Event::Closed { reason, .. } | Event::Ended { reason } => {
                return Err(reason.to_string().into());
            }
            _ => {}
        }
        self.flush().await?;
        Ok(length)
    }

    async fn connect(&mut self, port: u16, streams: usize) -> Result<Vec<u32>, Failure> {
        let mut opened = Vec::new();
        for _ in 0..streams {
            opened.push(self.client.open(Kind::Tcp, "127.0.0.1", port).map_err(|_| "no stream")?);
        }
        self.flush().await?;
        Ok(opened)
    }
}

/// MiB/s, and MiB for each second of the relay's processor time.
async fn transfer(
    relay: &Relay,
    way: Way,
    port: u16,
    streams: usize,
) -> Result<(f64, f64), Failure> {
    let mut tab = Tab::open(relay.address).await?;
    let streams = tab.connect(port, streams).await?;
    let block = vec![0; 64 * 1024];
    let (start, before) = (Instant::now(), relay.spent()?);
    let mut bytes = 0;
    while start.elapsed() < SPAN {
        if way == Way::Up {
            for stream in &streams {
                bytes += tab.client.send(*stream, &block);
            }
            tab.flush().await?;
            if streams.iter().any(|stream| tab.client.room(*stream) > 0) {
                continue;
            }
        }
        bytes += tab.hear().await?;
    }
    let (seconds, spent) = (start.elapsed().as_secs_f64(), relay.spent()? - before);
    let mib = bytes as f64 / f64::from(1 << 20);
    for stream in streams {
        tab.client.close(stream, Reason::Voluntary);
    }
    tab.flush().await?;
    Ok((mib / seconds, mib / spent))
}

/// What the relay adds to a round trip of one byte, in microseconds, at the median.
async fn delay(relay: &Relay, port: u16) -> Result<f64, Failure> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        socket.write_all(&[0]).await?;
        socket.read_u8().await?;
        direct.push(start.elapsed());
    }
    let mut tab = Tab::open(relay.address).await?;
    let stream = tab.connect(port, 1).await?[0];
    let mut relayed = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        tab.client.send(stream, &[0]);
        tab.flush().await?;
        while tab.hear().await? == 0 {}
        relayed.push(start.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    Ok(median(&mut relayed) - median(&mut direct))
}

async fn idle_connections(relay: &Relay) -> Result<f64, Failure> {
    drop(Tab::open(relay.address).await?);
    let before = relay.memory()?;
    let mut tabs = Vec::new();
    for _ in 0..CONNECTIONS {
        tabs.push(Tab::open(relay.address).await?);
    }
    Ok((relay.memory()? - before) / CONNECTIONS as f64)
}

async fn idle_streams(relay: &Relay, port: u16) -> Result<f64, Failure> {
    let mut tabs = Vec::new();
    for _ in 0..STREAMS.0 {
        tabs.push(Tab::open(relay.address).await?);
    }
    let before = relay.memory()?;
    for tab in &mut tabs {
        // One echo each: a stream that was used, and is idle now.
        let mut left = 0;
        for _ in 0..STREAMS.1 {
            for stream in tab.connect(port, 1).await? {
                left += tab.client.send(stream, b"hello");
            }
            tab.flush().await?;
            while left > 0 {
                left -= tab.hear().await?;
            }
        }
    }
    Ok((relay.memory()? - before) / (STREAMS.0 * STREAMS.1) as f64)
}
