//! What the page knows about its machine's network: a plain struct, moved by the worker's
//! reports and by the machine's life. No signals, no browser, no clock.

use std::cmp::Reverse;

use emulator_protocol::{Flow, FlowState, NetworkReport, RelayState};

/// Why a connection is over that its machine has not outlived.
const ENDED: &str = "The machine ended.";

/// Whether the guest's frames are being recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recording {
    /// They are not.
    #[default]
    Off,
    /// They are.
    On,
    /// They were, and the file is on its way.
    Stopping,
}

/// The network of one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The last report, with the flows in the order in which they are shown.
    pub(crate) report: NetworkReport,
    /// Whether a machine is there that has a network card.
    pub(crate) card: bool,
    /// Whether frames are recorded.
    pub(crate) recording: Recording,
    /// When the report came, in milliseconds of the clock that [`State::retry_ms`] is asked by.
    heard_ms: f64,
}

impl State {
    /// A machine that was just asked for; `card`: whether it can have a network.
    #[must_use]
    pub(crate) fn begin(card: bool, relay: Option<&str>) -> Self {
        let state = match relay.filter(|_| card) {
            Some(_) => RelayState::Connecting,
            None => RelayState::Off,
        };
        let address = relay.map(str::to_string);
        let report = NetworkReport { relay: state, address, ..NetworkReport::default() };
        Self { report, card, ..Self::default() }
    }

    /// Takes in what the worker said.
    pub(crate) fn hear(&mut self, report: &NetworkReport, now_ms: f64) {
        self.report = report.clone();
        self.report.flows.sort_by_key(|flow| Reverse(flow.id));
        self.heard_ms = now_ms;
        self.card = true;
    }

    /// The machine has ended. What it did stays to be read.
    pub(crate) fn end(&mut self) {
        self.card = false;
        self.recording = Recording::Off;
        self.report.relay = RelayState::Off;
        self.report.lease = None;
        self.report.captured = None;
        for flow in &mut self.report.flows {
            if flow.state != FlowState::Closed {
                flow.state = FlowState::Closed;
                flow.why = Some(ENDED.into());
            }
        }
    }

    /// Time until the relay is tried again.
    #[must_use]
    pub(crate) fn retry_ms(&self, now_ms: f64) -> Option<f64> {
        let RelayState::BackingOff { retry_ms, .. } = &self.report.relay else { return None };
        Some((*retry_ms as f64 - self.passed_ms(now_ms)).max(0.0))
    }

    /// How long a flow has been there. The worker reports changes, and growing old is none.
    #[must_use]
    pub(crate) fn age_ms(&self, flow: &Flow, now_ms: f64) -> f64 {
        let since = if flow.state == FlowState::Closed { 0.0 } else { self.passed_ms(now_ms) };
        flow.age_ms as f64 + since
    }

    fn passed_ms(&self, now_ms: f64) -> f64 {
        (now_ms - self.heard_ms).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emulator_protocol::Transport;

    fn flow(id: u32, state: FlowState) -> Flow {
        Flow {
            id,
            transport: Transport::Tcp,
            host: "example.org".into(),
            port: 443,
            state,
            sent: 1,
            received: 2,
            age_ms: 1_000,
            why: None,
        }
    }

    fn report(flows: Vec<Flow>) -> NetworkReport {
        let relay = RelayState::Up { version: 2, udp: true, greeting: None };
        NetworkReport { relay, flows, lease: Some("10.0.2.15".into()), ..NetworkReport::default() }
    }

    #[test]
    fn a_machine_that_wants_a_relay_is_on_the_way_from_the_start() {
        let wanted = State::begin(true, Some("ws://a/"));
        assert_eq!(wanted.report.relay, RelayState::Connecting);
        assert_eq!(wanted.report.address.as_deref(), Some("ws://a/"));
        assert_eq!(State::begin(true, None).report.relay, RelayState::Off);
        let simulated = State::begin(false, Some("ws://a/"));
        assert_eq!((simulated.report.relay, simulated.card), (RelayState::Off, false));
    }

    #[test]
    fn the_newest_flow_is_the_first() {
        let mut state = State::begin(true, None);
        state.hear(&report([2, 9, 4].map(|id| flow(id, FlowState::Open)).to_vec()), 0.0);
        let ids: Vec<_> = state.report.flows.iter().map(|flow| flow.id).collect();
        assert_eq!(ids, [9, 4, 2]);
    }

    #[test]
    fn what_a_machine_did_can_be_read_after_its_end() {
        let mut state = State::begin(true, Some("ws://a/"));
        let closed = Flow { why: Some("refused".into()), ..flow(1, FlowState::Closed) };
        state.hear(&report(vec![closed.clone(), flow(2, FlowState::Open)]), 0.0);
        state.recording = Recording::On;
        state.end();
        assert_eq!((state.card, state.recording), (false, Recording::Off));
        assert_eq!((&state.report.relay, &state.report.lease), (&RelayState::Off, &None));
        let [open, before] = &state.report.flows[..] else { panic!("both flows are there") };
        assert_eq!((open.state, open.why.as_deref()), (FlowState::Closed, Some(ENDED)));
        assert_eq!(*before, closed);
    }

    #[test]
    fn times_go_on_between_two_reports() {
        let mut state = State::begin(true, None);
        let mut told = report(vec![flow(2, FlowState::Open), flow(1, FlowState::Closed)]);
        told.relay = RelayState::BackingOff { retry_ms: 4_000, reason: "no route".into() };
        state.hear(&told, 10_000.0);
        assert_eq!(state.retry_ms(11_500.0), Some(2_500.0));
        assert_eq!(state.retry_ms(99_000.0), Some(0.0));
        let [open, closed] = &state.report.flows[..] else { panic!("both flows are there") };
        assert_eq!(state.age_ms(open, 12_000.0), 3_000.0);
        assert_eq!(state.age_ms(open, 9_000.0), 1_000.0, "a clock that was set back");
        assert_eq!(state.age_ms(closed, 12_000.0), 1_000.0);
    }
}
