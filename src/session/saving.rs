//! The page's half of saving: one save at a time, the screen for each, and saves that nobody
//! asked for.

use std::collections::VecDeque;

use emulator_protocol::{
    Command, EngineKind, Event, Fault, FaultKind, MachineState, Party, Resumption, Saved, Snapshot,
    Start,
};
use futures_channel::oneshot;
use gloo::timers::callback::Interval;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::autosave::{Autosave, BUSY_MIPS};
use super::{Choice, Generation, Happening, Session};
use crate::engines;
use crate::ui::notice::Notice;

/// How often it is looked whether a machine wants saving.
const LOOK_MS: u32 = 1_000;

/// What a person may know about the machine's last save.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Keeping {
    /// The machine is not saved: it has no name, or its engine cannot.
    #[default]
    Never,
    /// Not yet.
    Unsaved,
    /// Under way: chunks done, of how many.
    Saving(u32, u32),
    /// Since this time, in milliseconds since 1970.
    Saved(f64),
    /// The last try came to nothing.
    Failed(Fault),
}

/// A save that somebody waits for.
pub(super) struct Order {
    name: Option<String>,
    answer: oneshot::Sender<Result<Saved, Fault>>,
}

/// Saves of one machine.
pub(super) struct Saves {
    orders: VecDeque<Order>,
    /// The order that is being carried out.
    current: Option<Order>,
    autosave: Autosave,
    /// What there was before the save that is under way.
    before: Keeping,
}

impl Saves {
    /// Of a machine that begins now.
    pub(super) fn new() -> Self {
        Self {
            orders: VecDeque::new(),
            current: None,
            autosave: Autosave::new(now()),
            before: Keeping::Unsaved,
        }
    }
}

impl Session {
    /// Saves the machine; resolves when it is safe from a crash.
    ///
    /// # Errors
    /// Why it could not be saved; the machine goes on.
    pub(crate) async fn save(self, name: Option<String>) -> Result<Saved, Fault> {
        if self.store().keeping().get_untracked() == Keeping::Never {
            return Err(nothing_to_save());
        }
        let (answer, result) = oneshot::channel();
        self.core().saves.borrow_mut().orders.push_back(Order { name, answer });
        self.next_order();
        result.await.unwrap_or_else(|_| Err(nothing_to_save()))
    }

    /// Ends the machine and starts one from a snapshot; the caller has asked.
    pub(crate) fn restore(self, snapshot: &Snapshot) -> Generation {
        self.boot(Choice {
            // One that this page does not know is told by the engine that is asked instead.
            engine: Some(engines::named(&snapshot.engine).unwrap_or(engines::BEST_KERNEL)),
            memory_mib: Some(snapshot.memory_mib),
            flavour: Some(snapshot.flavour),
            cmdline: Some(snapshot.cmdline.clone()),
            machine: Some(snapshot.machine.clone()),
            start: Some(Start::Snapshot(snapshot.id.clone())),
            take_over: false,
        })
    }

    /// Whether there is something in the machine that is not saved, or not safely.
    #[must_use]
    pub(crate) fn is_dirty(self) -> bool {
        let state = self.state();
        let saves = &self.core().saves;
        state.is_live()
            && engines::is_real(state.engine)
            && (self.store().keeping().get_untracked() == Keeping::Never
                || saves.borrow().current.is_some()
                || saves.borrow().autosave.is_dirty())
    }

    /// Saves the machine as far as that is wanted and possible, then acts. What could not be
    /// saved is the caller's to ask about.
    pub(crate) fn save_then(
        self,
        act: impl FnOnce() + 'static,
        otherwise: impl FnOnce(Fault) + 'static,
    ) {
        spawn_local(async move {
            self.store().announce("Saving the machine.");
            match self.save(None).await {
                Ok(_) => act(),
                Err(fault) => otherwise(fault),
            }
        });
    }

    /// Saves without being asked, for the page's life.
    pub(crate) fn keep_saving(self) {
        let look = move || {
            if self.wants_saving() {
                spawn_local(async move {
                    // A failure is shown by whoever shows the state of saving.
                    let _ = self.save(None).await;
                });
            }
        };
        Interval::new(LOOK_MS, look).forget();
        let handle = window_event_listener_untyped("visibilitychange", move |_| {
            self.core().saves.borrow_mut().autosave.leaves(document().hidden());
            look();
        });
        std::mem::forget(handle);
        self.observe(move |happening| {
            if matches!(happening, Happening::Console(_)) {
                self.worked();
            }
        });
    }

    fn wants_saving(self) -> bool {
        let core = self.core();
        let state = self.state();
        if state.stats.and_then(|stats| stats.mips).is_some_and(|mips| mips > BUSY_MIPS) {
            self.worked();
        }
        let saves = core.saves.borrow();
        self.settings().autosaves()
            && self.store().keeping().get_untracked() != Keeping::Never
            && matches!(state.machine, MachineState::Running | MachineState::Paused)
            && saves.current.is_none()
            && saves.autosave.is_due(now())
    }

    /// The machine has done something that is worth saving.
    pub(super) fn worked(self) {
        self.core().saves.borrow_mut().autosave.worked(now());
    }

    /// Forgets the saves of the machine before; who waits for one hears that it is gone.
    pub(super) fn begin_saves(self, named: bool) {
        self.core().saves.replace(Saves::new());
        self.store().set_keeping(if named { Keeping::Unsaved } else { Keeping::Never });
    }

    /// Takes in what the worker said about saving.
    pub(super) fn hear_of_saving(self, event: &Event, generation: Generation) {
        match event {
            Event::Captured => self.answer_capture(generation),
            Event::Saving { done, total } => {
                self.store().set_keeping(Keeping::Saving(*done, *total));
            }
            Event::Saved(saved) => self.finish(Ok(saved.clone())),
            Event::SaveFailed(fault) => self.finish(Err(fault.clone())),
            Event::StorageLost { detail } => self.store().notify(storage_lost(detail)),
            Event::Resumes(resumption) => self.paint(resumption),
            Event::ReleaseAsked => spawn_local(async move {
                // What could not be saved now is what was saved last.
                let _ = self.save(None).await;
                self.send(Command::Release);
            }),
            _ => {}
        }
    }

    /// Begins the next save, if none is under way.
    fn next_order(self) {
        let core = self.core();
        let mut saves = core.saves.borrow_mut();
        if saves.current.is_some() {
            return;
        }
        let Some(order) = saves.orders.pop_front() else { return };
        let name = order.name.clone();
        saves.current = Some(order);
        saves.before = self.store().keeping().get_untracked();
        drop(saves);
        self.store().set_keeping(Keeping::Saving(0, 0));
        self.send(Command::Save { name });
    }

    /// Says what is on the terminal after all that came before.
    fn answer_capture(self, generation: Generation) {
        let core = self.core();
        core.saves.borrow_mut().autosave.captured(now());
        let screen = core.screen.borrow().clone();
        let answer = move |screen, text| {
            if generation == self.core().generation.get() {
                self.send(Command::Screen { screen, text });
            }
        };
        match screen {
            Some(screen) => screen.capture(Box::new(answer)),
            None => answer(String::new(), String::new()),
        }
    }

    fn finish(self, result: Result<Saved, Fault>) {
        let core = self.core();
        let order = core.saves.borrow_mut().current.take();
        match &result {
            Ok(saved) => {
                core.saves.borrow_mut().autosave.succeeded(now());
                self.store().set_keeping(Keeping::Saved(saved.snapshot.saved_ms as f64));
                self.tell(&Happening::Saved);
            }
            Err(fault) if fault.kind == FaultKind::Busy => {
                let mut saves = core.saves.borrow_mut();
                saves.autosave.failed(now(), fault.kind);
                self.store().set_keeping(saves.before.clone());
            }
            Err(fault) => {
                core.saves.borrow_mut().autosave.failed(now(), fault.kind);
                self.store().set_keeping(Keeping::Failed(fault.clone()));
                self.store().notify(Notice::new(format!("{} {}", fault.summary, fault.advice)));
            }
        }
        if let Some(order) = order {
            // Nobody has to wait for it.
            let _ = order.answer.send(result);
        }
        self.next_order();
    }

    /// Shows what was on the screen when the machine was saved.
    fn paint(self, resumption: &Resumption) {
        let core = self.core();
        let painted = core.screen.borrow().clone();
        match painted {
            Some(screen) => screen.paint(&resumption.screen),
            None => {
                core.early_paint.replace(Some(resumption.screen.clone()));
            }
        }
        if let Some(request) = &mut *core.request.borrow_mut() {
            request.memory_mib = resumption.memory_mib;
            request.flavour = resumption.flavour;
            request.cmdline.clone_from(&resumption.cmdline);
        }
        self.store().update(|state| state.memory_mib = resumption.memory_mib);
        if let Some(fault) = &resumption.damage {
            self.store().notify(Notice::new(format!(
                "The last save is damaged, so the machine goes on from the one before. ({})",
                fault.detail
            )));
        }
        if !resumption.shipped {
            self.store().set_keeping(Keeping::Saved(resumption.saved_ms as f64));
        }
    }
}

/// Name of a machine that nobody has named: what it is made of.
#[must_use]
pub(crate) fn machine_name(
    engine: EngineKind,
    flavour: &str,
    memory_mib: u32,
    cmdline: &str,
) -> String {
    let mut name = format!("{}-{flavour}-{memory_mib}", engines::id(engine));
    if !cmdline.is_empty() {
        // FNV-1a, 64 bits: any function would do that gives another name for other words.
        let hash = cmdline.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        name.push_str(&format!("-{:08x}", hash as u32));
    }
    name
}

fn now() -> f64 {
    window().performance().map_or(0.0, |clock| clock.now())
}

/// The fault of a save without a machine that could be saved.
fn nothing_to_save() -> Fault {
    Fault::new(
        FaultKind::Unsupported,
        Party::Host,
        "There is no machine that could be saved.",
        "Start real Linux first; the simulated shell keeps nothing.",
    )
}

/// What a person hears when the browser has lost all that was saved in it.
pub(crate) fn storage_lost(detail: &str) -> Notice {
    Notice::new(format!(
        "This browser has lost the machines that were saved in it: {detail}. That can happen \
         when it is ended by force. Import an exported snapshot, if you have one."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_different_make_have_different_names() {
        let name = |memory, cmdline| machine_name(EngineKind::V86, "full", memory, cmdline);
        assert_eq!(name(256, ""), "v86-full-256");
        assert_ne!(name(256, "a"), name(256, "b"));
        assert_ne!(name(256, "a"), name(256, ""));
    }
}
