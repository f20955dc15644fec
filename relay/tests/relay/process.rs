//! The program itself: signals, its token command, its log, and how much memory it takes
//! when it is attacked.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use wisp::packet::Packet;
use wisp::{Kind, Reason};

use crate::admission::Scratch;
use crate::client::{Happened, Proper, Raw};
use crate::running::{Habit, TargetServer, get, pattern, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_relay");

/// The relay as a process, which does not outlive its test.
struct Process {
    child: Child,
    address: SocketAddr,
    scrape: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Process {
    fn start(port: u16, flags: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(["--nameserver", "127.0.0.1:1", "--allow-cidr", "127.0.0.0/8"])
            .args(["--allow-port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut out).unwrap();
        let address = out.trim().strip_prefix("listening on ws://").unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        // What was opened is said before it is open.
        assert_eq!(said.next().unwrap(), "relay: exception: 127.0.0.0/8 may be dialled");
        let line = said.find(|line| line.contains("metrics at")).unwrap();
        let scrape = line.split("http://").nth(1).unwrap().strip_suffix("/metrics").unwrap();
        // Read on, so that it can say more.
        std::thread::spawn(move || said.for_each(drop));
        Self {
            address: address.trim_end_matches('/').parse().unwrap(),
            scrape: scrape.parse().unwrap(),
            child,
        }
    }

    fn signal(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        soon(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    async fn until_ready_is(&self, status: &str) {
        soon(async {
            while !get(self.scrape, "/readyz").await.contains(status) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// The most memory that it ever had, in KiB.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn the_first_signal_drains() {
    let echo = TargetServer::start(Habit::Echo).await;
    let mut relay = Process::start(echo.port, &[]);
    let mut client = Proper::open(relay.address, true).await;
    let stream = client.connect("127.0.0.1", echo.port).await;
    client.wait(|happened| *happened == Happened::Opened(stream)).await;
    relay.until_ready_is("200 OK").await;
    relay.signal();
    relay.until_ready_is("503 Service Unavailable").await;
    assert!(get(relay.scrape, "/healthz").await.contains("200 OK"));
    assert!(TcpStream::connect(relay.address).await.is_err());
    // What is open goes on; nothing new begins once the session knows.
    soon(async {
        while client.attempt(Kind::Tcp, "127.0.0.1", echo.port).await != Some(Reason::Throttled) {}
    })
    .await;
    client.send(stream, b"still here").await;
    let data = |happened: &Happened| matches!(happened, Happened::Data(..));
    assert_eq!(client.wait(data).await, Happened::Data(stream, b"still here".to_vec()));
    for open in 1..=stream + 200 {
        client.client.close(open, Reason::Voluntary);
    }
    client.flush().await;
    let ended = client.wait(|happened| matches!(happened, Happened::Ended(_))).await;
    assert_eq!(ended, Happened::Ended(Reason::Voluntary));
    drop(client);
    assert_eq!(relay.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_drain_has_an_end() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let settings = Scratch::new("drain", b"[timeouts]\ndrain = 0.5\n");
    let mut relay = Process::start(deaf.port, &["--config", settings.0.to_str().unwrap()]);
    let mut client = Proper::open(relay.address, true).await;
    assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", deaf.port).await, None);
    relay.signal();
    let ended = client.wait(|happened| matches!(happened, Happened::Ended(_))).await;
    assert_eq!(ended, Happened::Ended(Reason::Voluntary));
    drop(client);
    assert_eq!(relay.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_second_signal_ends_at_once() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let mut relay = Process::start(deaf.port, &[]);
    let mut client = Proper::open(relay.address, true).await;
    assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", deaf.port).await, None);
    relay.signal();
    relay.until_ready_is("503 Service Unavailable").await;
    relay.signal();
    assert_eq!(relay.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_token_of_the_command_lets_in_and_is_not_logged() {
    let echo = TargetServer::start(Habit::Echo).await;
    let key = Scratch::new("command", b"0123456789abcdef0123456789abcdef\n");
    let log = Scratch::new("log", b"");
    let key_file = key.0.to_str().unwrap();
    let port = echo.port.to_string();
    let made = Command::new(PROGRAM)
        .args([
            "token",
            "--key-file",
            key_file,
            "--client",
            "tab",
            "--expires",
            "1h",
            "--port",
            &port,
        ])
        .output()
        .unwrap();
    assert!(made.status.success());
    let token = String::from_utf8(made.stdout).unwrap();
    let flags = ["--token-key-file", key_file, "--audit-log", log.0.to_str().unwrap()];
    let mut relay = Process::start(echo.port, &flags);
    let mut client = Proper::with(relay.address, true, Some(token.trim())).await;
    assert_eq!(client.next().await, Happened::Ready);
    let stream = client.connect("127.0.0.1", echo.port).await;
    client.send(stream, b"secret payload").await;
    let data = |happened: &Happened| matches!(happened, Happened::Data(..));
    client.wait(data).await;
    client.client.close(stream, Reason::Voluntary);
    assert_eq!(client.attempt(Kind::Tcp, "10.0.0.1", echo.port).await, Some(Reason::Blocked));
    assert_eq!(client.attempt(Kind::Udp, "127.0.0.1", 80).await, Some(Reason::Blocked));
    drop(client);
    relay.signal();
    assert_eq!(relay.ended().await.code(), Some(0));
    let text = std::fs::read_to_string(&log.0).unwrap();
    assert!(!text.contains("secret") && !text.contains(token.trim()));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(
        (&lines[0]["decision"], &lines[0]["class"], &lines[0]["up"], &lines[0]["down"]),
        (&"allow".into(), &"loopback".into(), &14.into(), &14.into())
    );
    assert_eq!((&lines[0]["client"], &lines[0]["kind"]), (&"tab".into(), &"tcp".into()));
    assert_eq!(
        (&lines[1]["decision"], &lines[1]["rule"], &lines[1]["class"], &lines[1]["host"]),
        (&"deny".into(), &"address".into(), &"private".into(), &"10.0.0.1".into())
    );
    assert_eq!((&lines[2]["rule"], &lines[2]["kind"]), (&"port".into(), &"udp".into()));
    assert_eq!(lines[0]["token"].as_str().map(str::len), Some(16));
}

#[test]
fn mistakes_on_the_command_line_are_told() {
    for flags in [
        &["--allow-port", "25"][..],
        &["--metrics", "0.0.0.0:9100"],
        &["--allow-host", "127.1"],
        &["--unknown"],
        &["token", "--expires", "25h"],
    ] {
        let done = Command::new(PROGRAM).args(flags).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{flags:?}");
        assert!(done.stderr.starts_with(b"relay: "), "{flags:?}");
    }
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"relay: "));
}

/// What a relay may grow by under attack: a connection's 16 MiB of waiting bytes, its outbox
/// and its socket's, and what an allocator keeps.
const GROWTH: usize = 32 * 1024;

/// How long a client is watched that reads nothing.
const STALLED: Duration = Duration::from_secs(5);

/// What a relay may grow by meanwhile, in KiB: as much as is allowed in a minute.
const STALLED_GROWTH: usize = 1024;

#[tokio::test]
async fn memory_stays_flat_when_all_credit_is_used_and_when_it_is_ignored() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let relay = Process::start(deaf.port, &[]);
    let before = relay.peak();
    let mut raw = Raw::open(relay.address, false).await;
    let block = pattern(16 * 1024);
    // 47 MiB, all of it within the credit of its stream.
    for stream in 1..=95 {
        let connect =
            Packet::Connect { stream, kind: Kind::Tcp, port: deaf.port, host: "127.0.0.1" };
        assert!(raw.packet(&connect).await);
        for _ in 0..32 {
            assert!(raw.packet(&Packet::Data { stream, bytes: &block }).await);
        }
    }
    for _ in 0..10 {
        loop {
            let message = raw.next().await.expect("the connection goes on");
            if let Ok(Packet::Close { reason, .. }) = Packet::parse(&message) {
                assert_eq!(reason, Reason::Throttled);
                break;
            }
        }
    }
    // And 160 MiB without credit, as far as the relay lets it come.
    for sent in 0..10_000 {
        if !raw.packet(&Packet::Data { stream: 1 + sent % 95, bytes: &block }).await {
            break;
        }
    }
    drop(raw);
    let grown = relay.peak() - before;
    assert!(grown < GROWTH, "{grown} KiB");
}

#[tokio::test]
async fn memory_stays_flat_when_a_client_reads_nothing() {
    let give = TargetServer::start(Habit::Give(300_000_000)).await;
    let mut relay = Process::start(give.port, &[]);
    let before = relay.peak();
    let mut raw = Raw::open(relay.address, false).await;
    for stream in 1..=20 {
        let connect =
            Packet::Connect { stream, kind: Kind::Tcp, port: give.port, host: "127.0.0.1" };
        assert!(raw.packet(&connect).await);
    }
    // Until all targets have been reached, and a moment for what would come then.
    soon(async {
        while give.came() < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut last = 0;
    soon(async {
        while relay.peak() != last {
            last = relay.peak();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    let grown = relay.peak() - before;
    assert!(grown < GROWTH, "{grown} KiB");
    // From now on nothing is added, though all targets would send on.
    tokio::time::sleep(STALLED).await;
    let added = relay.peak() - last;
    assert!(added <= STALLED_GROWTH, "{added} KiB more");
    assert!(relay.child.try_wait().unwrap().is_none());
}

#[test]
fn the_settings_that_are_shipped_are_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/relay.toml");
    let settings = relay::config::Settings::read(file.as_ref()).unwrap();
    let mut text = String::new();
    std::fs::File::open(file).unwrap().read_to_string(&mut text).unwrap();
    assert!(settings.metrics.is_some() && text.contains("[timeouts]"));
}

#[test]
fn every_threat_names_a_test_that_exists() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = std::fs::read_to_string(format!("{root}/docs/relay.md")).unwrap();
    let (_, threats) = text.split_once("## Threats").unwrap();
    let (threats, _) = threats.split_once("That each of these").unwrap();
    let mut source = String::new();
    let mut folders =
        vec![format!("{root}/relay/src").into(), format!("{root}/relay/tests").into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let rows: Vec<&str> = threats.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in tests.split(", ") {
            let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`')).unwrap();
            assert!(source.contains(&format!("fn {name}()")), "{name}");
        }
    }
}
