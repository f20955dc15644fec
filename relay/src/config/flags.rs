//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::{Error, Settings};

/// What `--help` prints.
pub const HELP: &str = "\
relay: WISP over WebSocket to TCP and UDP, default deny

  relay [flags]
    --listen ADDR:PORT      where to listen (127.0.0.1:6001; port 0: any)
    --config FILE           TOML, the names of these flags; flags come on top
    --allow-origin ORIGIN   pages that may come, exactly; `none`: no Origin header
                            (without: pages of this machine, and no Origin)
    --allow-host NAME       names that may be dialled, with all below them
                            (without: all public ones; with: no addresses)
    --allow-cidr RANGE      addresses that may be dialled although not public
    --deny-cidr RANGE       addresses that may not although public
    --allow-port PORT       beside 80, 443, 22, 9418
    --any-port              all but 25, 465, 587
    --no-udp                TCP only
    --token-key-file FILE   who comes needs a token signed with this key
    --metrics ADDR:PORT     /metrics, /healthz, /readyz; loopback only
    --audit-log FILE        JSON lines; `-`: standard output
    --audit-redact          names and addresses as keyed hashes
    --nameserver IP[:PORT]  instead of those of /etc/resolv.conf
    --tls-cert FILE --tls-key FILE   PEM
    --trusted-proxy RANGE   whose Forwarded or X-Forwarded-For is believed
    --motd TEXT             message of the day

  relay token --key-file FILE --client NAME --expires 1h [--host NAME]… [--port PORT]…
              [--rate CONNECTS_A_SECOND]
    prints a token
";

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Relay.
    Serve(Box<Settings>),
    /// Make a token.
    Token(TokenOrder),
    /// Say how.
    Help,
}

/// What is to be in a token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "see token::Claims")]
pub struct TokenOrder {
    pub key_file: PathBuf,
    pub client: String,
    pub life: Duration,
    pub hosts: Vec<String>,
    pub ports: Vec<u16>,
    pub rate: Option<u32>,
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads arguments, and the file that they name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.first().is_some_and(|first| first == "token") {
        return token(lexopt::Parser::from_args(arguments.into_iter().skip(1)));
    }
    serve(&arguments)
}

fn serve(arguments: &[OsString]) -> Result<Command, Error> {
    // The file first, wherever it is named: what is said beside it comes on top.
    let mut settings = Settings::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => settings = Settings::read(&PathBuf::from(parser.value()?))?,
            Long("help") | Short('h') => return Ok(Command::Help),
            // Values are passed over; what is wrong is found below.
            _ => _ = parser.optional_value(),
        }
    }
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        let Long(name) = argument else { return Err(argument.unexpected().into()) };
        let name = name.to_owned();
        set(&mut settings, &name, &mut parser)?;
    }
    Ok(Command::Serve(Box::new(settings)))
}

fn set(settings: &mut Settings, name: &str, parser: &mut lexopt::Parser) -> Result<(), Error> {
    match name {
        "any-port" => settings.any_port = true,
        "no-udp" => settings.no_udp = true,
        "audit-redact" => settings.audit_redact = true,
        "config" => _ = parser.value()?,
        "allow-port" => settings.allow_port.push(parser.value()?.parse()?),
        "token-key-file" => settings.token_key_file = Some(parser.value()?.into()),
        "audit-log" => settings.audit_log = Some(parser.value()?.into()),
        "tls-cert" => settings.tls_cert = Some(parser.value()?.into()),
        "tls-key" => settings.tls_key = Some(parser.value()?.into()),
        "listen" => settings.listen = Some(parser.value()?.string()?),
        "metrics" => settings.metrics = Some(parser.value()?.string()?),
        "motd" => settings.motd = Some(parser.value()?.string()?),
        "allow-origin" => settings.allow_origin.push(parser.value()?.string()?),
        "allow-host" => settings.allow_host.push(parser.value()?.string()?),
        "allow-cidr" => settings.allow_cidr.push(parser.value()?.string()?),
        "deny-cidr" => settings.deny_cidr.push(parser.value()?.string()?),
        "nameserver" => settings.nameserver.push(parser.value()?.string()?),
        "trusted-proxy" => settings.trusted_proxy.push(parser.value()?.string()?),
        _ => return Err(Error(format!("--{name} is unknown; --help says what there is"))),
    }
    Ok(())
}

fn token(mut parser: lexopt::Parser) -> Result<Command, Error> {
    let mut order = TokenOrder::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("key-file") => order.key_file = parser.value()?.into(),
            Long("client") => order.client = parser.value()?.string()?,
            Long("expires") => order.life = life(&parser.value()?.string()?)?,
            Long("host") => order.hosts.push(parser.value()?.string()?),
            Long("port") => order.ports.push(parser.value()?.parse()?),
            Long("rate") => order.rate = Some(parser.value()?.parse()?),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if order.key_file.as_os_str().is_empty() || order.client.is_empty() || order.life.is_zero() {
        return Err(Error("--key-file, --client and --expires are needed".into()));
    }
    Ok(Command::Token(order))
}

/// `90s`, `15m`, `1h`; at most a day.
fn life(text: &str) -> Result<Duration, Error> {
    let wrong = || Error(format!("--expires: {text}: not a time as in 90s, 15m, 1h, at most 24h"));
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u32>().ok().map(|number| u64::from(number) * unit);
    seconds
        .map(Duration::from_secs)
        .filter(|life| *life <= crate::token::LIFE_MAX)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn settings(line: &str) -> Settings {
        match parsed(line) {
            Ok(Command::Serve(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flag_is_taken() {
        let said = settings(
            "--listen 127.0.0.1:0 --allow-origin http://a --allow-origin http://b --allow-host c \
             --allow-cidr 127.0.0.0/8 --deny-cidr 8.8.8.8 --allow-port 81 --any-port --no-udp \
             --token-key-file k --metrics 127.0.0.1:0 --audit-log - --audit-redact --nameserver 127.0.0.1 \
             --tls-cert c --tls-key k --trusted-proxy ::1 --motd hello",
        );
        assert_eq!(said.allow_origin, ["http://a", "http://b"]);
        assert_eq!(said.allow_port, [81]);
        assert!(said.any_port && said.no_udp && said.audit_redact);
        assert_eq!(said.audit_log, Some("-".into()));
        assert_eq!(said.motd.as_deref(), Some("hello"));
    }

    #[test]
    fn help_names_every_setting() {
        // serde tells the names when it is given a wrong one.
        let told = toml::from_str::<Settings>("wrong = 1").unwrap_err().to_string();
        let (_, names) = told.split_once("expected one of ").unwrap();
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        assert!(names.len() > 15, "{told}");
        for name in names.iter().filter(|name| !["limits", "timeouts"].contains(name)) {
            assert!(HELP.contains(&format!("--{name} ")), "{name}");
            assert!(include_str!("../../relay.toml").contains(&format!("{name} = ")), "{name}");
        }
    }

    #[test]
    fn unknown_flags_and_missing_values_are_errors() {
        for line in [
            "--lisen 1",
            "--listen",
            "--allow-port x",
            "stray",
            "-x",
            "token",
            "token --key-file k",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_token_is_ordered() {
        let line =
            "token --key-file k --client tab --expires 15m --host a.example --port 80 --rate 3";
        let Ok(Command::Token(order)) = parsed(line) else { panic!() };
        assert_eq!((order.life, order.rate), (Duration::from_secs(900), Some(3)));
        assert_eq!((order.hosts, order.ports), (vec!["a.example".to_owned()], vec![80]));
        for wrong in ["", "1", "h", "25h", "-1h", "1d", "ü"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }
}
