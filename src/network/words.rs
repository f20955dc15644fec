//! The network's condition in words. Pure, so that the words have tests.

use emulator_protocol::{Flow, FlowState, RelayState, Transport};

use super::state::State;

/// The word for a relay's state in attributes and in programs.
#[must_use]
pub(crate) fn relay_name(relay: &RelayState) -> &'static str {
    match relay {
        RelayState::Off => "off",
        RelayState::Connecting => "connecting",
        RelayState::Up { .. } => "up",
        RelayState::BackingOff { .. } => "backingOff",
        RelayState::Refused { .. } => "refused",
        RelayState::AuthenticationNeeded { .. } => "authenticationNeeded",
    }
}

/// The word for a flow's state in attributes, in programs and for people.
#[must_use]
pub(crate) fn flow_name(state: FlowState) -> &'static str {
    match state {
        FlowState::Opening => "opening",
        FlowState::Open => "open",
        FlowState::Closing => "closing",
        FlowState::Closed => "closed",
    }
}

/// The word for a transport.
#[must_use]
pub(crate) fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// What stands beside the light, after "Network".
#[must_use]
pub(crate) fn light(state: &State, now_ms: f64) -> String {
    match &state.report.relay {
        RelayState::Off => "off".into(),
        RelayState::Connecting => "connecting".into(),
        RelayState::Up { .. } => "up".into(),
        RelayState::BackingOff { .. } => match seconds(state, now_ms) {
            0 => "trying again".into(),
            seconds => format!("again in {seconds} s"),
        },
        RelayState::Refused { .. } => "refused".into(),
        RelayState::AuthenticationNeeded { .. } => "sign in".into(),
    }
}

/// What it means, as a sentence. Seconds are not in it: they would be read out again and
/// again. `simulated`: the machine is one without a network card.
#[must_use]
pub(crate) fn meaning(state: &State, simulated: bool) -> &'static str {
    match &state.report.relay {
        RelayState::Off if simulated => "The simulated shell has no network. Real Linux has one.",
        RelayState::Off if !state.card => "No machine is running that has a network.",
        RelayState::Off => {
            "There is no relay: the machine has a network card and a gateway, and no world \
             behind them."
        }
        RelayState::Connecting => "On the way to the relay.",
        RelayState::Up { udp: true, .. } => "The machine reaches the world through the relay.",
        RelayState::Up { udp: false, .. } => {
            "The machine reaches the world through the relay, which carries connections (TCP) \
             but no datagrams (UDP)."
        }
        RelayState::BackingOff { .. } => {
            "The relay cannot be reached. It is tried again by itself."
        }
        RelayState::Refused { .. } => {
            "The relay does not want this page. It is not asked again before you say so."
        }
        RelayState::AuthenticationNeeded { .. } => {
            "The relay wants to know who you are, or did not believe it."
        }
    }
}

/// The relay's own reason, or what failed; text of strangers.
#[must_use]
pub(crate) fn reason(relay: &RelayState) -> Option<&str> {
    match relay {
        RelayState::BackingOff { reason, .. }
        | RelayState::Refused { reason }
        | RelayState::AuthenticationNeeded { reason } => {
            Some(reason.as_str()).filter(|reason| !reason.is_empty())
        }
        _ => None,
    }
}

/// What is worth saying to somebody who does not look: the world was reached or lost, or a
/// person is needed.
#[must_use]
pub(crate) fn news(before: &RelayState, after: &RelayState) -> Option<&'static str> {
    if relay_name(before) == relay_name(after) {
        return None;
    }
    let was_up = matches!(before, RelayState::Up { .. });
    match after {
        RelayState::Up { .. } => Some("The network is up."),
        RelayState::Refused { .. } => Some("The relay refused this page."),
        RelayState::AuthenticationNeeded { .. } => {
            Some("The relay asks for a name and a password.")
        }
        _ if was_up => Some("The network is down."),
        _ => None,
    }
}

/// Seconds until the next try, rounded up: "in 0 s" would be now.
fn seconds(state: &State, now_ms: f64) -> u64 {
    (state.retry_ms(now_ms).unwrap_or_default() / 1000.0).ceil() as u64
}

/// How long something has lasted.
#[must_use]
pub(crate) fn age(passed_ms: f64) -> String {
    let seconds = (passed_ms.max(0.0) / 1000.0) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// State of a flow, with how it ended.
#[must_use]
pub(crate) fn flow(flow: &Flow) -> String {
    match &flow.why {
        Some(why) => format!("{}: {why}", flow_name(flow.state)),
        None => flow_name(flow.state).into(),
    }
}

/// Name of a recording's file; the time is year, month, day, hour, minute and second.
#[must_use]
pub(crate) fn file_name([year, month, day, hour, minute, second]: [u32; 6]) -> String {
    format!("network-{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}.pcap")
}

#[cfg(test)]
mod tests {
    use super::*;
    use emulator_protocol::NetworkReport;

    fn up() -> RelayState {
        RelayState::Up { version: 2, udp: true, greeting: None }
    }

    fn backing_off(retry_ms: u64) -> RelayState {
        RelayState::BackingOff { retry_ms, reason: "no route".into() }
    }

    fn state(relay: RelayState) -> State {
        let mut state = State::begin(true, None);
        state.hear(&NetworkReport { relay, ..NetworkReport::default() }, 0.0);
        state
    }

    #[test]
    fn the_light_counts_down() {
        let state = state(backing_off(2_500));
        let words = [0.0, 1_000.0, 2_499.0, 2_500.0, 9_000.0].map(|now| light(&state, now));
        let told = ["again in 3 s", "again in 2 s", "again in 1 s", "trying again", "trying again"];
        assert_eq!(words, told);
    }

    #[test]
    fn every_state_has_a_word_and_a_meaning_of_its_own() {
        let reason = || String::from("why");
        let states = [
            RelayState::Off,
            RelayState::Connecting,
            up(),
            backing_off(0),
            RelayState::Refused { reason: reason() },
            RelayState::AuthenticationNeeded { reason: reason() },
        ];
        let mut words: Vec<_> =
            states.iter().map(|relay| light(&state(relay.clone()), 0.0)).collect();
        let mut meanings: Vec<_> =
            states.iter().map(|relay| meaning(&state(relay.clone()), false)).collect();
        for list in [words.len(), meanings.len()] {
            assert_eq!(list, states.len());
        }
        words.sort();
        words.dedup();
        meanings.sort();
        meanings.dedup();
        assert_eq!((words.len(), meanings.len()), (states.len(), states.len()));
        assert_eq!(states.iter().filter(|relay| super::reason(relay).is_some()).count(), 3);
    }

    #[test]
    fn no_relay_is_told_apart_from_no_network() {
        assert!(meaning(&State::begin(true, None), false).contains("no relay"));
        assert!(meaning(&State::begin(false, None), true).contains("simulated"));
        assert!(meaning(&State::default(), false).contains("No machine"));
    }

    #[test]
    fn only_what_matters_is_news() {
        assert_eq!(news(&RelayState::Off, &RelayState::Connecting), None);
        assert_eq!(news(&RelayState::Connecting, &backing_off(1)), None);
        assert_eq!(news(&backing_off(1), &backing_off(2)), None);
        assert_eq!(news(&backing_off(1), &up()), Some("The network is up."));
        assert_eq!(news(&up(), &backing_off(1)), Some("The network is down."));
        assert_eq!(news(&up(), &RelayState::Off), Some("The network is down."));
        let refused = RelayState::Refused { reason: String::new() };
        assert_eq!(news(&up(), &refused), Some("The relay refused this page."));
        assert_eq!(reason(&refused), None, "an empty reason is none");
    }

    #[test]
    fn times_and_names_are_short() {
        assert_eq!(
            [-1.0, 59_999.0, 60_000.0, 3.6e6, 9e7].map(age),
            ["0 s", "59 s", "1 min", "1 h", "1 d"]
        );
        assert_eq!(file_name([2026, 11, 5, 7, 3, 9]), "network-2026-11-05-070309.pcap");
    }
}
