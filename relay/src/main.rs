//! The relay as a program: arguments, signals, one line that says where it listens.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;
use std::time::SystemTime;

use relay::config::{Command, HELP, Settings, TokenOrder, parse};
use relay::policy::port::Ports;
use relay::token::{Claims, Key};
use relay::{Config, Relay, shutdown};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let done = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(())
        }
        Ok(Command::Token(order)) => token(&order),
        Ok(Command::Serve(settings)) => serve(*settings),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn token(order: &TokenOrder) -> Result<(), Box<dyn Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let claims = Claims {
        client: order.client.clone(),
        expires: (now + order.life).as_secs(),
        hosts: order.hosts.clone(),
        ports: order.ports.clone(),
        rate: order.rate,
    };
    let key = Key::read(&order.key_file)?;
    let token = key.sign(&claims);
    // What the relay would not take is not handed out.
    key.verify(&token, now.as_secs()).map_err(|error| format!("no such token: {error:?}"))?;
    println!("{token}");
    Ok(())
}

#[tokio::main]
async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    let config = settings.check()?;
    announce(&config);
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let relay = Relay::bind(config).await?;
    if let Some(address) = relay.metrics_address() {
        eprintln!("relay: metrics at http://{address}/metrics");
    }
    println!("listening on {scheme}://{}/", relay.address()?);
    let (trigger, waiting) = shutdown::channel();
    let running = relay.run(waiting);
    tokio::pin!(running);
    let mut signals = 0;
    loop {
        tokio::select! {
            () = &mut running => return Ok(()),
            _ = terminate.recv() => signals += 1,
            _ = interrupt.recv() => signals += 1,
        }
        if signals > 1 {
            return Err("ended by a second signal, with streams open".into());
        }
        eprintln!("relay: draining; a second signal ends at once");
        trigger.drain();
    }
}

/// What was opened beyond the defaults must be seen by whoever reads the log.
fn announce(config: &Config) {
    for range in &config.policy.exceptions {
        eprintln!("relay: exception: {range} may be dialled");
    }
    if config.policy.ports == Ports::Any {
        eprintln!("relay: exception: any port but mail may be dialled");
    }
    if config.policy.hosts.is_empty() {
        eprintln!("relay: every public name may be dialled");
    }
    if config.key.is_none() && !config.listen.ip().is_loopback() {
        eprintln!("relay: warning: without --token-key-file anybody may use this relay");
    }
}
