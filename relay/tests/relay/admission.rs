//! Who comes in, and how many.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use relay::token::{Claims, Key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wisp::{Kind, Reason};

use crate::client::{Farewell, Happened, Proper, Raw, request};
use crate::running::{Habit, Running, TargetServer, get, open_to, say, soon};

const KEY: [u8; 32] = [7; 32];

/// A file that is gone when the test is over.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("relay-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn token(change: impl FnOnce(&mut Claims)) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = Claims {
        client: "tab".into(),
        expires: now + 60,
        hosts: vec![],
        ports: vec![],
        rate: None,
    };
    change(&mut claims);
    Key::new(&KEY).unwrap().sign(&claims)
}

#[tokio::test]
async fn the_request_decides() {
    let relay = Running::start("allow-origin = [\"https://a.example\", \"none\"]").await;
    for (path, headers, status) in [
        ("/", "", 101),
        ("/wisp/", "", 101),
        ("/", "Origin: https://a.example\r\n", 101),
        ("/", "Origin: https://b.example\r\n", 403),
        ("/", "Origin: http://localhost\r\n", 403),
        ("/", "Origin: null\r\n", 403),
        ("/", "Origin: https://a.example\r\nOrigin: https://b.example\r\n", 400),
        ("/", "Sec-WebSocket-Protocol: chat\r\n", 400),
        ("/", "Sec-WebSocket-Version: 13\r\n", 400),
        ("/other", "", 404),
        ("/?token=secret", "", 404),
        ("/metrics", "", 404),
    ] {
        let answer = say(relay.address, request(path, headers).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers}: {answer}");
    }
    let plain = say(relay.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 426 "), "{plain}");
    let head = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    assert!(say(relay.address, head.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    assert!(say(relay.address, b"\x16\x03\x01\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    relay.reaches("relay_sessions_total 3").await;
}

#[tokio::test]
async fn health_and_metrics_are_told() {
    let relay = Running::start("").await;
    for address in [relay.address, relay.scrape] {
        for path in ["/healthz", "/readyz"] {
            assert!(get(address, path).await.starts_with("HTTP/1.1 200 "), "{path}");
        }
    }
    let metrics = relay.get("/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.contains("\nrelay_sessions_open 0\n"));
    assert!(get(relay.address, "/metrics").await.starts_with("HTTP/1.1 404 "));
    let session = say(relay.scrape, request("/", "").as_bytes()).await;
    assert!(session.starts_with("HTTP/1.1 404 "), "{session}");
}

#[tokio::test]
async fn without_a_token_nobody_comes_in() {
    let (key, echo) = (Scratch::new("key", &KEY), TargetServer::start(Habit::Echo).await);
    let text = format!("token-key-file = {:?}\n{}", key.0, open_to(echo.port));
    let relay = Running::start(&text).await;
    let good = token(|_| ());
    let mut client = Proper::with(relay.address, true, Some(&good)).await;
    assert_eq!(client.next().await, Happened::Ready);
    assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", echo.port).await, None);

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let other = Key::new(&[8; 32]).unwrap().sign(&Claims {
        client: "tab".into(),
        expires: now + 60,
        hosts: vec![],
        ports: vec![],
        rate: None,
    });
    let expired = token(|claims| claims.expires = now - 1);
    let endless = token(|claims| claims.expires = now + 25 * 60 * 60);
    for bad in ["", "secret", &good[..good.len() - 1], &other, &expired, &endless] {
        let mut client = Proper::with(relay.address, true, Some(bad)).await;
        let end = client.wait(|happened| matches!(happened, Happened::Ended(_))).await;
        assert_eq!(end, Happened::Ended(Reason::BadPassword), "{bad}");
    }
    let mut client = Proper::with(relay.address, true, None).await;
    let end = client.wait(|happened| matches!(happened, Happened::Ended(_))).await;
    assert_eq!(end, Happened::Ended(Reason::AuthRequired));
    let v1 = say(relay.address, request("/", "").as_bytes()).await;
    assert!(v1.starts_with("HTTP/1.1 401 "), "{v1}");
    relay.reaches("relay_connections_rejected_total{cause=\"token\"} 7").await;
}

#[tokio::test]
async fn a_token_narrows_the_rules_and_is_counted() {
    let (key, echo) = (Scratch::new("scope", &KEY), TargetServer::start(Habit::Echo).await);
    let text = format!(
        "token-key-file = {:?}\nallow-port = [81]\nallow-cidr = [\"127.0.0.0/8\"]\n\
         [limits]\nconnections-per-token = 1\n",
        key.0
    );
    let relay = Running::start(&text).await;
    let narrow = token(|claims| claims.ports = vec![81]);
    let mut client = Proper::with(relay.address, true, Some(&narrow)).await;
    assert_eq!(client.next().await, Happened::Ready);
    for (port, expected) in
        [(80, Reason::Blocked), (echo.port, Reason::Blocked), (81, Reason::Refused)]
    {
        assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", port).await, Some(expected), "{port}");
    }
    let mut second = Proper::with(relay.address, true, Some(&narrow)).await;
    let end = second.wait(|happened| matches!(happened, Happened::Ended(_))).await;
    assert_eq!(end, Happened::Ended(Reason::Throttled));

    let named = token(|claims| claims.hosts = vec!["a.test".into()]);
    let mut client = Proper::with(relay.address, true, Some(&named)).await;
    assert_eq!(client.next().await, Happened::Ready);
    for host in ["127.0.0.1", "b.test"] {
        assert_eq!(client.attempt(Kind::Tcp, host, 80).await, Some(Reason::Blocked), "{host}");
    }
    let slow = token(|claims| claims.rate = Some(1));
    let mut client = Proper::with(relay.address, true, Some(&slow)).await;
    assert_eq!(client.next().await, Happened::Ready);
    let mut throttled = 0;
    for _ in 0..20 {
        let said = client.attempt(Kind::Tcp, "127.0.0.1", 80).await;
        throttled += usize::from(said == Some(Reason::Throttled));
    }
    assert!(throttled >= 10, "{throttled}");
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let key = Scratch::new("brief", &KEY);
    let relay = Running::start(&format!("token-key-file = {:?}", key.0)).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let brief = token(|claims| claims.expires = now + 2);
    let mut client = Proper::with(relay.address, true, Some(&brief)).await;
    assert_eq!(client.next().await, Happened::Ready);
    assert_eq!(client.next().await, Happened::Ended(Reason::AuthRequired));
}

#[tokio::test]
async fn connections_are_capped_for_each_address() {
    let text = "trusted-proxy = [\"127.0.0.1\"]\n[limits]\nconnections-per-address = 2\n";
    let relay = Running::start(text).await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let one = Raw::open_with(relay.address, &from("8.8.8.8")).await;
    let _two = Raw::open_with(relay.address, &from("1.1.1.1, 8.8.8.8")).await;
    let third = say(relay.address, request("/", &from("8.8.8.8")).as_bytes()).await;
    assert!(third.starts_with("HTTP/1.1 429 "), "{third}");
    // Another address has its own share, and the first one gets its place back.
    let _other = Raw::open_with(relay.address, &from("8.8.4.4")).await;
    drop(one);
    relay.reaches("relay_sessions_open 2").await;
    let _again = Raw::open_with(relay.address, &from("8.8.8.8")).await;
}

#[tokio::test]
async fn connections_are_capped_before_a_byte_is_read() {
    let text = "[limits]\nconnections-per-address = 2\nconnections = 3\n";
    let relay = Running::start(text).await;
    let silent = [
        TcpStream::connect(relay.address).await.unwrap(),
        TcpStream::connect(relay.address).await.unwrap(),
    ];
    // Whether it came before or after the silent ones: one of the three is refused, and none
    // of them has said anything.
    let mut third = TcpStream::connect(relay.address).await.unwrap();
    let mut answer = [0; 12];
    soon(third.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 429");
    drop(silent);
    let mut fourth = Vec::new();
    // While the third lingers all places may be taken: then there are no words.
    for _ in 0..3 {
        fourth.push(TcpStream::connect(relay.address).await.unwrap());
    }
    relay.reaches("relay_sessions_open 0").await;
}

#[tokio::test]
async fn connects_are_limited_to_a_rate_and_streams_to_a_number() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let text = open_to(deaf.port) + "[limits]\nconnects = 1\nconnects-burst = 10\n";
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    let mut throttled = 0;
    for _ in 0..20 {
        let said = client.attempt(Kind::Tcp, "127.0.0.1", deaf.port).await;
        throttled += usize::from(said == Some(Reason::Throttled));
    }
    // Ten, and what a slow machine lets come back in a second each.
    assert!((1..=10).contains(&throttled), "{throttled}");
    let few = Running::start(&(open_to(deaf.port) + "[limits]\nstreams = 3\n")).await;
    let mut client = Proper::open(few.address, true).await;
    for n in 0..5 {
        let expected = (n >= 3).then_some(Reason::Throttled);
        assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", deaf.port).await, expected, "{n}");
    }
}

#[tokio::test]
async fn slow_handshakes_are_ended() {
    let relay = Running::start("[timeouts]\nhandshake = 0.3\n").await;
    let mut silent = TcpStream::connect(relay.address).await.unwrap();
    let mut dripping = TcpStream::connect(relay.address).await.unwrap();
    dripping.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    for socket in [&mut silent, &mut dripping] {
        let mut answer = [0; 12];
        soon(socket.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    let mut mute = Raw::open(relay.address, true).await;
    let expected = Farewell { reason: Some(Reason::DataTimeout), code: Some(1008) };
    assert_eq!(mute.farewell().await, expected);
    relay.reaches("relay_connections_rejected_total{cause=\"slow\"} 3").await;
}

#[tokio::test]
async fn a_client_that_is_not_there_any_more_is_noticed() {
    let relay = Running::start("[timeouts]\nping = 0.1\ndead = 1.5\n").await;
    // Reads nothing, so it answers no ping.
    let _gone = Raw::open(relay.address, false).await;
    // Answers, because it reads.
    let mut there = Proper::open(relay.address, true).await;
    relay.reaches("relay_sessions_open 2").await;
    let counted = relay.reaches("relay_sessions_open 1");
    tokio::select! {
        () = counted => {}
        happened = there.next() => panic!("{happened:?}"),
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_certificate() {
    let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()]).unwrap();
    let chain = Scratch::new("chain", made.cert.pem().as_bytes());
    let key = Scratch::new("private", made.signing_key.serialize_pem().as_bytes());
    let text =
        format!("tls-cert = {:?}\ntls-key = {:?}\n[timeouts]\nhandshake = 0.5\n", chain.0, key.0);
    let relay = Running::start(&text).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(relay.address).await.unwrap();
    let name = ServerName::try_from("relay.test").unwrap();
    let mut socket =
        soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap();
    socket.write_all(request("/", "").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // Neither plain text nor silence gets further.
    let mut plain = TcpStream::connect(relay.address).await.unwrap();
    plain.write_all(request("/", "").as_bytes()).await.unwrap();
    let _silent = TcpStream::connect(relay.address).await.unwrap();
    relay.reaches("relay_connections_rejected_total{cause=\"tls\"} 2").await;
    tokio::time::timeout(Duration::from_secs(5), relay.reaches("relay_sessions_total 1"))
        .await
        .unwrap();
}
