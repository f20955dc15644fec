//! What must not be reached is not reached: by address, by name, by a lie of a name server.

use std::sync::atomic::Ordering::Relaxed;

use wisp::{Kind, Reason};

use crate::client::Proper;
use crate::names::{NameServer, Reply, addresses};
use crate::running::{Habit, Running, TargetServer};

/// Limits that are not in the way of a table.
const FAST: &str = "[limits]\nconnects = 10000\nconnects-burst = 10000\naddress-burst = 10000\n";

/// At least one of each class, in each embedding of IPv4 in IPv6.
const DENIED: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "2a00:1450::5efe:10.0.0.1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

#[tokio::test]
async fn every_denied_address_is_denied_when_it_is_written() {
    let relay = Running::start(&format!("any-port = true\n{FAST}")).await;
    let mut client = Proper::open(relay.address, true).await;
    for kind in [Kind::Tcp, Kind::Udp] {
        for address in DENIED {
            let said = client.attempt(kind, address, 80).await;
            assert_eq!(said, Some(Reason::Blocked), "{kind:?} {address}");
            let bracketed = format!("[{address}]");
            let expected = if address.contains(':') { Reason::Blocked } else { Reason::Invalid };
            assert_eq!(client.attempt(kind, &bracketed, 80).await, Some(expected), "{bracketed}");
        }
    }
    assert_eq!(relay.metrics.streams.load(Relaxed), 0);
}

#[tokio::test]
async fn every_denied_address_is_denied_when_a_name_leads_there() {
    let names = NameServer::start(|name, _, _| {
        let (number, _) = name.split_once('.').unwrap();
        addresses(&[DENIED[number.strip_prefix('n').unwrap().parse::<usize>().unwrap()]])
    })
    .await;
    let relay = Running::start(&format!("{}{FAST}", names.setting())).await;
    let mut client = Proper::open(relay.address, true).await;
    for kind in [Kind::Tcp, Kind::Udp] {
        for (number, address) in DENIED.iter().enumerate() {
            let said = client.attempt(kind, &format!("n{number}.test"), 80).await;
            assert_eq!(said, Some(Reason::Blocked), "{kind:?} {address}");
        }
    }
    assert_eq!(relay.metrics.streams.load(Relaxed), 0);
}

#[tokio::test]
async fn spellings_that_lenient_readers_take_for_loopback_ask_nobody() {
    let names = NameServer::start(|_, _, _| addresses(&["127.0.0.1"])).await;
    let target = TargetServer::start(Habit::Echo).await;
    let text = format!(
        "allow-cidr = [\"0.0.0.0/0\", \"::/0\"]\nallow-port = [{}]\n{}{FAST}",
        target.port,
        names.setting()
    );
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    for host in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.01",
        "127.0.0.1.",
        "0",
        "1.1.1.1.1",
        "::1%1",
        "[127.0.0.1]",
        "127.0.0.1:80",
        "a..b",
        "-a.test",
        "bücher.test",
        "１２７.0.0.1",
        "a@127.0.0.1",
    ] {
        let said = client.attempt(Kind::Tcp, host, target.port).await;
        assert_eq!(said, Some(Reason::Invalid), "{host}");
    }
    for host in ["localhost", "LocalHost.", "a.localhost", "printer.local", "x.internal", "host"] {
        let said = client.attempt(Kind::Tcp, host, target.port).await;
        assert_eq!(said, Some(Reason::Blocked), "{host}");
    }
    assert_eq!((names.asked(), target.came()), (0, 0));
}

#[tokio::test]
async fn one_denied_address_among_public_ones_denies_the_name() {
    let names = NameServer::start(|name, _, _| match name {
        "last.test" => addresses(&["93.184.216.34", "127.0.0.1"]),
        "first.test" => addresses(&["127.0.0.1", "93.184.216.34"]),
        "six.test" => addresses(&["93.184.216.34", "::1"]),
        "mapped.test" => addresses(&["93.184.216.34", "::ffff:127.0.0.1"]),
        "alias.test" => Reply::Addresses(vec!["localhost"], vec!["127.0.0.1".parse().unwrap()]),
        "bare.test" => Reply::Addresses(vec!["localhost"], vec![]),
        _ => Reply::NoName,
    })
    .await;
    let target = TargetServer::start(Habit::Echo).await;
    let text = format!("allow-port = [{}]\n{}", target.port, names.setting());
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    for name in ["last.test", "first.test", "six.test", "mapped.test", "alias.test"] {
        let said = client.attempt(Kind::Tcp, name, target.port).await;
        assert_eq!(said, Some(Reason::Blocked), "{name}");
    }
    let said = client.attempt(Kind::Tcp, "bare.test", target.port).await;
    assert_eq!(said, Some(Reason::Unreachable));
    assert_eq!(target.came(), 0);
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_what_was_checked_is_dialled() {
    // The exception is one address; the other one is denied.
    let good = || addresses(&["127.0.0.1"]);
    let bad = || addresses(&["127.0.0.2"]);
    let names = NameServer::start(move |name, _, before| match (name, before) {
        ("turns.test", 0) | ("returns.test", 1) => good(),
        _ => bad(),
    })
    .await;
    let target = TargetServer::start(Habit::Echo).await;
    let text = format!(
        "allow-cidr = [\"127.0.0.1/32\"]\nallow-port = [{}]\n{}",
        target.port,
        names.setting()
    );
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    // Judged by the first answer, and dialled there: a second question would have led away.
    assert_eq!(client.attempt(Kind::Tcp, "turns.test", target.port).await, None);
    assert_eq!(names.asked(), 2, "one question for each family");
    // The next dial is judged anew.
    assert_eq!(client.attempt(Kind::Tcp, "turns.test", target.port).await, Some(Reason::Blocked));
    // Denied is denied: it is not asked until it pleases.
    let said = client.attempt(Kind::Tcp, "returns.test", target.port).await;
    assert_eq!(said, Some(Reason::Blocked));
    assert_eq!(names.asked(), 6);
    assert_eq!(target.came(), 1);
}

#[tokio::test]
async fn forged_answers_are_not_heard_and_long_ones_come_over_tcp() {
    let names = NameServer::start(|name, v6, _| match name {
        "forged.test" if !v6 => {
            let [forged, addresses] = ["10.0.0.1", "127.0.0.1"].map(|text| text.parse().unwrap());
            Reply::Forged(vec![forged], vec![addresses])
        }
        "long.test" if !v6 => Reply::Truncated,
        _ => Reply::NoName,
    })
    .await;
    let target = TargetServer::start(Habit::Echo).await;
    let text = format!(
        "allow-cidr = [\"127.0.0.1/32\"]\nallow-port = [{}]\n{}",
        target.port,
        names.setting()
    );
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    assert_eq!(client.attempt(Kind::Tcp, "forged.test", target.port).await, None);
    assert_eq!(client.attempt(Kind::Tcp, "long.test", target.port).await, None);
    assert_eq!(target.came(), 2);
}

#[tokio::test]
async fn the_relay_does_not_dial_itself() {
    let text = "any-port = true\nallow-cidr = [\"0.0.0.0/0\", \"::/0\"]\n";
    let relay = Running::start(&format!("{text}{FAST}")).await;
    let mut client = Proper::open(relay.address, true).await;
    for port in [relay.address.port(), relay.scrape.port()] {
        for host in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0"] {
            let said = client.attempt(Kind::Tcp, host, port).await;
            assert_eq!(said, Some(Reason::Blocked), "{host}:{port}");
        }
    }
    let any = Running::start(&format!("listen = \"0.0.0.0:0\"\n{text}{FAST}")).await;
    let here = (crate::running::LOOPBACK, any.address.port()).into();
    let mut client = Proper::open(here, true).await;
    for host in ["127.0.0.1", "127.1.2.3", "::ffff:127.9.9.9", "0.0.0.0"] {
        let said = client.attempt(Kind::Tcp, host, any.address.port()).await;
        assert_eq!(said, Some(Reason::Blocked), "{host}");
    }
}

#[tokio::test]
async fn ports_and_names_are_as_the_rules_say() {
    let names = NameServer::start(|_, _, _| addresses(&["127.0.0.1"])).await;
    let target = TargetServer::start(Habit::Echo).await;
    let port = target.port;
    let text = format!(
        "allow-host = [\"allowed.test\"]\nallow-cidr = [\"127.0.0.0/8\"]\nallow-port = [{port}]\n{}",
        names.setting()
    );
    let relay = Running::start(&text).await;
    let mut client = Proper::open(relay.address, true).await;
    for (host, port, expected) in [
        ("allowed.test", port, None),
        ("below.Allowed.test.", port, None),
        ("notallowed.test", port, Some(Reason::Blocked)),
        ("allowed.test.example", port, Some(Reason::Blocked)),
        ("127.0.0.1", port, Some(Reason::Blocked)),
        ("allowed.test", port ^ 1, Some(Reason::Blocked)),
        ("allowed.test", 25, Some(Reason::Blocked)),
    ] {
        assert_eq!(client.attempt(Kind::Tcp, host, port).await, expected, "{host}:{port}");
    }
    let any = Running::start("any-port = true\nallow-cidr = [\"127.0.0.0/8\"]").await;
    let mut client = Proper::open(any.address, true).await;
    for port in [25, 465, 587] {
        for kind in [Kind::Tcp, Kind::Udp] {
            let said = client.attempt(kind, "127.0.0.1", port).await;
            assert_eq!(said, Some(Reason::Blocked), "{port}");
        }
    }
    assert_eq!(client.attempt(Kind::Tcp, "127.0.0.1", target.port).await, None);
    let tcp = Running::start("no-udp = true\nallow-cidr = [\"127.0.0.0/8\"]").await;
    let mut client = Proper::open(tcp.address, false).await;
    assert_eq!(client.attempt(Kind::Udp, "127.0.0.1", 443).await, Some(Reason::Blocked));
}
