//! What is decided about the guest's network: the page's address first, then what a person
//! has kept. Name and password live in memory alone, and go to the relay that they were
//! given for and to no other.

use emulator_protocol::{Credentials, NetworkSettings, Policy, Verdict};
use leptos::prelude::*;

use super::policy::{self, Mistake};
use super::relay::{Relay, Wanted, Wrong};
use crate::settings::Settings;

/// The rules in force: as somebody has written them, and as they were understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    text: String,
    policy: Policy,
}

/// The decisions. Copy: a handful of handles.
#[derive(Clone, Copy)]
pub(crate) struct Intent {
    settings: Settings,
    /// What holds until the page is loaded anew, whatever is kept.
    visit: RwSignal<Option<Wanted>>,
    credentials: RwSignal<Option<(Relay, Credentials)>>,
    rules: RwSignal<Rules>,
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
            // Somebody wanted a limit: none at all would be the worst way to read it.
            Rules {
                text: kept.policy,
                policy: Policy { default: Verdict::Deny, ..Policy::default() },
            }
        });
        Self {
            settings,
            visit: RwSignal::new(settings.address().net),
            credentials: RwSignal::new(None),
            rules: RwSignal::new(rules),
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
        match self.visit.get() {
            Some(Wanted::Off) => None,
            Some(Wanted::Relay(relay)) => Some(relay),
            None => self.kept(),
        }
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
        self.visit.with(Option::is_some)
    }

    /// Whether the relay that is used is told a name or a password, tracked.
    #[must_use]
    pub(crate) fn has_credentials(self) -> bool {
        let relay = self.relay();
        self.credentials
            .with(|kept| kept.as_ref().is_some_and(|(whose, _)| Some(whose) == relay.as_ref()))
    }

    /// All of it, for the machine.
    #[must_use]
    pub(crate) fn settings(self) -> NetworkSettings {
        let relay = untrack(|| self.relay());
        let credentials = self.credentials.get_untracked();
        let credentials =
            credentials.filter(|(whose, _)| Some(whose) == relay.as_ref()).map(|(_, told)| told);
        NetworkSettings {
            relay: relay.map(|relay| relay.as_str().to_string()),
            credentials,
            policy: self.rules.with_untracked(|rules| rules.policy.clone()),
        }
    }

    /// Decides for this visit. Credentials stay if none are given and the relay is the same.
    pub(crate) fn visit(self, wanted: Wanted, credentials: Option<Credentials>) {
        self.trust(&wanted, credentials);
        self.visit.set(Some(wanted));
    }

    /// Decides for now and for later visits.
    pub(crate) fn keep(self, relay: Relay, credentials: Option<Credentials>) {
        let text = relay.as_str().to_string();
        self.trust(&Wanted::Relay(relay), credentials);
        self.settings.update(|kept| kept.relay = text);
        self.visit.set(None);
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
        self.credentials.set(None);
    }

    /// The rules in force as text, tracked.
    #[must_use]
    pub(crate) fn policy(self) -> String {
        self.rules.with(|rules| rules.text.clone())
    }

    /// The rules in force as text, for callers that are no views.
    #[must_use]
    pub(crate) fn policy_now(self) -> String {
        untrack(|| self.policy())
    }

    /// Puts rules in force; `keep`: for later visits, too.
    ///
    /// # Errors
    /// What is wrong with the text; then the rules from before hold.
    pub(crate) fn set_policy(self, text: &str, keep: bool) -> Result<(), Vec<Mistake>> {
        let rules = Rules::read(text)?;
        self.rules.set(rules);
        if keep {
            self.settings.update(|kept| kept.policy = text.to_string());
        }
        Ok(())
    }

    fn trust(self, wanted: &Wanted, credentials: Option<Credentials>) {
        if let (Wanted::Relay(relay), Some(credentials)) = (wanted, credentials) {
            self.credentials.set(Some((relay.clone(), credentials)));
        }
    }
}

impl Rules {
    fn read(text: &str) -> Result<Self, Vec<Mistake>> {
        let policy = policy::read(text, ascii)?;
        Ok(Self { text: text.to_string(), policy })
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
