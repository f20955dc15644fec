//! The guest's network: what the page decides, and what it is told.
//!
//! Addresses are text in the usual spelling, so that a rule, a flow and a log line read the
//! same everywhere.

use serde::{Deserialize, Serialize};

/// Rules that a [`Policy`] holds at most.
pub const MAX_RULES: usize = 256;

/// Flows in a [`NetworkReport`] at most, the newest first.
pub const MAX_FLOWS: usize = 200;

/// Destinations in [`NetworkReport::blocked`] at most, the newest first.
pub const MAX_BLOCKED: usize = 100;

/// What the page decides about a machine's network; may change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// The relay's WebSocket address, `ws://…` or `wss://…`; without one the guest has a
    /// gateway and no world behind it.
    pub relay: Option<String>,
    /// What the relay is told if it asks who we are.
    pub credentials: Option<Credentials>,
    /// Whom the guest may talk to, before the relay's own policy.
    pub policy: Policy,
}

/// A name and a password, or a token in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Name; may be empty with a token.
    pub user: String,
    /// Password or token.
    pub password: String,
}

/// Whether something may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// Whom the guest may talk to. The first rule that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The rules in their order, at most [`MAX_RULES`].
    pub rules: Vec<Rule>,
    /// What holds where no rule fits.
    pub default: Verdict,
}

/// One line of a [`Policy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it says.
    pub verdict: Verdict,
    /// Whom it is about.
    pub target: Target,
    /// First and last port; `None` for all.
    pub ports: Option<(u16, u16)>,
}

/// Whom a [`Rule`] is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Target {
    /// Everybody.
    Any,
    /// This host and all names below it; lower case, without a final dot.
    Host {
        /// `example.org`
        suffix: String,
    },
    /// Destinations that the guest names by address and not by name.
    Range {
        /// IPv4 address.
        address: String,
        /// Leading bits that count, 0 to 32.
        prefix: u8,
    },
}

/// How the machine stands with its relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum RelayState {
    /// None is wanted.
    #[default]
    Off,
    /// On the way.
    Connecting,
    /// The guest reaches the world.
    #[serde(rename_all = "camelCase")]
    Up {
        /// Version of WISP, 1 or 2.
        version: u8,
        /// Whether it carries UDP.
        udp: bool,
        /// What it has to say, one line, already free of control characters.
        greeting: Option<String>,
    },
    /// It cannot be had, and will be tried again.
    #[serde(rename_all = "camelCase")]
    BackingOff {
        /// Until the next attempt, in milliseconds.
        retry_ms: u64,
        /// Why, in words.
        reason: String,
    },
    /// It does not want us, and is not asked again before a person says so.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// It wants to know who we are, or did not believe it.
    AuthenticationNeeded {
        /// Why, in words.
        reason: String,
    },
}

/// What kind of traffic a [`Flow`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Where a [`Flow`] is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowState {
    /// The relay was asked and has not answered.
    Opening,
    /// Bytes may go both ways.
    Open,
    /// One side has said its last word.
    Closing,
    /// Over; [`Flow::why`] says how.
    Closed,
}

/// One connection of the guest, or one pair of ports that exchange datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Never used twice by a machine.
    pub id: u32,
    /// TCP or UDP.
    pub transport: Transport,
    /// Name that the guest asked for, or the address if it asked for none.
    pub host: String,
    /// Destination port.
    pub port: u16,
    /// Where it is.
    pub state: FlowState,
    /// Payload bytes from the guest.
    pub sent: u64,
    /// Payload bytes to the guest.
    pub received: u64,
    /// How long it has been there, in milliseconds.
    pub age_ms: u64,
    /// Why it was closed, in words.
    pub why: Option<String>,
}

/// A destination that was not reached because a policy says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Name or address.
    pub host: String,
    /// Destination port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// Whose policy, and which rule, in words.
    pub why: String,
    /// How often.
    pub count: u32,
}

/// The state of a machine's network; told when it has changed, at most twice a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// How it stands with the relay.
    pub relay: RelayState,
    /// The relay's address.
    pub address: Option<String>,
    /// The guest's own address, once it has asked for one.
    pub lease: Option<String>,
    /// The newest flows, at most [`MAX_FLOWS`].
    pub flows: Vec<Flow>,
    /// What was not let through, at most [`MAX_BLOCKED`].
    pub blocked: Vec<Blocked>,
    /// Payload bytes from the guest, over all flows ever.
    pub sent: u64,
    /// Payload bytes to the guest, over all flows ever.
    pub received: u64,
    /// Bytes of frames that are recorded; `None` if nothing is.
    pub captured: Option<u64>,
}
