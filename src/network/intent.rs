//! What is decided about the guest's network: the page's address first, then what a person
//! has kept. Name and password live in memory alone, and go to the relay that they were
//! given for and to no other.

use emulator_protocol::{Credentials, NetworkSettings, Policy, Verdict};
use leptos::prelude::*;

use super::policy::{self, Mistake};
use super::relay::{Relay, Wanted, Wrong};
use crate::settings::Settings;

/// What somebody has written, and as what it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    text: String,
    policy: Policy,
}

/// All that is decided and not kept. No signals and no browser, so that it has tests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    /// What holds until the page is loaded anew, whatever is kept.
    visit: Option<Wanted>,
    /// What one relay is told.
    credentials: Option<(Relay, Credentials)>,
    rules: Rules,
}

impl Decision {
    fn relay(&self, kept: Option<Relay>) -> Option<Relay> {
        match &self.visit {
            Some(Wanted::Off) => None,
            Some(Wanted::Relay(relay)) => Some(relay.clone()),
            None => kept,
        }
    }

    fn credentials(&self, relay: Option<&Relay>) -> Option<&Credentials> {
        let (whose, credentials) = self.credentials.as_ref()?;
        (relay == Some(whose)).then_some(credentials)
    }

    fn settings(&self, kept: Option<Relay>) -> NetworkSettings {
        let relay = self.relay(kept);
        NetworkSettings {
            credentials: self.credentials(relay.as_ref()).cloned(),
            relay: relay.map(|relay| relay.as_str().to_string()),
            policy: self.rules.policy.clone(),
        }
    }

    /// Takes credentials for a relay; those from before stay if there are no others.
    fn trust(&mut self, relay: &Relay, credentials: Option<Credentials>) {
        if let Some(credentials) = credentials {
            self.credentials = Some((relay.clone(), credentials));
        }
    }
}

/// The decisions. Copy: a handful of handles.
#[derive(Clone, Copy)]
pub(crate) struct Intent {
    settings: Settings,
    decision: RwSignal<Decision>,
    complaints: StoredValue<Vec<String>>,
}

impl Intent {
    /// What the page's address says and the settings keep.
    #[must_use]
    pub(crate) fn new(settings: Settings) -> Self {
        let kept = settings.preferences().get_untracked();
        let mut complaints = Vec::new();
        if !kept.relay.is_empty()
            && let Err(wrong) = Relay::parse(&kept.relay, is_secure())
        {
            complaints.push(format!("The relay of the settings is not used. {}", wrong.words()));
        }
        let rules = Rules::read(&kept.policy).unwrap_or_else(|mistakes| {
            let first = mistakes.first().map(Mistake::told).unwrap_or_default();
            complaints.push(format!(
                "The network's rules that are kept cannot be read, so nothing passes until they \
                 are put right. {first}"
            ));
            Rules::unreadable(kept.policy)
        });
        let visit = settings.address().net;
        Self {
            settings,
            decision: RwSignal::new(Decision { visit, credentials: None, rules }),
            complaints: StoredValue::new(complaints),
        }
    }

    /// What of the settings could not be used, in words.
    #[must_use]
    pub(crate) fn complaints(self) -> Vec<String> {
        self.complaints.get_value()
    }

    /// The relay that the machine is to use, tracked.
    #[must_use]
    pub(crate) fn relay(self) -> Option<Relay> {
        let kept = self.kept();
        self.decision.with(|decision| decision.relay(kept))
    }

    /// The relay of the settings, whether it is used or not, tracked.
    #[must_use]
    pub(crate) fn kept(self) -> Option<Relay> {
        let text = self.settings.preferences().with(|kept| kept.relay.clone());
        Relay::parse(&text, is_secure()).ok()
    }

    /// Whether something else than the settings decides which relay is used, tracked.
    #[must_use]
    pub(crate) fn is_for_this_visit(self) -> bool {
        self.decision.with(|decision| decision.visit.is_some())
    }

    /// Whether the relay that is used is told a name or a password, tracked.
    #[must_use]
    pub(crate) fn has_credentials(self) -> bool {
        let relay = self.relay();
        self.decision.with(|decision| decision.credentials(relay.as_ref()).is_some())
    }

    /// All of it, for the machine.
    #[must_use]
    pub(crate) fn settings(self) -> NetworkSettings {
        let kept = untrack(|| self.kept());
        self.decision.with_untracked(|decision| decision.settings(kept))
    }

    /// Decides for this visit. Credentials stay if none are given and the relay is the same.
    pub(crate) fn visit(self, wanted: Wanted, credentials: Option<Credentials>) {
        self.decision.update(|decision| {
            if let Wanted::Relay(relay) = &wanted {
                decision.trust(relay, credentials);
            }
            decision.visit = Some(wanted);
        });
    }

    /// Decides for now and for later visits.
    pub(crate) fn keep(self, relay: &Relay, credentials: Option<Credentials>) {
        self.settings.update(|kept| kept.relay = relay.as_str().to_string());
        self.decision.update(|decision| {
            decision.trust(relay, credentials);
            decision.visit = None;
        });
    }

    /// Changes what is kept, without a word about this visit.
    ///
    /// # Errors
    /// If the text is neither empty nor an address.
    pub(crate) fn keep_text(self, text: &str) -> Result<(), Wrong> {
        let relay = match text.trim() {
            "" => String::new(),
            text => Relay::parse(text, is_secure())?.as_str().to_string(),
        };
        self.settings.update(|kept| kept.relay = relay);
        Ok(())
    }

    /// Forgets name and password.
    pub(crate) fn forget_credentials(self) {
        self.decision.update(|decision| decision.credentials = None);
    }

    /// The rules in force as text, tracked.
    #[must_use]
    pub(crate) fn policy(self) -> String {
        self.decision.with(|decision| decision.rules.text.clone())
    }

    /// Puts rules in force; `keep`: for later visits, too.
    ///
    /// # Errors
    /// What is wrong with the text; then the rules from before hold.
    pub(crate) fn set_policy(self, text: &str, keep: bool) -> Result<(), Vec<Mistake>> {
        let rules = Rules::read(text)?;
        self.decision.update(|decision| decision.rules = rules);
        if keep {
            self.settings.update(|kept| kept.policy = text.to_string());
        }
        Ok(())
    }
}

impl Rules {
    fn read(text: &str) -> Result<Self, Vec<Mistake>> {
        let policy = policy::read(text, ascii)?;
        Ok(Self { text: text.to_string(), policy })
    }

    /// Somebody wanted a limit: none at all would be the worst way to read it.
    fn unreadable(text: String) -> Self {
        Self { text, policy: Policy { default: Verdict::Deny, ..Policy::default() } }
    }
}

/// Whether the page came over https.
#[must_use]
pub(crate) fn is_secure() -> bool {
    window().location().protocol().is_ok_and(|protocol| protocol == "https:")
}

/// The spelling of a name in the DNS, which every browser knows to find.
fn ascii(name: &str) -> Option<String> {
    let url = web_sys::Url::new(&format!("http://{name}/")).ok()?;
    Some(url.hostname()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(text: &str) -> Relay {
        Relay::parse(text, false).expect("an address")
    }

    fn secret() -> Credentials {
        Credentials { user: "me".into(), password: "secret".into() }
    }

    fn decision(visit: Option<Wanted>) -> Decision {
        let rules = Rules { text: String::new(), policy: Policy::default() };
        Decision { visit, credentials: None, rules }
    }

    #[test]
    fn this_visit_wins_over_what_is_kept() {
        let kept = || Some(relay("ws://kept/"));
        assert_eq!(decision(None).relay(kept()), kept());
        assert_eq!(decision(None).relay(None), None);
        assert_eq!(decision(Some(Wanted::Off)).relay(kept()), None);
        let other = decision(Some(Wanted::Relay(relay("ws://other/"))));
        assert_eq!(other.settings(kept()).relay.as_deref(), Some("ws://other/"));
    }

    #[test]
    fn only_the_relay_that_they_were_given_for_is_told_name_and_password() {
        let (one, two) = (relay("ws://one/"), relay("ws://two/"));
        let mut decision = decision(None);
        decision.trust(&one, Some(secret()));
        assert_eq!(decision.settings(Some(one.clone())).credentials, Some(secret()));
        assert_eq!(decision.settings(Some(two.clone())).credentials, None);
        assert_eq!(decision.settings(None).credentials, None);
        decision.trust(&one, None);
        assert_eq!(decision.credentials(Some(&one)), Some(&secret()), "they stay");
        decision.trust(&two, Some(secret()));
        assert_eq!(decision.credentials(Some(&one)), None);
    }

    #[test]
    fn rules_that_cannot_be_read_let_nothing_pass() {
        let rules = Rules::unreadable("allow ???".into());
        assert_eq!(rules.policy, Policy { rules: Vec::new(), default: Verdict::Deny });
        assert_eq!(rules.text, "allow ???");
    }
}
