//! One snapshot in the list: what it is, and what can be done with it.

use emulator_protocol::Snapshot;
use js_sys::{Array, Date, Intl, JsString, Object, Reflect};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;
use wasm_bindgen::{JsCast, JsValue};

use super::desk::{Desk, use_desk};
use crate::library::words::{self, MACHINE_LIMIT, NAME_LIMIT};
use crate::ui::dialog::{Dialogs, Question, use_dialogs};
use crate::ui::prompt::Prompt;

/// A snapshot. Its place in the page stays when its name changes, and the focus with it.
#[component]
pub(super) fn Item(
    /// Which.
    id: String,
    /// Milliseconds since 1970; moves on.
    now: RwSignal<u64>,
) -> impl IntoView {
    let desk = use_desk();
    let known = id.clone();
    let snapshot = Memo::new(move |_| {
        desk.snapshots.with(|all| all.iter().flatten().find(|one| one.id == known).cloned())
    });
    let part = move |read: fn(&Snapshot) -> String| {
        move || snapshot.with(|snapshot| snapshot.as_ref().map(read).unwrap_or_default())
    };
    let saved = move || snapshot.with(|one| one.as_ref().map_or(0, |one| one.saved_ms));
    let is_head = move || snapshot.with(|one| one.as_ref().is_some_and(|one| one.is_head));
    let (title, time) = (format!("title-{id}"), format!("time-{id}"));
    let about = format!("{title} {time}");
    let whose = about.clone();
    view! {
        <li
            class="snapshot"
            data-testid="snapshot-item"
            data-id=id
            data-machine=part(|one| one.machine.clone())
            aria-labelledby=about
        >
            <pre class="snapshot-screen" aria-hidden="true">
                {part(|one| words::preview(&one.screen))}
            </pre>
            <div class="snapshot-body">
                <h3 class="snapshot-title" id=title>{part(words::title)}</h3>
                <p class="hint">
                    <time id=time datetime=move || moment(saved()).iso>
                        {move || words::ago(saved(), now.get())}
                    </time>
                    {move || format!(", {}", moment(saved()).local)}
                </p>
                <Show when=is_head>
                    <p class="snapshot-head" data-testid="snapshot-head">
                        "A machine goes on from here"
                    </p>
                </Show>
                <dl class="snapshot-facts">
                    <div>
                        <dt>"Machine"</dt>
                        <dd>{part(|one| one.machine.clone())}</dd>
                    </div>
                    <div>
                        <dt>"Engine"</dt>
                        <dd>{part(words::origin)}</dd>
                    </div>
                    <div>
                        <dt>"Memory"</dt>
                        <dd>{part(|one| format!("{} MiB", one.memory_mib))}</dd>
                    </div>
                    <div>
                        <dt>"Size"</dt>
                        <dd>{part(|one| words::share(one.bytes, one.own_bytes))}</dd>
                    </div>
                </dl>
                <Actions snapshot about=whose />
            </div>
        </li>
    }
}

/// What a button does with a snapshot.
type Action = fn(Asker, Snapshot);

/// The buttons; each is described by the snapshot that it belongs to.
#[component]
fn Actions(snapshot: Memo<Option<Snapshot>>, about: String) -> impl IntoView {
    let desk = use_desk();
    let asker = Asker::new(desk);
    let with = move |act: Action| {
        move |_: leptos::ev::MouseEvent| {
            if let Some(snapshot) = snapshot.get_untracked() {
                act(asker, snapshot);
            }
        }
    };
    let actions: [(&str, &str, Action); 6] = [
        ("snapshot-restore", "Restore", Asker::restore),
        ("snapshot-fork", "Fork…", Asker::fork),
        ("snapshot-rename", "Name…", Asker::rename),
        ("snapshot-verify", "Verify", |asker, snapshot| asker.desk.verify(snapshot.id)),
        ("snapshot-export", "Export", |asker, snapshot| asker.desk.export(snapshot)),
        ("snapshot-delete", "Delete…", Asker::remove),
    ];
    let buttons = actions.map(|(testid, label, act)| {
        view! {
            <button
                type="button"
                class="button"
                data-testid=testid
                aria-describedby=about.clone()
                disabled=move || desk.is_busy()
                on:click=with(act)
            >
                {label}
            </button>
        }
    });
    view! { <div class="actions">{buttons.into_iter().collect_view()}</div> }
}

/// Asks a person where something would be lost or a name is needed, and then lets the desk
/// do it.
#[derive(Clone, Copy)]
struct Asker {
    desk: Desk,
    dialogs: Dialogs,
    /// Goes to the machine.
    leave: Callback<()>,
}

impl Asker {
    fn new(desk: Desk) -> Self {
        let navigate = StoredValue::new_local(use_navigate());
        let leave = Callback::new(move |()| {
            navigate.try_with_value(|navigate| navigate("/", NavigateOptions::default()));
        });
        Self { desk, dialogs: use_dialogs(), leave }
    }

    fn restore(self, snapshot: Snapshot) {
        let id = snapshot.id.clone();
        let act = move || {
            let leave = self.leave;
            self.desk.restore(id.clone(), move || {
                // Whoever has left the page meanwhile has found their way.
                leave.try_run(());
            });
        };
        if !self.desk.would_lose() {
            return act();
        }
        self.dialogs.ask(Question {
            title: format!("Restore “{}”?", words::title(&snapshot)),
            text: "The machine that runs ends, and what it has done since it was last saved is \
                   lost. The snapshot is checked first: if it is damaged, the machine goes on."
                .into(),
            subject: None,
            confirm: "Restore",
            act: Callback::new(move |()| act()),
        });
    }

    fn remove(self, snapshot: Snapshot) {
        let id = snapshot.id.clone();
        self.dialogs.ask(Question {
            title: format!("Delete “{}”?", words::title(&snapshot)),
            text: words::removal(&snapshot),
            subject: None,
            confirm: "Delete",
            act: Callback::new(move |()| self.desk.remove(id.clone())),
        });
    }

    fn fork(self, snapshot: Snapshot) {
        let desk = self.desk;
        let whole = snapshot.clone();
        let check = move |text: String| match words::machine_name(&text) {
            Ok(name) if desk.is_taken(&name) => {
                Some(format!("There is a machine “{name}” already. Choose another name."))
            }
            Ok(_) => None,
            Err(complaint) => Some(complaint),
        };
        let act = move |text: String| {
            if let Ok(machine) = words::machine_name(&text) {
                desk.fork(whole.clone(), machine);
            }
        };
        desk.prompt.set(Some(Prompt {
            title: format!("Fork “{}”", words::title(&snapshot)),
            text: "A second machine goes on from this snapshot, in a tab of its own. The first \
                   one is as it was; what they share is stored once."
                .into(),
            label: "Name of the new machine",
            value: words::proposed(&snapshot.machine, |name| desk.is_taken(name)),
            limit: MACHINE_LIMIT,
            confirm: "Fork",
            check: Callback::new(check),
            act: Callback::new(act),
        }));
    }

    fn rename(self, snapshot: Snapshot) {
        let desk = self.desk;
        let id = snapshot.id.clone();
        let act = move |text: String| {
            if let Ok(name) = words::snapshot_name(&text) {
                desk.rename(id.clone(), name);
            }
        };
        desk.prompt.set(Some(Prompt {
            title: "Name the snapshot".into(),
            text: "With a name it is kept until you delete it. Without one it goes when its \
                   machine has been saved twice more."
                .into(),
            label: "Name",
            value: snapshot.name.unwrap_or_default(),
            limit: NAME_LIMIT,
            confirm: "Save",
            check: Callback::new(|text: String| words::snapshot_name(&text).err()),
            act: Callback::new(act),
        }));
    }
}

struct Moment {
    iso: String,
    local: String,
}

/// A time as programs and as people of this browser's language write it.
fn moment(millis: u64) -> Moment {
    let date = Date::new(&JsValue::from_f64(millis as f64));
    let options = Object::new();
    for (name, style) in [("dateStyle", "medium"), ("timeStyle", "short")] {
        // A plain object takes every property.
        let _ = Reflect::set(&options, &name.into(), &style.into());
    }
    let format = Intl::DateTimeFormat::new(&Array::new(), &options).format();
    let local = format.call1(&JsValue::UNDEFINED, &date).ok();
    let local = local.and_then(|text| text.dyn_into::<JsString>().ok());
    Moment { iso: date.to_iso_string().into(), local: local.map(String::from).unwrap_or_default() }
}
