//! A name server on loopback that answers as a test wants, also with lies.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Address records, after a CNAME to each of these names.
    Addresses(Vec<&'static str>, Vec<IpAddr>),
    /// The name does not exist.
    NoName,
    /// Cut short: the rest is had over TCP.
    Truncated,
    /// Nothing.
    Silence,
    /// An answer with another id, before the true one.
    Forged(Vec<IpAddr>, Vec<IpAddr>),
}

/// Which question of a name it is, counted from 0 and for each type on its own.
type Answers = dyn Fn(&str, bool, usize) -> Reply + Send + Sync;

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, bool)>>>,
}

pub(crate) fn addresses(texts: &[&str]) -> Reply {
    Reply::Addresses(vec![], texts.iter().map(|text| text.parse().unwrap()).collect())
}

impl NameServer {
    /// `answers(name, is IPv6, how often asked before, is TCP)`.
    pub(crate) async fn start(
        answers: impl Fn(&str, bool, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Answers> = Arc::new(answers);
        let (count, over_tcp) = (asked.clone(), answers.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = &buffer[..length];
                for reply in reply(question, &count, &answers, false) {
                    _ = socket.send_to(&reply, from).await;
                }
            }
        });
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let length = socket.read_u16().await.unwrap();
                let mut question = vec![0; length.into()];
                socket.read_exact(&mut question).await.unwrap();
                for reply in reply(&question, &count, &over_tcp, true) {
                    _ = socket.write_u16(reply.len() as u16).await;
                    _ = socket.write_all(&reply).await;
                }
            }
        });
        Self { address, asked }
    }

    /// The setting that makes a relay ask here.
    pub(crate) fn setting(&self) -> String {
        format!("nameserver = [\"{}\"]\n", self.address)
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn reply(
    question: &[u8],
    asked: &Mutex<Vec<(String, bool)>>,
    answers: &Arc<Answers>,
    tcp: bool,
) -> Vec<Vec<u8>> {
    let (name, v6) = read(question);
    let before = {
        let mut asked = asked.lock().unwrap();
        asked.push((name.clone(), v6));
        asked.iter().filter(|earlier| **earlier == (name.clone(), v6)).count() - 1
    };
    match answers(&name, v6, before) {
        Reply::Silence => vec![],
        Reply::NoName => vec![message(question, 3, v6, &[], &[])],
        Reply::Truncated if !tcp => vec![message(question, 0x200, v6, &[], &[])],
        Reply::Truncated => vec![message(question, 0, v6, &[], &["127.0.0.1".parse().unwrap()])],
        Reply::Addresses(names, addresses) => vec![message(question, 0, v6, &names, &addresses)],
        Reply::Forged(forged, addresses) => {
            let mut other = question.to_vec();
            other[0] ^= 0x55;
            vec![message(&other, 0, v6, &[], &forged), message(question, 0, v6, &[], &addresses)]
        }
    }
}

/// Name and type of a question.
fn read(question: &[u8]) -> (String, bool) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..=at + length].to_vec()).unwrap());
        at += length + 1;
    }
    (labels.join("."), question[at + 2] == 28)
}

fn message(question: &[u8], flags: u16, v6: bool, names: &[&str], all: &[IpAddr]) -> Vec<u8> {
    let addresses: Vec<_> = all.iter().filter(|address| address.is_ipv6() == v6).collect();
    // Without the OPT record that the question ends with.
    let mut message = question[..question.len() - 11].to_vec();
    message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    message[6..8].copy_from_slice(&((names.len() + addresses.len()) as u16).to_be_bytes());
    message[10..12].copy_from_slice(&[0, 0]);
    let mut record = |kind: u16, data: &[u8]| {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 0]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    };
    for name in names {
        let mut data = Vec::new();
        for label in name.split('.') {
            data.push(label.len() as u8);
            data.extend(label.as_bytes());
        }
        data.push(0);
        record(5, &data);
    }
    for address in addresses {
        match address {
            IpAddr::V4(address) => record(1, &address.octets()),
            IpAddr::V6(address) => record(28, &address.octets()),
        }
    }
    message
}
