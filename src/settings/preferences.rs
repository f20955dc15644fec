//! What a person has chosen, and how it is kept.

use emulator_protocol::EngineKind;
use serde::{Deserialize, Serialize};

use crate::engines::DEFAULT_MEMORY_MIB;

/// Font sizes that can be chosen, in CSS pixels: below is not legible, above does not
/// leave 80 columns on a laptop.
pub(crate) const FONT_SIZES: std::ops::RangeInclusive<u32> = 9..=28;

/// Font size of a new visitor, in CSS pixels.
const DEFAULT_FONT_SIZE: u32 = 14;

/// The page's colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Theme {
    /// As the operating system has it.
    #[default]
    System,
    /// Light on dark.
    Dark,
    /// Dark on light.
    Light,
}

impl Theme {
    /// All, in the order in which they are offered.
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Dark, Self::Light];

    /// The word in attributes.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// The word for people.
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Dark => "Dark",
            Self::Light => "Light",
        }
    }
}

/// The choices. A field that an older version did not have takes its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Preferences {
    /// The engine chosen last; none before the first choice.
    pub(crate) engine: Option<EngineKind>,
    /// Guest memory in MiB.
    pub(crate) memory_mib: u32,
    /// Font size of the terminal in CSS pixels.
    pub(crate) font_size: u32,
    /// Colours.
    pub(crate) theme: Theme,
    /// Whether the terminal keeps a text copy of its screen for screen readers.
    pub(crate) screen_reader: bool,
    /// Whether machines are saved without being asked.
    pub(crate) autosave: bool,
    /// Address of the network relay; empty for none.
    pub(crate) relay: String,
    /// Whom the guest may talk to, as text (`crate::network::policy`).
    pub(crate) policy: String,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            engine: None,
            memory_mib: DEFAULT_MEMORY_MIB,
            font_size: DEFAULT_FONT_SIZE,
            theme: Theme::System,
            screen_reader: false,
            autosave: true,
            relay: String::new(),
            policy: String::new(),
        }
    }
}

impl Preferences {
    /// The same with every value in its range: storage may hold anything.
    #[must_use]
    pub(crate) fn sane(mut self) -> Self {
        let default = Self::default();
        if !crate::engines::MEMORY_MIB.contains(&self.memory_mib) {
            self.memory_mib = default.memory_mib;
        }
        if !FONT_SIZES.contains(&self.font_size) {
            self.font_size = default.font_size;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_become_the_default_and_others_stay() {
        let kept = Preferences {
            memory_mib: 7,
            font_size: 900,
            theme: Theme::Light,
            relay: "wss://relay.example/".into(),
            ..Preferences::default()
        };
        let sane = kept.clone().sane();
        assert_eq!(sane.memory_mib, DEFAULT_MEMORY_MIB);
        assert_eq!(sane.font_size, DEFAULT_FONT_SIZE);
        assert_eq!((sane.theme, sane.relay), (kept.theme, kept.relay));
    }

    #[test]
    fn preferences_of_an_older_version_are_understood() {
        let older = r#"{"engine":"v86","theme":"dark","gone":1}"#;
        let read: Preferences = serde_json::from_str(older).expect("unknown fields do no harm");
        assert_eq!(read.engine, Some(EngineKind::V86));
        assert_eq!(read.theme, Theme::Dark);
        assert_eq!(read.memory_mib, DEFAULT_MEMORY_MIB);
    }
}
