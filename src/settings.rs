//! Engine, memory, looks, relay address: chosen here, kept in the browser.

pub(crate) mod address;
pub(crate) mod preferences;

use emulator_protocol::{EngineKind, Flavour};
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use web_sys::{Storage, UrlSearchParams};

use crate::engines;
use crate::network::card::RelayCard;
use crate::network::intent::is_secure;
use crate::session::use_session;
use address::Address;
use preferences::{FONT_SIZES, Preferences, Theme};

/// Where the browser keeps the preferences.
const STORAGE_KEY: &str = "vivarium.preferences";

/// What a start uses when nobody says otherwise.
pub(crate) struct Plan {
    /// The engine.
    pub(crate) engine: EngineKind,
    /// Guest memory in MiB.
    pub(crate) memory_mib: u32,
    /// The guest image.
    pub(crate) flavour: Flavour,
    /// Words for the kernel's command line.
    pub(crate) cmdline: String,
}

/// Name of a guest image.
#[must_use]
pub(crate) fn flavour_name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Full => "full",
        Flavour::Busybox => "busybox",
    }
}

/// Preferences and address. Copy: components take it by value.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    preferences: RwSignal<Preferences>,
    address: StoredValue<Address>,
    complaints: StoredValue<Vec<String>>,
}

impl Settings {
    /// Reads what was kept and what the address says.
    #[must_use]
    pub(crate) fn load() -> Self {
        let query = window().location().search().unwrap_or_default();
        let query = UrlSearchParams::new_with_str(&query).ok();
        let value = |name: &str| query.as_ref().and_then(|query| query.get(name));
        let (address, complaints) = address::parse(value, is_secure());
        Self {
            preferences: RwSignal::new(read().unwrap_or_default().sane()),
            address: StoredValue::new(address),
            complaints: StoredValue::new(complaints),
        }
    }

    /// What a start uses: the address first, then the preferences.
    #[must_use]
    pub(crate) fn plan(self) -> Plan {
        let address = self.address.get_value();
        let preferences = self.preferences.get_untracked();
        Plan {
            engine: address.engine.or(preferences.engine).unwrap_or(engines::DEFAULT_ENGINE),
            memory_mib: address.memory_mib.unwrap_or(preferences.memory_mib),
            flavour: address.flavour.unwrap_or_default(),
            cmdline: address.cmdline.unwrap_or_default(),
        }
    }

    /// Whether the page starts a machine by itself.
    #[must_use]
    pub(crate) fn autoboot(self) -> bool {
        self.address.with_value(|address| address.autoboot.unwrap_or(true))
    }

    /// Whether machines are saved without being asked.
    #[must_use]
    pub(crate) fn autosaves(self) -> bool {
        self.preferences.with_untracked(|kept| kept.autosave)
    }

    /// What the address asks for.
    #[must_use]
    pub(crate) fn address(self) -> Address {
        self.address.get_value()
    }

    /// What in the address could not be used, in words.
    #[must_use]
    pub(crate) fn complaints(self) -> Vec<String> {
        self.complaints.get_value()
    }

    /// The preferences, tracked.
    #[must_use]
    pub(crate) fn preferences(self) -> Signal<Preferences> {
        self.preferences.into()
    }

    /// Changes and keeps them. A browser that keeps nothing (private windows, blocked
    /// storage) still has them until the page is closed.
    pub(crate) fn update(self, change: impl FnOnce(&mut Preferences)) {
        self.preferences.update(change);
        self.preferences.with_untracked(keep);
    }
}

/// The settings of the page.
#[must_use]
pub(crate) fn use_settings() -> Settings {
    expect_context()
}

fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

fn read() -> Option<Preferences> {
    let text = storage()?.get_item(STORAGE_KEY).ok().flatten()?;
    let value = js_sys::JSON::parse(&text).ok()?;
    serde_wasm_bindgen::from_value(value).ok()
}

fn keep(preferences: &Preferences) {
    let text = serde_wasm_bindgen::to_value(preferences)
        .map_err(JsValue::from)
        .and_then(|value| js_sys::JSON::stringify(&value));
    if let (Some(storage), Ok(text)) = (storage(), text) {
        // Full or forbidden: see `update`.
        let _ = storage.set_item(STORAGE_KEY, &String::from(text));
    }
}

/// The page of settings.
#[component]
pub(crate) fn SettingsPage() -> impl IntoView {
    view! {
        <article class="page" data-testid="settings">
            <h1 tabindex="-1">"Settings"</h1>
            <p class="lead">"Saved in this browser as you change them."</p>
            <Machine />
            <Looks />
            <RelayCard />
        </article>
    }
}

#[component]
fn Machine() -> impl IntoView {
    let settings = use_settings();
    let preferences = settings.preferences();
    let address = settings.address();
    let engine = move || preferences.with(|kept| kept.engine).unwrap_or(engines::DEFAULT_ENGINE);
    let engines = engines::ALL.map(|kind| {
        view! {
            <label class="choice">
                <input
                    type="radio"
                    name="engine"
                    value=engines::id(kind)
                    prop:checked=move || engine() == kind
                    on:change=move |_| settings.update(|kept| kept.engine = Some(kind))
                />
                <span class="choice-name">{engines::label(kind)}</span>
                <span class="choice-text">{engines::description(kind)}</span>
            </label>
        }
    });
    let memory = engines::MEMORY_CHOICES.map(|mib| {
        view! {
            <option value=mib.to_string() selected=move || preferences.with(|kept| kept.memory_mib == mib)>
                {format!("{mib} MiB")}
            </option>
        }
    });
    let overruled = address.engine.is_some() || address.memory_mib.is_some();
    view! {
        <section class="card" aria-labelledby="settings-machine">
            <h2 id="settings-machine">"Machine"</h2>
            <fieldset class="field">
                <legend>"Engine"</legend>
                <div class="choices">{engines.into_iter().collect_view()}</div>
            </fieldset>
            <div class="field">
                <label for="memory">"Memory of real Linux"</label>
                <select
                    id="memory"
                    on:change:target=move |event| {
                        if let Ok(mib) = event.target().value().parse() {
                            settings.update(|kept| kept.memory_mib = mib);
                        }
                    }
                >
                    {memory.into_iter().collect_view()}
                </select>
            </div>
            {overruled
                .then(|| {
                    view! {
                        <p class="hint">
                            "The page's address names an engine or a memory size; it wins over these settings."
                        </p>
                    }
                })}
            <label class="field check">
                <input
                    type="checkbox"
                    data-testid="autosave"
                    prop:checked=move || preferences.with(|kept| kept.autosave)
                    on:change:target=move |event| {
                        let on = event.target().checked();
                        settings.update(|kept| kept.autosave = on);
                    }
                />
                <span>
                    "Save the machine by itself"
                    <span class="choice-text">
                        "When it is at rest, when you leave the page, and once a minute while it works. It goes on from there the next time."
                    </span>
                </span>
            </label>
            <Pending />
        </section>
    }
}

/// Says that the running machine differs from the settings, and offers to start one that
/// does not.
#[component]
fn Pending() -> impl IntoView {
    let session = use_session();
    let settings = use_settings();
    let state = session.store().state();
    let preferences = settings.preferences();
    let differs = Memo::new(move |_| {
        preferences.track();
        let plan = settings.plan();
        state.with(|state| {
            let memory = engines::is_real(plan.engine) && state.memory_mib != plan.memory_mib;
            state.is_live() && (state.engine != plan.engine || memory)
        })
    });
    let start = engines::start_planned();
    view! {
        <Show when=move || differs.get()>
            <div class="strip strip-inset" role="status">
                <span>"The running machine keeps its engine and memory until it is restarted."</span>
                <button type="button" class="button" on:click=move |_| start()>
                    "Restart now"
                </button>
            </div>
        </Show>
    }
}

#[component]
fn Looks() -> impl IntoView {
    let settings = use_settings();
    let preferences = settings.preferences();
    let themes = Theme::ALL.map(|theme| {
        view! {
            <label class="choice choice-small">
                <input
                    type="radio"
                    name="theme"
                    value=theme.word()
                    prop:checked=move || preferences.with(|kept| kept.theme == theme)
                    on:change=move |_| settings.update(|kept| kept.theme = theme)
                />
                <span class="choice-name">{theme.label()}</span>
            </label>
        }
    });
    view! {
        <section class="card" aria-labelledby="settings-looks">
            <h2 id="settings-looks">"Looks"</h2>
            <fieldset class="field">
                <legend>"Colours"</legend>
                <div class="choices choices-row">{themes.into_iter().collect_view()}</div>
            </fieldset>
            <div class="field">
                <label for="font-size">"Font size of the terminal"</label>
                <div class="with-unit">
                    <input
                        id="font-size"
                        type="number"
                        min=FONT_SIZES.start().to_string()
                        max=FONT_SIZES.end().to_string()
                        prop:value=move || preferences.with(|kept| kept.font_size.to_string())
                        on:change:target=move |event| {
                            let target = event.target();
                            let size = target.value_as_number();
                            let (least, most) = (*FONT_SIZES.start(), *FONT_SIZES.end());
                            if size.is_finite() {
                                let size = size.clamp(f64::from(least), f64::from(most)) as u32;
                                settings.update(|kept| kept.font_size = size);
                            }
                            target.set_value(
                                &settings.preferences().get_untracked().font_size.to_string(),
                            );
                        }
                    />
                    <span>"pixels"</span>
                </div>
            </div>
            <label class="field check">
                <input
                    type="checkbox"
                    prop:checked=move || preferences.with(|kept| kept.screen_reader)
                    on:change:target=move |event| {
                        let on = event.target().checked();
                        settings.update(|kept| kept.screen_reader = on);
                    }
                />
                <span>
                    "Screen-reader mode"
                    <span class="choice-text">
                        "The terminal reads out what the machine prints. Slower under much output."
                    </span>
                </span>
            </label>
        </section>
    }
}
