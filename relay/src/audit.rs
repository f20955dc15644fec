//! The audit log: one line of JSON for each stream that ended or was denied.
//!
//! Never a payload, never a token. A name is a stranger's text: what is not plain ASCII in
//! it is escaped, and with `redact` it is a keyed hash, with a key that lives as long as the
//! process: lines can be compared with each other, and with nothing else.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use ring::hmac;
use ring::rand::SystemRandom;
use serde::Serialize;

use crate::metrics::Metrics;

/// Lines that wait for the disk; more are lost, and counted. About 1 MiB.
const WAITING: usize = 4096;

/// Characters of a name that are written.
const NAME_MAX: usize = 255;

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Standard output.
    Output,
    /// The end of this file.
    File(PathBuf),
}

/// One stream's end.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The connection's number since the start.
    pub connection: u64,
    /// The stream's id.
    pub stream: u32,
    /// The client's address.
    pub from: String,
    /// Who the token was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Stands for the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `tcp` or `udp`.
    pub kind: &'static str,
    /// What was asked for.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// What kind of address it was, if it came to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Which rule denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// Why it ended, in WISP's words.
    pub reason: String,
    /// Bytes from the client.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// How long it was.
    pub ms: u64,
}

/// Takes lines, and never waits. Clones write to the same log.
#[derive(Clone, Default)]
pub struct Audit {
    lines: Option<SyncSender<Line>>,
    redact: Option<Arc<hmac::Key>>,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// Opens the log. The handle is of the thread that writes; it ends when the last clone
    /// is gone.
    pub fn open(
        target: &Target,
        redact: bool,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let to: Box<dyn Write + Send> = match target {
            Target::Output => Box::new(io::stdout()),
            Target::File(path) => {
                Box::new(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        let (lines, waiting) = sync_channel(WAITING);
        let writer = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(&waiting, BufWriter::new(to)))?;
        let key = || hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let redact = match redact.then(key).transpose() {
            Ok(key) => key.map(Arc::new),
            Err(_) => return Err(io::Error::other("no random bytes")),
        };
        Ok((Self { lines: Some(lines), redact, metrics }, writer))
    }

    /// Writes a line, or counts it as lost.
    pub fn write(&self, mut line: Line) {
        let Some(lines) = &self.lines else { return };
        line.host = self.name(&line.host);
        line.from = self.redacted(line.from);
        line.client = line.client.map(|client| self.name(&client));
        if lines.try_send(line).is_err() {
            self.metrics.audit_lost.fetch_add(1, Relaxed);
        }
    }

    fn name(&self, text: &str) -> String {
        self.redacted(text.chars().flat_map(char::escape_default).take(NAME_MAX).collect())
    }

    fn redacted(&self, text: String) -> String {
        let Some(key) = &self.redact else { return text };
        let mac = hmac::sign(key, text.as_bytes());
        mac.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn write(lines: &Receiver<Line>, mut to: BufWriter<Box<dyn Write + Send>>) {
    while let Ok(first) = lines.recv() {
        // One write for all that has come together.
        for line in std::iter::once(first).chain(lines.try_iter()) {
            // A full disk must not stop the relay; there is nobody to tell but the next line.
            _ = serde_json::to_writer(&mut to, &line).map_err(io::Error::from);
            _ = to.write_all(b"\n");
        }
        _ = to.flush();
    }
}

/// A moment as RFC 3339 in UTC with milliseconds.
pub fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date, with years that begin in March and eras of 400 years.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{:02}.{millis:03}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(host: &str) -> Line {
        Line {
            time: timestamp(SystemTime::UNIX_EPOCH),
            connection: 1,
            stream: 2,
            from: "192.0.2.1".into(),
            client: None,
            token: None,
            kind: "tcp",
            host: host.into(),
            port: 80,
            class: Some("public"),
            decision: "allow",
            rule: None,
            reason: "closed".into(),
            up: 3,
            down: 4,
            ms: 5,
        }
    }

    fn written(redact: bool, hosts: &[&str]) -> Vec<serde_json::Value> {
        let folder =
            std::env::temp_dir().join(format!("relay-audit-{}-{redact}", std::process::id()));
        let target = Target::File(folder.clone());
        let (audit, writer) = Audit::open(&target, redact, Arc::default()).unwrap();
        for host in hosts {
            audit.write(line(host));
        }
        drop(audit);
        writer.join().unwrap();
        let text = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(folder).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn one_line_a_stream_whatever_is_in_the_name() {
        let hosts = ["a.example", "a\n{\"b\":1}\u{1b}[31m\u{7f}\u{202e}x", &"long.".repeat(100)];
        let lines = written(false, &hosts);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["host"], "a.example");
        assert_eq!(lines[1]["host"], "a\\n{\\\"b\\\":1}\\u{1b}[31m\\u{7f}\\u{202e}x");
        assert_eq!(lines[2]["host"].as_str().unwrap().len(), NAME_MAX);
    }

    #[test]
    fn redacted_names_can_be_compared_and_not_read() {
        let lines = written(true, &["a.example", "b.example", "a.example"]);
        assert_eq!(lines[0]["host"], lines[2]["host"]);
        assert_ne!(lines[0]["host"], lines[1]["host"]);
        assert!(!lines[0].to_string().contains("example"));
        assert!(!lines[0].to_string().contains("192.0.2.1"));
    }

    #[test]
    fn time_is_told_in_rfc_3339() {
        let at = |seconds| timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(at(1_795_478_399_000), "2026-11-23T23:59:59.000Z");
    }
}
