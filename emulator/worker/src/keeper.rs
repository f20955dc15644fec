//! Saves a machine, again and again, under its name.
//!
//! What a [`Capture`] holds goes from the bottom up: chunks that are not kept yet, then the
//! manifest, then the machine's head. Between two chunks the guest runs.

use std::rc::Rc;

use emulator_engine::LocalFuture;
use emulator_snapshot::manifest::{Content, Entry};
use emulator_snapshot::{CHUNK_SIZE, Id, Manifest, Meta, chunk, meta, screen};
use emulator_store::{BATCH_BYTES, Record, SnapshotStore, StoreError, Swept};

use crate::capture::{Capture, Memo, Part};
use crate::network;
use crate::record;

/// Section with what was typed and not yet taken by the guest.
pub const INPUT: &str = "input";

/// The sections that are the worker's own, with their versions.
pub const SECTIONS: &[(&str, u16)] = &[
    (meta::NAME, meta::VERSION),
    (screen::NAME, screen::VERSION),
    (INPUT, 1),
    (network::SECTION, 1),
];

/// What a machine has around its engine: saved with it, and given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Console input that the guest has not taken.
    pub input: Vec<u8>,
    /// What its gateway remembers; empty if it has none.
    pub network: Vec<u8>,
}

impl Carried {
    /// What a snapshot holds of it.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let section = |name| manifest.inline(name).unwrap_or_default().to_vec();
        Self { input: section(INPUT), network: section(network::SECTION) }
    }

    fn sections(&self) -> [Entry; 2] {
        let section = |name: &str, bytes: &[u8]| Entry {
            name: name.into(),
            version: 1,
            content: Content::Inline(bytes.to_vec()),
        };
        [section(INPUT, &self.input), section(network::SECTION, &self.network)]
    }
}

/// What a snapshot says besides its machine's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// A person's name for it.
    pub name: Option<String>,
    /// Milliseconds since 1970.
    pub saved_ms: u64,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Flavour of the image.
    pub flavour: String,
    /// What was added to the kernel's command line.
    pub cmdline: String,
    /// Paints the terminal again.
    pub screen: String,
    /// The terminal's rows as plain text.
    pub text: String,
    /// What is around the engine.
    pub carried: Carried,
}

/// What saving needs from around it.
pub trait Pace {
    /// Lets others run for a moment.
    fn breathe(&self) -> LocalFuture<'_, ()>;
    /// Hears how many chunks were looked at, of how many.
    fn progress(&self, done: usize, total: usize);
}

/// Saves one machine.
pub struct Keeper<S> {
    store: Rc<S>,
    machine: String,
    generation: Option<u64>,
    /// The snapshot that the machine came from or was last saved as.
    parent: Option<Id>,
    memo: Memo,
    /// Bytes that were written for the save that is under way, if the machine was walked
    /// through for it.
    walked: Option<u64>,
}

impl<S: SnapshotStore> Keeper<S> {
    /// For a machine whose head has this generation.
    #[must_use]
    pub fn new(store: Rc<S>, machine: String, generation: Option<u64>) -> Self {
        Self { store, machine, generation, parent: None, memo: Memo::default(), walked: None }
    }

    /// The machine goes on from this snapshot.
    pub fn came_from(&mut self, parent: Option<Id>) {
        self.parent = parent;
    }

    /// What was saved last.
    #[must_use]
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Name of the machine.
    #[must_use]
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Begins a save.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn begin(&mut self) -> Result<S::Hold, StoreError> {
        if self.walked.take().is_some() {
            // The last one ended in the middle. What it has stored is nobody's, and the rest
            // is not known: it is walked through anew.
            self.memo = Memo::default();
        }
        self.store.hold().await
    }

    /// Makes room: removes what nobody needs.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        self.store.sweep().await
    }

    /// Keeps the chunks of a part, so that the state that is held later has fewer to keep.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn walk(
        &mut self,
        _save: &S::Hold,
        part: Part,
        pace: &impl Pace,
    ) -> Result<(), StoreError> {
        let mut part = part.into_iter().peekable();
        while part.peek().is_some() {
            let mut batch = Vec::new();
            let mut learned = Vec::new();
            for (place, bytes) in part.by_ref().take(BATCH_BYTES / CHUNK_SIZE) {
                let id = Id::of(&bytes);
                learned.push((place, id));
                batch.push((id, bytes));
                pace.breathe().await;
            }
            let written = self.store_batch(batch, pace).await?;
            *self.walked.get_or_insert(0) += written;
            for (place, id) in learned {
                self.memo.learn(place, id);
            }
        }
        Ok(())
    }

    /// Keeps a state, and moves the machine's head to it; returns when that is safe from a
    /// crash.
    ///
    /// # Errors
    /// Those of the store. The head is where it was then. After [`StoreError::Missing`]
    /// something of the last save is gone from the store: capturing anew, which holds all of
    /// the machine then, may do.
    pub async fn keep(
        &mut self,
        save: S::Hold,
        capture: Capture,
        label: Label,
        pace: &impl Pace,
    ) -> Result<Record, StoreError> {
        // Until all is well, nothing is known of what the store holds.
        std::mem::take(&mut self.memo);
        let walked = self.walked.take().unwrap_or(0);
        let (manifest, delta_bytes, memo) = self.store_chunks(capture, &label, pace).await?;
        let bytes = manifest.write();
        let record = Record {
            delta_bytes: walked + delta_bytes + bytes.len() as u64,
            screen: label.text,
            ..record::of(&manifest, &bytes).map_err(refused)?
        };
        let id = record.id;
        let record = self.store.put_snapshot(record, bytes).await?;
        let moved = match self.store.commit(&self.machine, self.generation, id).await {
            // All that was saved of this machine was deleted meanwhile; it is still ours.
            Err(StoreError::Superseded { found: None }) => {
                self.store.commit(&self.machine, None, id).await
            }
            moved => moved,
        };
        let head = moved?;
        self.generation = Some(head.generation);
        self.parent = Some(id);
        self.memo = memo;
        drop(save);
        // The generation before the last is nobody's now. Another tab may be saving; then
        // the next save sweeps.
        let _ = self.store.sweep().await;
        Ok(record)
    }

    async fn store_chunks(
        &self,
        mut capture: Capture,
        label: &Label,
        pace: &impl Pace,
    ) -> Result<(Manifest, u64, Memo), StoreError> {
        let total = capture.unnamed();
        let mut written = 0;
        let mut done = 0;
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH_BYTES / CHUNK_SIZE {
                let Some(named) = capture.name_next() else { break };
                batch.push(named);
                pace.breathe().await;
            }
            if batch.is_empty() {
                break;
            }
            done += batch.len();
            written += self.store_batch(batch, pace).await?;
            pace.progress(done, total);
        }
        let (origin, mut sections, memo) = capture.finish();
        sections.extend(self.own_sections(label).map_err(refused)?);
        let manifest = Manifest::new(origin, sections).map_err(refused)?;
        Ok((manifest, written, memo))
    }

    /// Stores those of these chunks that are not there; returns how many bytes that took.
    async fn store_batch(
        &self,
        batch: Vec<(Id, Vec<u8>)>,
        pace: &impl Pace,
    ) -> Result<u64, StoreError> {
        let ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
        let missing = self.store.missing(&ids).await?;
        let mut packed = Vec::with_capacity(missing.len());
        for (id, bytes) in batch {
            let wanted = missing.contains(&id) && packed.iter().all(|(other, _)| *other != id);
            if let Some(chunk) = wanted.then(|| chunk::pack(&bytes)).flatten() {
                packed.push((chunk.id, chunk.stored));
                pace.breathe().await;
            }
        }
        let written = packed.iter().map(|(_, stored)| stored.len() as u64).sum();
        self.store.put_chunks(packed).await?;
        Ok(written)
    }

    fn own_sections(&self, label: &Label) -> Result<Vec<Entry>, emulator_snapshot::Error> {
        let meta = Meta {
            saved_ms: label.saved_ms,
            memory_mib: label.memory_mib,
            machine: self.machine.clone(),
            flavour: label.flavour.clone(),
            cmdline: label.cmdline.clone(),
            label: label.name.clone(),
            parent: self.parent,
        };
        let mut sections = vec![meta.section()?, screen::section(&label.screen)?];
        sections.extend(label.carried.sections());
        Ok(sections)
    }
}

/// A state that makes no valid manifest is a fault of ours.
fn refused(error: emulator_snapshot::Error) -> StoreError {
    StoreError::Other(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use emulator_snapshot::Origin;
    use emulator_snapshot::state::{Body, Section, State};
    use emulator_store::Memory;
    use futures_util::FutureExt;

    use super::*;

    struct Steps(Cell<usize>);

    impl Pace for Steps {
        fn breathe(&self) -> LocalFuture<'_, ()> {
            Box::pin(async {})
        }
        fn progress(&self, done: usize, total: usize) {
            assert!(done <= total);
            self.0.set(done);
        }
    }

    fn state(memory: &[u8]) -> State<'_> {
        let origin = Origin { engine: "test".into(), state: 1, image: [0; 32], ram: 0 };
        let body = Body::Paged(Box::new(memory));
        State { origin, sections: vec![Section { name: "ram", version: 1, body }] }
    }

    fn capture(memory: &[u8], memo: &Memo) -> Capture {
        Capture::take(state(memory), memo)
    }

    async fn keep(
        keeper: &mut Keeper<Memory>,
        capture: Capture,
        pace: &Steps,
    ) -> Result<Record, StoreError> {
        let save = keeper.begin().await?;
        keeper.keep(save, capture, label(), pace).await
    }

    fn label() -> Label {
        Label { saved_ms: 1, memory_mib: 1, screen: "# ".into(), ..Label::default() }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("a store in memory does not wait")
    }

    #[test]
    fn the_second_save_writes_only_what_changed() {
        run(async {
            let store = Rc::new(Memory::new());
            let mut keeper = Keeper::new(Rc::clone(&store), "m".into(), None);
            let pace = Steps(Cell::new(0));
            let mut memory: Vec<u8> = (0..40 * CHUNK_SIZE).map(|i| (i / 1000) as u8).collect();
            let held = capture(&memory, keeper.memo());
            let first = keep(&mut keeper, held, &pace).await.expect("kept");
            assert_eq!(pace.0.get(), 40);
            memory[0] ^= 1;
            let held = capture(&memory, keeper.memo());
            assert_eq!(held.unnamed(), 1);
            let second = keep(&mut keeper, held, &pace).await.expect("kept");
            assert!(second.delta_bytes < first.delta_bytes / 5, "{}", second.delta_bytes);
            let head = store.head("m").await.expect("read").expect("there");
            assert_eq!((head.current, head.previous), (second.id, Some(first.id)));
        });
    }

    #[test]
    fn a_store_that_was_emptied_is_told_and_a_new_capture_mends_it() {
        run(async {
            let store = Rc::new(Memory::new());
            let mut keeper = Keeper::new(Rc::clone(&store), "m".into(), None);
            let pace = Steps(Cell::new(0));
            let memory = vec![7; 3 * CHUNK_SIZE];
            let held = capture(&memory, keeper.memo());
            keep(&mut keeper, held, &pace).await.expect("kept");
            store.clear().await.expect("cleared");
            let held = capture(&memory, keeper.memo());
            let lost = keep(&mut keeper, held, &pace).await;
            assert!(matches!(lost, Err(StoreError::Missing(_))), "{lost:?}");
            let held = capture(&memory, keeper.memo());
            keep(&mut keeper, held, &pace).await.expect("kept");
        });
    }

    #[test]
    fn what_was_walked_through_is_not_held_again_and_counts_as_written() {
        run(async {
            let store = Rc::new(Memory::new());
            let mut keeper = Keeper::new(Rc::clone(&store), "m".into(), None);
            let pace = Steps(Cell::new(0));
            let mut memory: Vec<u8> = (0..40 * CHUNK_SIZE).map(|i| (i / 1000) as u8).collect();
            let save = keeper.begin().await.expect("free");
            for from in (0..).step_by(24) {
                let part = Part::take(&state(&memory), keeper.memo(), from, 24);
                let Some(part) = part else { break };
                keeper.walk(&save, part, &pace).await.expect("kept");
                // The machine goes on.
                memory[0] ^= 1;
            }
            let held = capture(&memory, keeper.memo());
            assert_eq!(held.unnamed(), 0, "changed, and changed back");
            memory[7] ^= 1;
            let held = capture(&memory, keeper.memo());
            assert_eq!(held.unnamed(), 1);
            let walked = keeper.keep(save, held, label(), &pace).await.expect("kept");
            assert!(walked.delta_bytes >= walked.bytes, "{walked:?}");
            assert_eq!(store.sweep().await.expect("swept").chunks, 0, "done by the save");

            // The same as of a save without a walk.
            let mut other = Keeper::new(Rc::clone(&store), "o".into(), None);
            let held = capture(&memory, other.memo());
            let whole = keep(&mut other, held, &pace).await.expect("kept");
            assert_eq!(whole.chunks, walked.chunks);
        });
    }
}
