//! Frames that are kept, each with what comes of it.
//!
//! A file in `corpus/` is a conversation with one of our ends, from its first breath:
//!
//! ```text
//! # why it is here
//! server v2                      who is spoken to; `max=1`, `nopass` … see `End::new`
//! 0500000000 0200 => Ready | 030000000020000000
//!                    event, or the violation in words, then what is sent in answer
//! 02… x40         => the message this often; what is said is the last answer
//! ```
//!
//! `VIVARIUM_BLESS=1 cargo test -p wisp` writes what is behind the arrows.

use std::fs;
use std::path::{Path, PathBuf};

use wisp::client::{self, Client};
use wisp::server::{self, Server};
use wisp::{Credentials, Kind};

enum End {
    Client(Client),
    Server(Server),
}

impl End {
    /// An end as the line says, and what it says first.
    fn new(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let role = words.next().expect("a role");
        let words: Vec<&str> = words.collect();
        let has = |word| words.contains(&word);
        match role {
            "server" => Self::Server(Server::new(server::Config {
                v2: has("v2"),
                window_packets: 4,
                window_bytes: if has("noflow") { 0 } else { 8 },
                udp: !has("noudp"),
                motd: has("motd").then(|| "hello".into()),
                password: has("password").then_some(true).or(has("optional").then_some(false)),
                max_streams: if has("max=1") { 1 } else { 8 },
            })),
            "client" => {
                let who = Credentials { user: "ab".into(), password: "xyz".into() };
                let credentials = has("known").then_some(who);
                Self::Client(Client::new(client::Config { v2: has("v2"), credentials }))
            }
            other => panic!("no role {other}"),
        }
    }

    /// What comes of a message. `!open`, `!admit` … are what our own side does.
    fn outcome(&mut self, message: &str) -> String {
        let message: String = message.split_whitespace().collect();
        let event = match (&mut *self, message.as_str()) {
            (Self::Client(client), "!open") => format!("{:?}", client.open(Kind::Tcp, "a", 80)),
            (Self::Client(client), "!shutdown") => format!("{}", client.shutdown(1)),
            (Self::Client(client), "!send") => format!("{}", client.send(1, &[b'x'; 20])),
            (Self::Server(server), "!admit") => said(|| server.admit()),
            (Self::Server(server), "!opened") => said(|| server.opened(1)),
            (Self::Server(server), "!consumed") => said(|| server.consumed(1, 4)),
            (Self::Server(server), "!close") => said(|| server.close(1, wisp::Reason::DataTimeout)),
            (Self::Server(server), "!shutdown") => format!("{}", server.shutdown(1)),
            (_, "!look") => String::new(),
            (Self::Client(client), hex) => match client.receive(&bytes(hex)) {
                Ok(client::Event::Data { stream, bytes }) => data(stream, bytes),
                heard => verdict(heard),
            },
            (Self::Server(server), hex) => match server.receive(&bytes(hex)) {
                Ok(server::Event::Data { stream, bytes }) => data(stream, bytes),
                heard => verdict(heard),
            },
        };
        let mut outcome = vec![event];
        while let Some(answer) = match self {
            Self::Client(client) => client.transmit(),
            Self::Server(server) => server.transmit(),
        } {
            outcome.push(answer.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        outcome.join(" | ")
    }
}

fn said(act: impl FnOnce()) -> String {
    act();
    String::new()
}

fn data(stream: u32, bytes: &[u8]) -> String {
    format!("Data {{ stream: {stream}, bytes: {} }}", bytes.len())
}

fn verdict<E: std::fmt::Debug>(heard: Result<E, wisp::Violation>) -> String {
    match heard {
        Ok(event) => format!("{event:?}"),
        Err(violation) => format!("violation: {violation}"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect(hex))
        .collect()
}

/// The file as it should be.
fn played(text: &str) -> String {
    let mut end = None;
    let mut played = String::new();
    for line in text.lines() {
        let spoken = line.split(" => ").next().unwrap_or_default().trim_end();
        played += &match &mut end {
            _ if line.starts_with('#') => line.to_owned(),
            None => {
                end = Some(End::new(line));
                line.to_owned()
            }
            Some(end) => {
                let (message, times) = match spoken.split_once(" x") {
                    Some((message, times)) => (message, times.trim().parse().expect("a number")),
                    None => (spoken, 1),
                };
                // `00*9` is nine bytes of it.
                let long: Vec<String> = message.split_whitespace().map(repeated).collect();
                let outcomes: Vec<String> =
                    (0..times).map(|_| end.outcome(&long.concat())).collect();
                format!("{spoken} => {}", outcomes.last().expect("at least once"))
            }
        };
        played.push('\n');
    }
    played
}

fn repeated(word: &str) -> String {
    match word.split_once('*') {
        Some((byte, times)) => byte.repeat(times.parse().expect("a number")),
        None => word.to_owned(),
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "hex"));
    files.sort();
    files
}

#[test]
fn hostile_frames_come_to_what_is_written() {
    let bless = std::env::var_os("VIVARIUM_BLESS").is_some();
    let files = files();
    assert!(files.len() >= 20, "only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        let played = played(&text);
        if bless {
            fs::write(&file, played).expect("writable");
        } else {
            assert_eq!(text, played, "{}", file.display());
        }
    }
}
