//! Policies as text: one rule a line, the first that fits decides.
//!
//! ```text
//! # what the build needs
//! allow deb.debian.org:80
//! allow example.org:8000-8999     that host and all names below it
//! deny  10.0.0.0/8
//! default deny                    the last line; without it: allow
//! ```

use std::fmt::Write;
use std::net::Ipv4Addr;

use emulator_protocol::{MAX_RULES, Policy, Rule, Target, Verdict};

/// Longest text, in bytes: room for the most rules with the longest names, and within what
/// every browser keeps for a site.
pub(crate) const TEXT_LIMIT: usize = 128 * 1024;

/// Longest name of a host, in bytes (RFC 1035, 2.3.4, less the root's label).
const HOST_LIMIT: usize = 253;

/// Longest label of a name, in bytes (RFC 1035, 2.3.4).
const LABEL_LIMIT: usize = 63;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Counted from 1.
    pub(crate) line: usize,
    /// A sentence.
    pub(crate) words: String,
}

impl Mistake {
    /// The sentence and where it belongs.
    #[must_use]
    pub(crate) fn told(&self) -> String {
        format!("Line {}: {}", self.line, self.words)
    }
}

/// Reads a policy. `ascii` spells a name in the letters of the DNS, where the guest's own
/// questions already are (RFC 5891); `None` if it is no name.
///
/// # Errors
/// All lines that are wrong.
pub(crate) fn read(
    text: &str,
    ascii: impl Fn(&str) -> Option<String>,
) -> Result<Policy, Vec<Mistake>> {
    if text.len() > TEXT_LIMIT {
        let words = format!("The text is longer than {} KiB.", TEXT_LIMIT / 1024);
        return Err(vec![Mistake { line: 1, words }]);
    }
    let mut policy = Policy::default();
    let mut mistakes = Vec::new();
    let mut end = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        let result = match (words.as_slice(), end) {
            ([], _) => Ok(()),
            (_, Some(last)) => {
                Err(format!("Line {last} says what the default is; it ends the rules."))
            }
            (["default", verdict], None) => self::verdict(verdict).map(|verdict| {
                end = Some(index + 1);
                policy.default = verdict;
            }),
            ([verdict, target], None) => {
                rule(verdict, target, &ascii).and_then(|rule| take(&mut policy, rule))
            }
            _ => {
                Err("A rule is “allow” or “deny” and whom it is about, with nothing after.".into())
            }
        };
        if let Err(words) = result {
            mistakes.push(Mistake { line: index + 1, words });
        }
    }
    if mistakes.is_empty() { Ok(policy) } else { Err(mistakes) }
}

/// Writes a policy; [`read`] gives the same again.
#[must_use]
pub(crate) fn write(policy: &Policy) -> String {
    let mut text = String::new();
    for rule in &policy.rules {
        let target = match &rule.target {
            Target::Any => "*".to_string(),
            Target::Host { suffix } => suffix.clone(),
            Target::Range { address, prefix: 32 } => address.clone(),
            Target::Range { address, prefix } => format!("{address}/{prefix}"),
        };
        let ports = match rule.ports {
            None => String::new(),
            Some((first, last)) if first == last => format!(":{first}"),
            Some((first, last)) => format!(":{first}-{last}"),
        };
        // A text takes everything.
        let _ = writeln!(text, "{} {target}{ports}", word(rule.verdict));
    }
    let _ = writeln!(text, "default {}", word(policy.default));
    text
}

/// The policy that lets the guest reach these names and addresses, and nothing else.
#[must_use]
pub(crate) fn only<'a>(hosts: impl Iterator<Item = &'a str>) -> Policy {
    let mut rules: Vec<Rule> = Vec::new();
    for host in hosts {
        let target = match host.parse::<Ipv4Addr>() {
            Ok(address) => Target::Range { address: address.to_string(), prefix: 32 },
            Err(_) => Target::Host { suffix: host.to_string() },
        };
        if rules.len() < MAX_RULES && rules.iter().all(|rule| rule.target != target) {
            rules.push(Rule { verdict: Verdict::Allow, target, ports: None });
        }
    }
    Policy { rules, default: Verdict::Deny }
}

fn take(policy: &mut Policy, rule: Rule) -> Result<(), String> {
    if policy.rules.len() == MAX_RULES {
        return Err(format!(
            "There are {MAX_RULES} rules before it, and there is no room for more."
        ));
    }
    policy.rules.push(rule);
    Ok(())
}

fn rule(
    verdict: &str,
    target: &str,
    ascii: &impl Fn(&str) -> Option<String>,
) -> Result<Rule, String> {
    let verdict = self::verdict(verdict)?;
    let (target, ports) = match target.split_once(':') {
        // Two colons: an IPv6 address.
        Some((_, rest)) if rest.contains(':') => {
            return Err("The machine has no IPv6, so there are no rules about it.".into());
        }
        Some((target, ports)) => (target, Some(self::ports(ports)?)),
        None => (target, None),
    };
    Ok(Rule { verdict, target: self::target(target, ascii)?, ports })
}

fn verdict(word: &str) -> Result<Verdict, String> {
    match word {
        "allow" => Ok(Verdict::Allow),
        "deny" => Ok(Verdict::Deny),
        _ => Err(format!("“{word}” is neither “allow” nor “deny”.")),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port: Option<u16> = text.parse().ok().filter(|port| digits && *port != 0);
        port.ok_or_else(|| format!("“{text}” is not a port: those are 1 to 65535."))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("The ports go backwards: write {last}-{first}."));
    }
    Ok((first, last))
}

fn target(text: &str, ascii: &impl Fn(&str) -> Option<String>) -> Result<Target, String> {
    if text == "*" {
        return Ok(Target::Any);
    }
    if let Some((address, prefix)) = text.split_once('/') {
        return range(address, prefix);
    }
    if ends_in_a_number(text) {
        let address: Ipv4Addr = text.parse().map_err(|_| no_address(text))?;
        return Ok(Target::Range { address: address.to_string(), prefix: 32 });
    }
    host(text, ascii).map(|suffix| Target::Host { suffix })
}

fn range(address: &str, prefix: &str) -> Result<Target, String> {
    let parsed: Ipv4Addr = address.parse().map_err(|_| no_address(address))?;
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let bits = prefix.parse::<u8>().ok().filter(|bits| digits && *bits <= 32);
    let bits = bits.ok_or_else(|| format!("“/{prefix}” is not a number of bits from 0 to 32."))?;
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    let first = Ipv4Addr::from(u32::from(parsed) & mask);
    if first != parsed {
        return Err(format!("The range begins elsewhere: write {first}/{bits}."));
    }
    Ok(Target::Range { address: first.to_string(), prefix: bits })
}

fn host(text: &str, ascii: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(rest) = text.strip_prefix("*.") {
        return Err(format!("Write {rest}: it stands for that host and all names below it."));
    }
    let refused = || format!("“{text}” is not the name of a host.");
    let name = text.strip_suffix('.').unwrap_or(text).to_lowercase();
    // Checked before and after: what spells names could take an “@” or a number for more.
    let plain =
        |sign: char| !sign.is_ascii() || sign.is_ascii_alphanumeric() || "-_.".contains(sign);
    if !name.chars().all(plain) {
        return Err(refused());
    }
    let name = if name.is_ascii() { name } else { ascii(&name).ok_or_else(refused)? };
    let label = |label: &str| {
        (1..=LABEL_LIMIT).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() > HOST_LIMIT || !name.split('.').all(label) || ends_in_a_number(&name) {
        return Err(refused());
    }
    Ok(name)
}

/// Whether the last label is a number, as it is in no name (RFC 3696, 2).
fn ends_in_a_number(text: &str) -> bool {
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

fn no_address(text: &str) -> String {
    format!("“{text}” is not an IPv4 address.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Policy, Vec<Mistake>> {
        read(text, |name| match name {
            "bücher.example" => Some("xn--bcher-kva.example".into()),
            "１.example" => Some("example.1".into()),
            "ü@example" => Some("example".into()),
            _ => None,
        })
    }

    fn allow(target: Target, ports: Option<(u16, u16)>) -> Rule {
        Rule { verdict: Verdict::Allow, target, ports }
    }

    fn named(suffix: &str) -> Target {
        Target::Host { suffix: suffix.into() }
    }

    fn range(address: &str, prefix: u8) -> Target {
        Target::Range { address: address.into(), prefix }
    }

    #[test]
    fn no_text_is_no_limit() {
        assert_eq!(parse(""), Ok(Policy::default()));
        assert_eq!(parse("\n# nothing\r\n   \n"), Ok(Policy::default()));
        assert_eq!(Policy::default().default, Verdict::Allow);
    }

    #[test]
    fn every_form_is_read_and_written_the_same_again() {
        let text = "allow *:443\n\
                    allow Example.ORG.  # and all below it\n\
                    \n\
                    allow bücher.example:8000-8999\n\
                    allow 10.0.0.0/8:22\n\
                    allow 0.0.0.0/0\n\
                    \tallow\t192.0.2.1\n\
                    deny _dns.example\n\
                    default deny\n";
        let policy = parse(text).expect("all lines are right");
        let expected = vec![
            allow(Target::Any, Some((443, 443))),
            allow(named("example.org"), None),
            allow(named("xn--bcher-kva.example"), Some((8000, 8999))),
            allow(range("10.0.0.0", 8), Some((22, 22))),
            allow(range("0.0.0.0", 0), None),
            allow(range("192.0.2.1", 32), None),
            Rule { verdict: Verdict::Deny, target: named("_dns.example"), ports: None },
        ];
        assert_eq!(policy, Policy { rules: expected, default: Verdict::Deny });
        assert_eq!(parse(&write(&policy)), Ok(policy));
    }

    #[test]
    fn each_wrong_line_is_told_with_its_number() {
        let lines = [
            ("permit example.org", "neither"),
            ("allow", "whom it is about"),
            ("allow a b", "nothing after"),
            ("allow a:0", "1 to 65535"),
            ("allow a:+1", "1 to 65535"),
            ("allow a:90-80", "80-90"),
            ("allow a:", "1 to 65535"),
            ("allow :80", "name of a host"),
            ("allow *.example.org", "Write example.org"),
            ("allow ex*mple.org", "name of a host"),
            ("allow -/-", "IPv4"),
            ("allow 10.0.0.1/8", "10.0.0.0/8"),
            ("allow 10.0.0.0/33", "0 to 32"),
            ("allow 10.0.0.0/", "0 to 32"),
            ("allow 10.1", "IPv4"),
            ("allow 0177.0.0.1", "IPv4"),
            ("allow [::1]:80", "IPv6"),
            ("allow fe80::1", "IPv6"),
            ("allow a..b", "name of a host"),
            ("allow löschen.example", "name of a host"),
            ("allow １.example", "name of a host"),
            ("allow ü@example", "name of a host"),
            ("default maybe", "neither"),
        ];
        let text = lines.map(|(line, _)| line).join("\n");
        let mistakes = parse(&text).expect_err("every line is wrong");
        assert_eq!(mistakes.len(), lines.len(), "{mistakes:#?}");
        for (index, (mistake, (line, part))) in mistakes.iter().zip(lines).enumerate() {
            assert_eq!(mistake.line, index + 1);
            assert!(mistake.words.contains(part), "{line}: {}", mistake.words);
        }
    }

    #[test]
    fn nothing_comes_after_the_default() {
        let mistakes = parse("default deny\n# a word\nallow a\ndefault allow").expect_err("two");
        assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [3, 4]);
        assert!(mistakes[0].told().starts_with("Line 3: Line 1 says"));
    }

    #[test]
    fn rules_and_text_are_bounded() {
        let full = "allow a\n".repeat(MAX_RULES);
        assert_eq!(parse(&full).map(|policy| policy.rules.len()), Ok(MAX_RULES));
        let mistakes = parse(&format!("{full}allow b")).expect_err("one too many");
        assert_eq!(mistakes[0].line, MAX_RULES + 1);
        assert!(parse(&"#".repeat(TEXT_LIMIT + 1)).is_err());
        assert!(parse(&format!("allow {}", "a.".repeat(127) + "b")).is_err());
        assert!(parse(&format!("allow {}", "a".repeat(64))).is_err());
    }

    #[test]
    fn the_hosts_of_now_become_the_only_ones() {
        let policy = only(["example.org", "192.0.2.7", "example.org"].into_iter());
        assert_eq!(write(&policy), "allow example.org\nallow 192.0.2.7\ndefault deny\n");
        assert_eq!(parse(&write(&policy)), Ok(policy));
    }
}
