//! How a connection ends, and what its client is told about it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use wisp::Reason;
use wisp::server::Violation;

use super::Session;
use crate::metrics::Rejection;

/// How long the last words of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client went.
    Gone,
    /// The client has closed the WebSocket in order.
    Closed,
    /// The client has ended WISP in order.
    Left(Reason),
    /// We end it.
    Reason(Reason),
    /// The client broke WISP.
    Violation(Violation),
    /// The client broke the bounds of the WebSocket.
    Frame(CloseCode, &'static str),
    /// The handshake took too long.
    Slow,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Says why it ends, as far as the client still listens.
    pub(super) async fn finish(&mut self, end: End) {
        let metrics = &self.peer.shared.metrics;
        let (reason, code, words) = match end {
            End::Gone => return self.streams.end_all(&self.peer, Reason::NetworkError),
            End::Closed => {
                self.streams.end_all(&self.peer, Reason::Voluntary);
                // The answer to its close is queued.
                _ = timeout(FAREWELL, SinkExt::close(&mut self.socket)).await;
                return;
            }
            End::Left(reason) => (reason, CloseCode::Normal, String::new()),
            End::Reason(reason) => (reason, of_reason(reason), reason.to_string()),
            End::Violation(violation) => {
                metrics.violations.fetch_add(1, Relaxed);
                (Reason::Invalid, CloseCode::Protocol, violation.to_string())
            }
            End::Frame(code, words) => {
                metrics.violations.fetch_add(1, Relaxed);
                (Reason::Invalid, code, words.to_owned())
            }
            End::Slow => {
                metrics.rejected(Rejection::Slow);
                (Reason::DataTimeout, CloseCode::Policy, "the handshake took too long".to_owned())
            }
        };
        if matches!(reason, Reason::AuthRequired | Reason::BadPassword) {
            metrics.rejected(Rejection::Token);
        }
        self.streams.end_all(&self.peer, reason);
        self.server.end(reason);
        let frame = CloseFrame { code, reason: words.into() };
        let (server, socket) = (&mut self.server, &mut self.socket);
        let farewell = async {
            while let Some(message) = server.transmit() {
                socket.feed(Message::Binary(message.into())).await?;
            }
            socket.close(Some(frame)).await?;
            // Until the client has closed its side: closing first would turn what it still
            // sends into a reset, which could overtake our last words.
            while socket.next().await.transpose()?.is_some() {}
            Ok::<(), Error>(())
        };
        _ = timeout(FAREWELL, farewell).await;
    }
}

/// What an error of the WebSocket means for the connection.
pub(super) fn of_socket(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Frame(CloseCode::Size, "a message is too long"),
        Error::Protocol(_) => End::Frame(CloseCode::Protocol, "not WebSocket"),
        Error::Utf8(_) => End::Frame(CloseCode::Unsupported, "text"),
        _ => End::Gone,
    }
}

fn of_reason(reason: Reason) -> CloseCode {
    match reason {
        Reason::Voluntary => CloseCode::Away,
        _ => CloseCode::Policy,
    }
}
