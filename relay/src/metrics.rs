//! Counters for Prometheus. No label says whom somebody talked to.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wisp::Reason;

use crate::policy::Denied;

/// Each rule of the policy, in the order of its label.
const RULES: [&str; 6] = ["malformed", "port", "host", "local-name", "literal", "address"];

/// Why a connection did not become a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// Not a request that we take: path, origin, headers.
    Request,
    /// Too many connections, or too fast.
    Limit,
    /// The handshake took too long.
    Slow,
    /// No token, or a wrong one.
    Token,
    /// The TLS handshake failed.
    Tls,
}

const REJECTIONS: [&str; 5] = ["request", "limit", "slow", "token", "tls"];

/// What the relay counts.
#[derive(Default)]
pub struct Metrics {
    /// Sessions so far.
    pub sessions: AtomicU64,
    /// Sessions now.
    pub sessions_open: AtomicU64,
    /// Streams that were connected.
    pub streams: AtomicU64,
    /// Streams now, dialling ones included.
    pub streams_open: AtomicU64,
    /// Streams that the other side, or the way to it, refused.
    pub failed: AtomicU64,
    /// CONNECTs over a limit.
    pub throttled: AtomicU64,
    /// Connections ended because the peer broke the protocol.
    pub violations: AtomicU64,
    /// Bytes from clients.
    pub up: AtomicU64,
    /// Bytes to clients.
    pub down: AtomicU64,
    /// Lines that the audit log was too slow for.
    pub audit_lost: AtomicU64,
    denied: [AtomicU64; RULES.len()],
    rejected: [AtomicU64; REJECTIONS.len()],
}

impl Metrics {
    /// A CONNECT was denied.
    pub fn denied(&self, denied: Denied) {
        if let Some(at) = RULES.iter().position(|rule| *rule == denied.rule()) {
            self.denied[at].fetch_add(1, Relaxed);
        }
    }

    /// A connection was turned away.
    pub fn rejected(&self, rejection: Rejection) {
        self.rejected[rejection as usize].fetch_add(1, Relaxed);
    }

    /// A stream was refused for a reason that is no rule's.
    pub fn refused(&self, reason: Reason) {
        let counter = if reason == Reason::Throttled { &self.throttled } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let counters = [
            ("sessions_total", "counter", "Sessions so far.", &self.sessions),
            ("sessions_open", "gauge", "Sessions now.", &self.sessions_open),
            ("streams_total", "counter", "Streams that were connected.", &self.streams),
            ("streams_open", "gauge", "Streams now.", &self.streams_open),
            (
                "streams_failed_total",
                "counter",
                "Streams without a way to their target.",
                &self.failed,
            ),
            ("streams_throttled_total", "counter", "CONNECTs over a limit.", &self.throttled),
            (
                "violations_total",
                "counter",
                "Connections ended for a broken protocol.",
                &self.violations,
            ),
            ("up_bytes_total", "counter", "Bytes from clients.", &self.up),
            ("down_bytes_total", "counter", "Bytes to clients.", &self.down),
            ("audit_lost_total", "counter", "Lines that the audit log lost.", &self.audit_lost),
        ];
        for (name, kind, help, counter) in counters {
            head(&mut text, name, kind, help);
            _ = writeln!(text, "relay_{name} {}", counter.load(Relaxed));
        }
        labelled(
            &mut text,
            "streams_denied_total",
            "CONNECTs denied.",
            "rule",
            &RULES,
            &self.denied,
        );
        let rejected = ("connections_rejected_total", "Connections turned away.");
        labelled(&mut text, rejected.0, rejected.1, "cause", &REJECTIONS, &self.rejected);
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    _ = writeln!(text, "# HELP relay_{name} {help}\n# TYPE relay_{name} {kind}");
}

fn labelled(
    text: &mut String,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
    counters: &[AtomicU64],
) {
    head(text, name, "counter", help);
    for (value, counter) in values.iter().zip(counters) {
        _ = writeln!(text, "relay_{name}{{{label}=\"{value}\"}} {}", counter.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::address::Class;

    #[test]
    fn every_rule_and_every_rejection_has_its_line() {
        let metrics = Metrics::default();
        for denied in [
            Denied::Malformed,
            Denied::Port,
            Denied::Host,
            Denied::LocalName,
            Denied::Literal,
            Denied::Address(Class::Loopback),
        ] {
            metrics.denied(denied);
            let line = format!("relay_streams_denied_total{{rule=\"{}\"}} 1\n", denied.rule());
            assert!(metrics.render().contains(&line), "{line}");
        }
        metrics.rejected(Rejection::Tls);
        assert!(metrics.render().contains("relay_connections_rejected_total{cause=\"tls\"} 1\n"));
    }

    #[test]
    fn the_text_is_lines_of_name_and_number() {
        for line in Metrics::default().render().lines().filter(|line| !line.starts_with('#')) {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("relay_") && number == "0", "{line}");
        }
    }
}
