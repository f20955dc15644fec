//! Counts what was fetched, and tells who watches the boot.

use std::cell::{Cell, RefCell};

use emulator_guest::files::Watcher;

/// The counters; see [`emulator_guest::files::Files`] for their meaning.
#[derive(Default)]
pub(crate) struct Meter {
    fetched: Cell<u64>,
    requests: Cell<u64>,
    loaded: Cell<u64>,
    watcher: RefCell<Option<Watcher>>,
}

impl Meter {
    pub(crate) fn fetched(&self) -> u64 {
        self.fetched.get()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(crate) fn loaded(&self) -> u64 {
        self.loaded.get()
    }

    pub(crate) fn watch(&self, watcher: Option<Watcher>) {
        self.watcher.replace(watcher);
    }

    /// A file is asked for over the network.
    pub(crate) fn request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Bytes came over the network.
    pub(crate) fn fetch(&self, bytes: u64) {
        self.fetched.set(self.fetched.get() + bytes);
        self.load(bytes);
    }

    /// Bytes are at hand, from wherever.
    pub(crate) fn load(&self, bytes: u64) {
        self.loaded.set(self.loaded.get() + bytes);
        if let Some(watcher) = &*self.watcher.borrow() {
            watcher(self.loaded.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn kept_bytes_are_at_hand_but_not_fetched_and_the_watcher_hears_of_all() {
        let (meter, heard) = (Meter::default(), Rc::new(Cell::new(0)));
        let hears = Rc::clone(&heard);
        meter.watch(Some(Box::new(move |loaded| hears.set(loaded))));
        meter.request();
        meter.fetch(5);
        meter.load(2);
        assert_eq!((meter.requests(), meter.fetched(), meter.loaded()), (1, 5, 7));
        assert_eq!(heard.get(), 7);
        meter.watch(None);
        meter.load(1);
        assert_eq!((meter.loaded(), heard.get()), (8, 7));
    }
}
