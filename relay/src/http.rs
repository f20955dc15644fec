//! The request that a connection begins with: what it must be, and what is answered. Pure
//! but for [`read_head`].
//!
//! Only the head of one GET is ever read. What is not exactly what a WebSocket client sends
//! (RFC 6455 §4.1) is refused, and nothing is taken from a URL but its path.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::policy::cidr::Cidr;

/// Bytes of a head, at most.
const HEAD_MAX: usize = 8 * 1024;

/// Header lines, at most.
const HEADERS_MAX: usize = 64;

/// What RFC 6455 §1.3 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// WISP's version 2 as a subprotocol.
const V2: &str = "wisp-v2";

/// Who may come in, as far as the request shows it.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Origins, exactly as a browser sends them; `none` for requests without one. If empty:
    /// pages of this machine, and requests without one.
    pub origins: Vec<String>,
    /// Proxies whose word on the client's address is believed.
    pub proxies: Vec<Cidr>,
    /// Whether there must be a token, which WISP has since version 2 only.
    pub token: bool,
}

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// A WISP connection.
    Wisp(Upgrade),
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
}

/// A WebSocket request that may become a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Upgrade {
    /// Version 2 was asked for.
    pub(crate) v2: bool,
    /// The client's address.
    pub(crate) client: IpAddr,
    accept: String,
}

/// A status, and one line for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str);

impl Upgrade {
    /// The answer that turns the connection into a WebSocket.
    pub(crate) fn response(&self) -> String {
        let protocol =
            if self.v2 { format!("Sec-WebSocket-Protocol: {V2}\r\n") } else { String::new() };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept
        )
    }
}

/// An answer that is all there is, after which the connection closes.
pub(crate) fn response(status: u16, content_type: &str, body: &str) -> String {
    let words = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
        429 => "Too Many Requests\r\nRetry-After: 5",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable\r\nRetry-After: 5",
    };
    format!(
        "HTTP/1.1 {status} {words}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Refusal {
    /// It as an answer.
    pub(crate) fn response(self) -> String {
        response(self.0, "text/plain; charset=utf-8", &format!("{}\n", self.1))
    }
}

/// Reads up to the empty line that ends a head. Nothing may follow it: a client has nothing
/// to say before it was answered.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Result<Vec<u8>, Refusal>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let alone = end + 4 == head.len();
            return Ok(if alone { Ok(head) } else { Err(Refusal(400, "a body is not wanted")) });
        }
        if head.len() > HEAD_MAX {
            return Ok(Err(Refusal(431, "the head of the request is too long")));
        }
    }
}

/// What a head asks for, from a peer with this address.
pub(crate) fn wish(head: &[u8], door: &Door, peer: IpAddr) -> Result<Wish, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal(431, "too many headers")),
        _ => return Err(Refusal(400, "not a request")),
    }
    if request.method != Some("GET") {
        return Err(Refusal(405, "GET only"));
    }
    let headers = Headers(request.headers);
    match request.path {
        Some("/" | "/wisp/") if request.version == Some(1) => {
            upgrade(&headers, door, peer).map(Wish::Wisp)
        }
        Some("/healthz") => Ok(Wish::Health),
        Some("/readyz") => Ok(Wish::Ready),
        Some("/metrics") => Ok(Wish::Metrics),
        _ => Err(Refusal(404, "nothing here; WISP is at / and /wisp/")),
    }
}

fn upgrade(headers: &Headers<'_>, door: &Door, peer: IpAddr) -> Result<Upgrade, Refusal> {
    if !headers.lists("upgrade", "websocket") || !headers.lists("connection", "upgrade") {
        return Err(Refusal(426, "this is a WISP relay: it wants a WebSocket"));
    }
    if headers.one("sec-websocket-version")? != Some("13") {
        return Err(Refusal(426, "version 13 of WebSocket is wanted"));
    }
    if !door.lets_in(headers.one("origin")?) {
        return Err(Refusal(403, "pages of this origin may not use this relay"));
    }
    let key = headers.one("sec-websocket-key")?.unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Refusal(400, "the WebSocket key is wrong"));
    }
    let offered = headers.all("sec-websocket-protocol").next().is_some();
    let v2 = headers.lists("sec-websocket-protocol", V2);
    if offered && !v2 {
        return Err(Refusal(400, "the subprotocol wisp-v2 is wanted, or none"));
    }
    if door.token && !v2 {
        return Err(Refusal(401, "a token is wanted, so the subprotocol wisp-v2 is"));
    }
    let accept =
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    Ok(Upgrade { v2, client: client(headers, door, peer)?, accept: STANDARD.encode(accept) })
}

impl Door {
    fn lets_in(&self, origin: Option<&str>) -> bool {
        match origin {
            _ if !self.origins.is_empty() => {
                self.origins.iter().any(|listed| listed == origin.unwrap_or("none"))
            }
            None => true,
            Some(origin) => is_same_machine(origin),
        }
    }

    /// Whether a proxy's word is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(address))
    }
}

/// `http://localhost` or `http://127.0.0.1`, at any port.
fn is_same_machine(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let (host, port) = host.split_once(':').unwrap_or((host, "80"));
    matches!(host, "localhost" | "127.0.0.1") && port.parse::<u16>().is_ok()
}

/// The client's address: the peer's, or what trusted proxies say, read from the right up to
/// the first hop that is not trusted. What stands left of it, anybody may have written.
fn client(headers: &Headers<'_>, door: &Door, peer: IpAddr) -> Result<IpAddr, Refusal> {
    let peer = peer.to_canonical();
    if !door.trusts(peer) {
        return Ok(peer);
    }
    let forwarded: Vec<&str> = headers.hops("forwarded").collect();
    let x_forwarded: Vec<&str> = headers.hops("x-forwarded-for").collect();
    // A proxy writes one of them and may pass the other through, as a stranger wrote it.
    if !forwarded.is_empty() && !x_forwarded.is_empty() {
        return Err(Refusal(400, "Forwarded and X-Forwarded-For contradict each other"));
    }
    let hops = forwarded.into_iter().map(forwarded_for).chain(x_forwarded.into_iter().map(address));
    let mut client = peer;
    for hop in hops.collect::<Vec<_>>().into_iter().rev() {
        let unreadable = Refusal(400, "a proxy says an address that is none");
        client = hop.ok_or(unreadable)?.to_canonical();
        if !door.trusts(client) {
            break;
        }
    }
    Ok(client)
}

/// The address in `for=192.0.2.1;proto=https`, RFC 7239 §4.
fn forwarded_for(hop: &str) -> Option<IpAddr> {
    let pairs = hop.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.trim_matches('"'))
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match bracketed {
        Some((inner, _)) => inner.parse().ok(),
        None => text.parse().ok().or_else(|| text.split_once(':')?.0.parse().ok()),
    }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| std::str::from_utf8(header.value).unwrap_or("\u{fffd}").trim())
    }

    /// The only value of a header that may stand once.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Refusal(400, "a header stands twice")),
        }
    }

    /// The members of a header that is a list.
    fn hops(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    fn lists(&self, name: &'static str, member: &str) -> bool {
        self.hops(name).any(|listed| listed.eq_ignore_ascii_case(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.9";

    fn head(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }

    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn asked(door: &Door, more: &[(&str, &str)]) -> Result<Upgrade, u16> {
        let headers: Vec<_> = GOOD.iter().chain(more).copied().collect();
        match wish(&head("/", &headers), door, PEER.parse().unwrap()) {
            Ok(Wish::Wisp(upgrade)) => Ok(upgrade),
            Ok(other) => panic!("{other:?}"),
            Err(Refusal(status, _)) => Err(status),
        }
    }

    #[test]
    fn a_websocket_is_answered_as_rfc_6455_has_it() {
        let upgrade = asked(&Door::default(), &[]).unwrap();
        assert!(!upgrade.v2);
        assert!(
            upgrade.response().contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
        );
        assert!(!upgrade.response().contains("Protocol:"));
        let upgrade =
            asked(&Door::default(), &[("Sec-WebSocket-Protocol", "chat, wisp-v2")]).unwrap();
        assert!(upgrade.v2);
        assert!(upgrade.response().contains("Sec-WebSocket-Protocol: wisp-v2\r\n"));
        assert_eq!(asked(&Door::default(), &[("Sec-WebSocket-Protocol", "chat")]), Err(400));
    }

    #[test]
    fn what_is_no_websocket_is_refused() {
        for without in 0..GOOD.len() {
            let rest: Vec<_> = GOOD.iter().enumerate().filter(|(n, _)| *n != without).collect();
            let headers: Vec<_> = rest.iter().map(|(_, header)| **header).collect();
            let said = wish(&head("/", &headers), &Door::default(), PEER.parse().unwrap());
            assert!(matches!(said, Err(Refusal(400 | 426, _))), "{without}: {said:?}");
        }
        for twice in [GOOD[2], GOOD[3]] {
            assert_eq!(asked(&Door::default(), &[twice]), Err(400));
        }
        let peer = PEER.parse().unwrap();
        for path in ["/x", "/wisp", "/wisp/?token=1", "/?a", "//", "http://a/"] {
            let said = wish(&head(path, &GOOD), &Door::default(), peer);
            assert!(matches!(said, Err(Refusal(404, _))), "{path}: {said:?}");
        }
        for text in ["", "\r\n\r\n", "GET", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n\r\n"] {
            assert!(wish(text.as_bytes(), &Door::default(), peer).is_err(), "{text:?}");
        }
        let many: Vec<_> = (0..HEADERS_MAX + 1).map(|_| ("a", "b")).collect();
        assert!(matches!(wish(&head("/", &many), &Door::default(), peer), Err(Refusal(431, _))));
    }

    #[test]
    fn origins_are_exact() {
        let door = Door::default();
        let origin = |door: &Door, origin: &str| asked(door, &[("Origin", origin)]).is_ok();
        for same in ["http://localhost", "http://localhost:8080", "http://127.0.0.1:1"] {
            assert!(origin(&door, same), "{same}");
        }
        for other in [
            "https://example.org",
            "null",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost:80.example.org",
            "http://localhost:",
            "http://localhost@example.org",
            "HTTP://LOCALHOST",
            "http://localhost:1/",
            "",
        ] {
            assert!(!origin(&door, other), "{other}");
        }
        let door = Door { origins: vec!["https://a.example".into()], ..Door::default() };
        assert!(origin(&door, "https://a.example"));
        for other in [
            "http://a.example",
            "https://a.example:443",
            "https://b.a.example",
            "http://localhost",
            "none ",
        ] {
            assert!(!origin(&door, other), "{other}");
        }
        assert_eq!(asked(&door, &[]), Err(403));
        let door = Door { origins: vec!["none".into()], ..Door::default() };
        assert!(asked(&door, &[]).is_ok());
        assert_eq!(
            asked(&door, &[("Origin", "http://a"), ("Origin", "http://localhost")]),
            Err(400)
        );
    }

    #[test]
    fn without_version_2_there_can_be_no_token() {
        let door = Door { token: true, ..Door::default() };
        assert_eq!(asked(&door, &[]), Err(401));
        assert!(asked(&door, &[("Sec-WebSocket-Protocol", "wisp-v2")]).is_ok());
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let (x, f) = ("X-Forwarded-For", "Forwarded");
        let seen = |proxies: &[&str], headers: &[(&str, &str)]| {
            let proxies = proxies.iter().map(|range| range.parse().unwrap()).collect();
            let door = Door { proxies, ..Door::default() };
            asked(&door, headers).map(|upgrade| upgrade.client.to_string())
        };
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(seen(&[], &[(x, "8.8.8.8")]), ok(PEER));
        let one = ["192.0.2.0/24"];
        assert_eq!(seen(&one, &[]), ok(PEER));
        assert_eq!(seen(&one, &[(x, "8.8.8.8")]), ok("8.8.8.8"));
        assert_eq!(seen(&one, &[(x, "1.1.1.1, 8.8.8.8")]), ok("8.8.8.8"));
        assert_eq!(seen(&one, &[(x, "1.1.1.1, 8.8.8.8, 192.0.2.1")]), ok("8.8.8.8"));
        assert_eq!(seen(&one, &[(x, "1.1.1.1"), (x, "8.8.8.8")]), ok("8.8.8.8"));
        assert_eq!(seen(&one, &[(x, "[2001:db8::1]:80")]), ok("2001:db8::1"));
        assert_eq!(seen(&one, &[(x, "1.1.1.1, nobody")]), Err(400));
        assert_eq!(
            seen(&one, &[(f, "for=1.1.1.1, for=\"[2001:db8::1]:4711\";proto=https")]),
            ok("2001:db8::1")
        );
        assert_eq!(seen(&one, &[(f, "for=unknown")]), Err(400));
        assert_eq!(seen(&one, &[(f, "for=1.1.1.1"), (x, "8.8.8.8")]), Err(400));
    }

    #[tokio::test]
    async fn a_head_is_bounded_and_stands_alone() {
        let long = [b'a'; HEAD_MAX + 1024];
        assert_eq!(
            read_head(&mut &long[..]).await.unwrap(),
            Err(Refusal(431, "the head of the request is too long"))
        );
        assert!(read_head(&mut &b"GET / HTTP/1.1\r\n\r\nmore"[..]).await.unwrap().is_err());
        assert!(read_head(&mut &b"GET / HTTP/1.1\r\n"[..]).await.is_err());
        assert!(read_head(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await.unwrap().is_ok());
    }
}
