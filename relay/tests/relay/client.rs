//! A client that speaks WISP properly, or says what a test wants it to say.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wisp::client::{self, Client};
use wisp::packet::Packet;
use wisp::{Credentials, Kind, Reason};

use crate::running::soon;

/// An upgrade request with more headers.
pub(crate) fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

const V2: &str = "Sec-WebSocket-Protocol: wisp-v2\r\n";

/// A WebSocket, and nothing above it.
pub(crate) struct Raw(pub(crate) WebSocketStream<TcpStream>);

/// What the relay said last.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Farewell {
    /// Of CLOSE for stream 0.
    pub(crate) reason: Option<Reason>,
    /// Of the WebSocket's close frame.
    pub(crate) code: Option<u16>,
}

impl Raw {
    pub(crate) async fn open(address: SocketAddr, v2: bool) -> Self {
        Self::open_with(address, if v2 { V2 } else { "" }).await
    }

    pub(crate) async fn open_with(address: SocketAddr, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little, so that the relay finds it full all the time.
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        socket.write_all(request("/", headers).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(socket.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(WebSocketStream::from_raw_socket(socket, Role::Client, None).await)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.send(Message::Binary(bytes.to_vec().into())).await.is_ok()
    }

    pub(crate) async fn packet(&mut self, packet: &Packet<'_>) -> bool {
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        self.send(&bytes).await
    }

    /// The next binary message; none when the relay has closed.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match soon(self.0.next()).await? {
                Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads until the relay has closed.
    pub(crate) async fn farewell(&mut self) -> Farewell {
        let mut farewell = Farewell { reason: None, code: None };
        while let Some(Ok(message)) = soon(self.0.next()).await {
            match message {
                Message::Binary(bytes) => {
                    if let Ok(Packet::Close { stream: 0, reason }) = Packet::parse(&bytes) {
                        farewell.reason = Some(reason);
                    }
                }
                Message::Close(frame) => farewell.code = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        farewell
    }
}

/// Something that happened, with its bytes kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Happened {
    Ready,
    Opened(u32),
    Data(u32, Vec<u8>),
    Finished(u32),
    Closed(u32, Reason),
    Ended(Reason),
    /// The WebSocket is closed.
    Gone,
}

/// A client by the book.
pub(crate) struct Proper {
    raw: Raw,
    pub(crate) client: Client,
    kept: VecDeque<Happened>,
}

impl Proper {
    pub(crate) async fn open(address: SocketAddr, v2: bool) -> Self {
        let mut proper = Self::with(address, v2, None).await;
        assert_eq!(proper.next().await, Happened::Ready);
        proper
    }

    /// Before its handshake.
    pub(crate) async fn with(address: SocketAddr, v2: bool, password: Option<&str>) -> Self {
        let credentials = password
            .map(|password| Credentials { user: String::new(), password: password.to_owned() });
        let client = Client::new(client::Config { v2, credentials });
        Self { raw: Raw::open(address, v2).await, client, kept: VecDeque::new() }
    }

    pub(crate) async fn connect(&mut self, host: &str, port: u16) -> u32 {
        self.open_stream(Kind::Tcp, host, port).await
    }

    pub(crate) async fn open_stream(&mut self, kind: Kind, host: &str, port: u16) -> u32 {
        let stream = self.client.open(kind, host, port).unwrap();
        self.flush().await;
        stream
    }

    /// What comes of asking for this: `None` if it was connected.
    pub(crate) async fn attempt(&mut self, kind: Kind, host: &str, port: u16) -> Option<Reason> {
        let stream = self.open_stream(kind, host, port).await;
        let mine = |happened: &Happened| matches!(happened, Happened::Opened(id) | Happened::Closed(id, _) if *id == stream);
        match self.wait(mine).await {
            Happened::Closed(_, reason) => Some(reason),
            _ => None,
        }
    }

    pub(crate) async fn flush(&mut self) {
        while let Some(message) = self.client.transmit() {
            if !self.raw.send(&message).await {
                return;
            }
        }
    }

    /// Sends all of it, as credit allows.
    pub(crate) async fn send(&mut self, stream: u32, mut bytes: &[u8]) {
        loop {
            bytes = &bytes[self.client.send(stream, bytes)..];
            self.flush().await;
            if bytes.is_empty() {
                return;
            }
            self.hear().await;
        }
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> Happened {
        self.wait(|_| true).await
    }

    /// Waits for something; what else happens is kept.
    pub(crate) async fn wait(&mut self, wanted: impl Fn(&Happened) -> bool) -> Happened {
        loop {
            if let Some(at) = self.kept.iter().position(&wanted) {
                return self.kept.remove(at).unwrap();
            }
            assert_ne!(self.kept.back(), Some(&Happened::Gone), "{:?}", self.kept);
            self.hear().await;
        }
    }

    /// All bytes of a stream up to its end, and how it ended.
    pub(crate) async fn drain(&mut self, stream: u32) -> (Vec<u8>, Happened) {
        let mut bytes = Vec::new();
        loop {
            let mine = |happened: &Happened| match happened {
                Happened::Data(id, _) | Happened::Finished(id) | Happened::Closed(id, _) => {
                    *id == stream
                }
                _ => false,
            };
            match self.wait(mine).await {
                Happened::Data(_, more) => bytes.extend(more),
                end => return (bytes, end),
            }
        }
    }

    /// Takes one message.
    async fn hear(&mut self) {
        let Some(message) = self.raw.next().await else {
            self.kept.push_back(Happened::Gone);
            return;
        };
        let happened = match self.client.receive(&message).expect("the relay keeps to WISP") {
            client::Event::None | client::Event::Writable { .. } => None,
            client::Event::Ready => Some(Happened::Ready),
            client::Event::Opened { stream } => Some(Happened::Opened(stream)),
            client::Event::Data { stream, bytes } => Some(Happened::Data(stream, bytes.to_vec())),
            client::Event::Finished { stream } => Some(Happened::Finished(stream)),
            client::Event::Closed { stream, reason } => Some(Happened::Closed(stream, reason)),
            client::Event::Ended { reason } => Some(Happened::Ended(reason)),
        };
        if let Some(Happened::Data(stream, bytes)) = &happened {
            self.client.consumed(*stream, bytes.len());
        }
        self.kept.extend(happened);
        self.flush().await;
    }
}
