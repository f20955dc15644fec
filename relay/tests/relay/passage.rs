//! What is let through goes through whole, both ways, and ends as it should.

use tokio::net::UdpSocket;
use wisp::{Kind, Reason};

use crate::client::{Happened, Proper};
use crate::names::{NameServer, addresses};
use crate::running::{Habit, Running, TargetServer, open_to, pattern, soon};

#[tokio::test]
async fn bytes_go_through_whole_in_both_versions() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    for v2 in [true, false] {
        let mut client = Proper::open(relay.address, v2).await;
        let stream = client.connect("127.0.0.1", echo.port).await;
        let sent = pattern(3_000_000);
        let (mut back, mut at) = (Vec::new(), 0);
        while back.len() < sent.len() {
            let end = sent.len().min(at + 200_000);
            client.send(stream, &sent[at..end]).await;
            at = end;
            let data = |happened: &Happened| matches!(happened, Happened::Data(..));
            while back.len() < at {
                if let Happened::Data(_, bytes) = client.wait(data).await {
                    back.extend(bytes);
                }
            }
        }
        assert!(back == sent, "version 2: {v2}");
        client.client.close(stream, Reason::Voluntary);
        client.flush().await;
    }
    relay.reaches("relay_streams_open 0").await;
    relay.reaches("relay_up_bytes_total 6000000").await;
    relay.reaches("relay_down_bytes_total 6000000").await;
}

#[tokio::test]
async fn a_half_close_reaches_the_other_side_and_comes_back() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    let mut client = Proper::open(relay.address, true).await;
    let terms = client.client.terms().unwrap().clone();
    assert!(terms.flow && terms.shutdown && terms.confirm && terms.udp);
    let stream = client.connect("127.0.0.1", echo.port).await;
    client.send(stream, b"before the end").await;
    assert!(client.client.shutdown(stream));
    client.flush().await;
    let (bytes, end) = client.drain(stream).await;
    assert_eq!((bytes.as_slice(), end), (&b"before the end"[..], Happened::Finished(stream)));
    relay.reaches("relay_streams_open 0").await;
}

#[tokio::test]
async fn the_end_comes_after_the_last_byte() {
    let give = TargetServer::start(Habit::Give(5_000_000)).await;
    let relay = Running::start(&open_to(give.port)).await;
    for v2 in [true, false] {
        let mut client = Proper::open(relay.address, v2).await;
        let stream = client.connect("127.0.0.1", give.port).await;
        let (bytes, end) = client.drain(stream).await;
        assert_eq!(bytes.len(), 5_000_000);
        let expected = if v2 {
            Happened::Finished(stream)
        } else {
            Happened::Closed(stream, Reason::Voluntary)
        };
        assert_eq!(end, expected);
    }
}

#[tokio::test]
async fn a_socket_that_was_full_is_filled_again_at_once() {
    // Version 1: nothing comes from the client that would wake the relay by chance.
    let give = TargetServer::start(Habit::Give(12_000_000)).await;
    let relay = Running::start(&open_to(give.port)).await;
    let mut client = Proper::open(relay.address, false).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(client.connect("127.0.0.1", give.port).await);
    }
    let whole = async {
        for stream in streams {
            assert_eq!(client.drain(stream).await.0.len(), 12_000_000);
        }
    };
    soon(whole).await;
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_delivered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = Running::start(&open_to(port)).await;
    let mut client = Proper::open(relay.address, true).await;
    let stream = client.connect("127.0.0.1", port).await;
    let (mut socket, _) = soon(listener.accept()).await.unwrap();
    client.wait(|happened| *happened == Happened::Opened(stream)).await;
    let sent = pattern(400_000);
    client.send(stream, &sent).await;
    client.client.close(stream, Reason::Voluntary);
    client.flush().await;
    let mut bytes = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut bytes)).await.unwrap();
    assert!(bytes == sent);
}

#[tokio::test]
async fn datagrams_stay_datagrams() {
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let relay = Running::start(&open_to(port)).await;
    let mut client = Proper::open(relay.address, true).await;
    let stream = client.open_stream(Kind::Udp, "127.0.0.1", port).await;
    for payload in [&b"one"[..], b"", b"three"] {
        assert!(client.client.send_datagram(stream, payload));
        client.flush().await;
        let mut buffer = [0; 100];
        let (length, from) = soon(target.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(&buffer[..length], payload);
        target.send_to(payload, from).await.unwrap();
        let data = |happened: &Happened| matches!(happened, Happened::Data(..));
        assert_eq!(client.wait(data).await, Happened::Data(stream, payload.to_vec()));
    }
}

#[tokio::test]
async fn many_streams_do_not_mix() {
    let echo = TargetServer::start(Habit::Echo).await;
    let relay = Running::start(&open_to(echo.port)).await;
    let mut client = Proper::open(relay.address, true).await;
    let mut streams = Vec::new();
    for n in 0..32 {
        let stream = client.connect("127.0.0.1", echo.port).await;
        let bytes: Vec<u8> = pattern(50_000).iter().map(|byte| byte ^ n).collect();
        client.send(stream, &bytes).await;
        assert!(client.client.shutdown(stream));
        client.flush().await;
        streams.push((stream, bytes));
    }
    for (stream, sent) in streams {
        let (bytes, end) = client.drain(stream).await;
        assert!(bytes == sent, "{stream}");
        assert_eq!(end, Happened::Finished(stream));
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_failures_have_their_reasons() {
    let echo = TargetServer::start(Habit::Echo).await;
    let names = NameServer::start(|name, _, _| match name {
        "echo.test" => addresses(&["127.0.0.1"]),
        "mute.test" => crate::names::Reply::Silence,
        _ => crate::names::Reply::NoName,
    })
    .await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let text = format!(
        "allow-cidr = [\"127.0.0.0/8\"]\nallow-port = [{}, {closed}]\n{}[timeouts]\nresolve = 0.3\n",
        echo.port,
        names.setting()
    );
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    let kind = Kind::Tcp;
    assert_eq!(client.attempt(kind, "echo.test", echo.port).await, None);
    assert_eq!(client.attempt(kind, "Echo.TEST.", echo.port).await, None);
    assert_eq!(client.attempt(kind, "none.test", echo.port).await, Some(Reason::Unreachable));
    assert_eq!(client.attempt(kind, "mute.test", echo.port).await, Some(Reason::ConnectTimeout));
    assert_eq!(client.attempt(kind, "echo.test", closed).await, Some(Reason::Refused));
}

#[tokio::test]
async fn what_stands_still_is_ended() {
    let deaf = TargetServer::start(Habit::Deaf).await;
    let text = open_to(deaf.port) + "[timeouts]\ntcp-idle = 0.2\nudp-idle = 0.2\n";
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    for kind in [Kind::Tcp, Kind::Udp] {
        let stream = client.open_stream(kind, "127.0.0.1", deaf.port).await;
        let closed = |happened: &Happened| matches!(happened, Happened::Closed(..));
        assert_eq!(client.wait(closed).await, Happened::Closed(stream, Reason::DataTimeout));
    }
}
