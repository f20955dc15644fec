//! Clients that break every rule: no panic, no growth, a clear end, and the next client is
//! served as if nothing had been.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wisp::packet::Packet;
use wisp::{Kind, MAX_MESSAGE, Reason};

use crate::client::{Farewell, Proper, Raw};
use crate::running::{Habit, Running, TargetServer, open_to, soon};

/// The relay still works, and no session was lost to a panic: that would not be counted back.
async fn is_well(relay: &Running, port: u16) {
    relay.reaches("relay_sessions_open 0").await;
    let mut client = Proper::open(relay.address, true).await;
    assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", port).await, None);
    drop(client);
    relay.reaches("relay_sessions_open 0").await;
    relay.reaches("relay_streams_open 0").await;
}

fn connect(stream: u32, port: u16) -> Packet<'static> {
    Packet::Connect { stream, kind: Kind::Tcp, port, host: "127.0.0.1" }
}

/// A client of version 1, which may open streams at once.
async fn v1(relay: &Running) -> Raw {
    let mut raw = Raw::open(relay.address, false).await;
    assert!(raw.next().await.is_some());
    raw
}

#[tokio::test]
async fn messages_that_are_no_packets_end_the_connection() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    let protocol = Farewell { reason: Some(Reason::Invalid), code: Some(1002) };
    let table: &[&[u8]] = &[
        b"",
        b"\x02",
        b"\x02\x01\x00\x00",
        b"\x00\x01\x00\x00\x00",
        b"\x63\x01\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x03\x01\x00\x00\x00\x01\x00\x00\x00",
        b"\x05\x00\x00\x00\x00\x02\x00",
        b"\x02\x63\x00\x00\x00data for nobody",
        b"\x04\x63\x00\x00\x00\x02",
        b"\xf1\x63\x00\x00\x00\x01\x00\x00\x00",
        b"\xf2\x63\x00\x00\x00",
    ];
    for message in table {
        let mut raw = v1(&relay).await;
        assert!(raw.send(message).await);
        assert_eq!(raw.farewell().await, protocol, "{message:?}");
    }
    relay.reaches(&format!("relay_violations_total {}", table.len())).await;
    is_well(&relay, echo.port).await;
}

#[tokio::test]
async fn malformed_connects_end_the_stream_or_the_connection_and_nothing_else() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    for message in [
        &b"\x01\x07\x00\x00\x00"[..],
        b"\x01\x07\x00\x00\x00\x01\x50\x00",
        b"\x01\x07\x00\x00\x00\x09\x50\x00host",
        b"\x01\x07\x00\x00\x00\x01\x00\x00host",
        b"\x01\x07\x00\x00\x00\x01\x50\x00\xff\xfe",
        b"\x01\x07\x00\x00\x00\x01\x50\x00a b\r\n",
        b"\x01\x00\x00\x00\x00\x01\x50\x00host",
    ] {
        let mut raw = v1(&relay).await;
        assert!(raw.send(message).await);
        let answer = raw.next().await;
        let answer = answer.as_deref().map(|bytes| Packet::parse(bytes).unwrap());
        let invalid =
            matches!(answer, Some(Packet::Close { stream: 0 | 7, reason: Reason::Invalid }));
        assert!(invalid, "{message:?}: {answer:?}");
    }
    is_well(&relay, echo.port).await;
}

#[tokio::test]
async fn nothing_may_come_before_the_handshake() {
    let relay = Running::start("").await;
    let mut raw = Raw::open(relay.address, true).await;
    assert!(raw.packet(&connect(1, 80)).await);
    assert_eq!(raw.farewell().await.code, Some(1002));
    // An INFO as long as a message may be is longer than it may be here.
    let mut info = b"\x05\x00\x00\x00\x00\x02\x00".to_vec();
    info.resize(MAX_MESSAGE, 0);
    let mut raw = Raw::open(relay.address, true).await;
    assert!(raw.send(&info).await);
    assert_eq!(raw.farewell().await.code, Some(1009));
    relay.reaches("relay_streams_total 0").await;
    relay.reaches("relay_sessions_open 0").await;
}

#[tokio::test]
async fn ids_are_not_used_twice() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    let mut raw = v1(&relay).await;
    raw.packet(&connect(1, echo.port)).await;
    raw.packet(&connect(1, echo.port)).await;
    assert_eq!(raw.farewell().await.code, Some(1002));
    let mut raw = v1(&relay).await;
    raw.packet(&connect(1, echo.port)).await;
    raw.packet(&Packet::Close { stream: 1, reason: Reason::Voluntary }).await;
    // What was under way at a CLOSE is no fault.
    raw.packet(&Packet::Data { stream: 1, bytes: b"late" }).await;
    raw.packet(&Packet::Close { stream: 1, reason: Reason::Voluntary }).await;
    raw.packet(&connect(1, echo.port)).await;
    assert_eq!(raw.farewell().await.code, Some(1002));
    is_well(&relay, echo.port).await;
}

#[tokio::test]
async fn frames_that_break_the_bounds_of_the_websocket() {
    let relay = Running::start("").await;
    let mut raw = v1(&relay).await;
    raw.send(&vec![2; MAX_MESSAGE + 1]).await;
    assert_eq!(raw.farewell().await.code, Some(1009));
    let mut raw = v1(&relay).await;
    raw.0.send(Message::Text("text".into())).await.unwrap();
    assert_eq!(raw.farewell().await.code, Some(1003));
    // A length of 2^63 is refused by its header, without waiting for a byte of it.
    for frame in [
        &b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"[..],
        b"\x82\x05hello",    // not masked
        b"\xc2\x80\0\0\0\0", // a reserved bit
        b"\x83\x80\0\0\0\0", // an unknown opcode
        b"\x80\x80\0\0\0\0", // goes on with nothing
        b"\x09\x80\0\0\0\0", // a ping in pieces
    ] {
        let mut raw = v1(&relay).await;
        raw.0.get_mut().write_all(frame).await.unwrap();
        let code = raw.farewell().await.code;
        assert!(matches!(code, Some(1002 | 1009)), "{frame:?}: {code:?}");
    }
    // A ping that is longer than a ping may be.
    let mut raw = v1(&relay).await;
    let socket = raw.0.get_mut();
    socket.write_all(&[b"\x89\xfe\x01\x00\0\0\0\0".as_slice(), &[0; 256]].concat()).await.unwrap();
    assert_eq!(raw.farewell().await.code, Some(1002));
    // Pieces without end are one message, and count as that.
    let mut raw = v1(&relay).await;
    let socket = raw.0.get_mut();
    socket.write_all(b"\x02\xfe\x40\x00\0\0\0\0").await.unwrap();
    _ = socket.write_all(&[2; 0x4000]).await;
    for _ in 0..8 {
        _ = socket.write_all(b"\x00\xfe\x40\x00\0\0\0\0").await;
        _ = socket.write_all(&[2; 0x4000]).await;
    }
    assert_eq!(raw.farewell().await.code, Some(1009));
    relay.reaches("relay_sessions_open 0").await;
}

#[tokio::test]
async fn a_close_in_order_is_answered() {
    let relay = Running::start("").await;
    let mut raw = v1(&relay).await;
    let frame = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    raw.0.close(Some(frame)).await.unwrap();
    assert_eq!(raw.farewell().await.code, Some(1000));
    relay.reaches("relay_sessions_open 0").await;
}

#[tokio::test]
async fn credit_that_is_ignored_ends_the_stream_and_then_the_connection() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let relay = Running::start(&open_to(deaf.port)).await;
    let mut raw = v1(&relay).await;
    let block = [7; 16 * 1024];
    let mut closed = 0;
    'streams: for stream in 1..100 {
        raw.packet(&connect(stream, deaf.port)).await;
        // The kernels on the way swallow some megabytes, credit included; then it is enough.
        for _ in 0..4096 {
            if !raw.packet(&Packet::Data { stream, bytes: &block }).await {
                break 'streams;
            }
            // Without waiting: an answer that is there is taken, none is waited for.
            let heard = futures_util::FutureExt::now_or_never(raw.0.next());
            match heard {
                Some(Some(Ok(Message::Binary(bytes)))) => {
                    if let Ok(Packet::Close { stream: id, reason }) = Packet::parse(&bytes) {
                        assert_eq!(reason, Reason::Throttled);
                        closed += 1;
                        if id == 0 {
                            break 'streams;
                        }
                        break;
                    }
                }
                Some(None | Some(Err(_) | Ok(Message::Close(_)))) => break 'streams,
                _ => {}
            }
        }
    }
    assert!(closed >= 2, "{closed}");
    relay.reaches("relay_violations_total 1").await;
    is_well(&relay, deaf.port).await;
}

#[tokio::test]
async fn a_flood_of_connects_is_throttled_and_ended() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    let mut raw = v1(&relay).await;
    let mut sent = 0_u32;
    while sent < 100_000 && raw.packet(&connect(sent + 1, echo.port)).await {
        sent += 1;
    }
    assert_eq!(raw.farewell().await.reason, Some(Reason::Throttled));
    assert!(echo.came() <= 200, "{}", echo.came());
    is_well(&relay, echo.port).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_not_stored() {
    let relay = Running::start("").await;
    let mut raw = v1(&relay).await;
    let mut pings = b"\x89\xfd\0\0\0\0".to_vec();
    pings.resize(6 + 125, 0);
    let pings = pings.repeat(1000);
    // 25 MB of pings, whose pongs are read at the end.
    let socket = raw.0.get_mut();
    let (mut reader, mut writer) = socket.split();
    let flood = async {
        for _ in 0..200 {
            writer.write_all(&pings).await.unwrap();
        }
        writer.write_all(b"\x82\x80\0\0\0\0").await.unwrap();
    };
    let drain = async {
        let mut bytes = vec![0; 64 * 1024];
        while reader.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
    };
    soon(async { tokio::join!(flood, drain) }).await;
    relay.reaches("relay_sessions_open 0").await;
}

/// The same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[tokio::test]
async fn noise_that_looks_like_packets() {
    let echo = TargetServer::start(Habit::Echo).await;
    let text = open_to(echo.port) + "[limits]\naddress-rate = 1000\naddress-burst = 10000\n";
    let relay = Running::start(&text).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..100 {
        let mut raw = Raw::open(relay.address, round % 2 == 0).await;
        if round % 2 == 0 {
            raw.send(b"\x05\x00\x00\x00\x00\x02\x00\xf1\x04\x00\x00\x00\x00\x10\x00\x00\xf2\x00\x00\x00\x00")
                .await;
        }
        for _ in 0..60 {
            let stream = random.below(6) as u32;
            let length = random.below(300);
            let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            let sent = match random.below(8) {
                0..3 => raw.packet(&connect(stream, echo.port)).await,
                3..6 => raw.packet(&Packet::Data { stream, bytes: &bytes }).await,
                6 => raw.packet(&Packet::Close { stream, reason: Reason::Voluntary }).await,
                _ if random.below(10) == 0 => raw.send(&bytes).await,
                _ => raw.packet(&Packet::Shutdown { stream }).await,
            };
            if !sent {
                break;
            }
        }
    }
    is_well(&relay, echo.port).await;
}
