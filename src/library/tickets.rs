//! Which answer belongs to which question. No worker and no browser, so that it has tests.

use std::collections::HashMap;

use emulator_protocol::Fault;
use futures_channel::oneshot;

/// Questions that may wait for their answers at the same time. A page asks a handful, and
/// its buttons one; a script that asks for more is told to wait.
pub(crate) const OPEN_LIMIT: usize = 64;

/// What a question comes to.
pub(crate) type Outcome<T> = Result<T, Fault>;

/// The open questions.
#[derive(Debug)]
pub(crate) struct Tickets<T> {
    next: u32,
    open: HashMap<u32, oneshot::Sender<Outcome<T>>>,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self { next: 0, open: HashMap::new() }
    }
}

impl<T> Tickets<T> {
    /// A new ticket and the place where its answer will be; `None` if [`OPEN_LIMIT`] are
    /// open.
    pub(crate) fn draw(&mut self) -> Option<(u32, oneshot::Receiver<Outcome<T>>)> {
        // Whoever does not listen any more needs no place.
        self.open.retain(|_, waiting| !waiting.is_canceled());
        if self.open.len() >= OPEN_LIMIT {
            return None;
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let ticket = self.next;
        self.next = ticket.wrapping_add(1);
        let (sender, receiver) = oneshot::channel();
        self.open.insert(ticket, sender);
        Some((ticket, receiver))
    }

    /// Answers one; an answer that nobody waits for is dropped.
    pub(crate) fn settle(&mut self, ticket: u32, outcome: Outcome<T>) {
        if let Some(waiting) = self.open.remove(&ticket) {
            // Fails if whoever asked is gone.
            let _ = waiting.send(outcome);
        }
    }

    /// Answers all of them with a fault.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        for (_, waiting) in self.open.drain() {
            let _ = waiting.send(Err(fault.clone()));
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::words::missing;

    #[test]
    fn answers_find_their_questions_in_any_order() {
        let mut tickets = Tickets::default();
        let (first, mut one) = tickets.draw().expect("there is room");
        let (second, mut two) = tickets.draw().expect("there is room");
        tickets.settle(second, Ok("two"));
        assert_eq!(one.try_recv(), Ok(None), "not answered yet");
        tickets.settle(first, Ok("one"));
        tickets.settle(first, Ok("an echo"));
        assert_eq!(one.try_recv(), Ok(Some(Ok("one"))));
        assert_eq!(two.try_recv(), Ok(Some(Ok("two"))));
        assert!(tickets.is_empty());
    }

    #[test]
    fn a_worker_that_dies_answers_everybody() {
        let mut tickets = Tickets::<()>::default();
        let (_, mut one) = tickets.draw().expect("there is room");
        let (_, mut two) = tickets.draw().expect("there is room");
        tickets.fail(&missing("x"));
        for receiver in [&mut one, &mut two] {
            assert_eq!(receiver.try_recv(), Ok(Some(Err(missing("x")))));
        }
        assert!(tickets.is_empty());
    }

    #[test]
    fn open_questions_are_bounded_and_given_up_ones_do_not_count() {
        let mut tickets = Tickets::<()>::default();
        let mut kept: Vec<_> = (0..OPEN_LIMIT).filter_map(|_| tickets.draw()).collect();
        assert_eq!(kept.len(), OPEN_LIMIT);
        assert!(tickets.draw().is_none());
        kept.pop();
        assert!(tickets.draw().is_some());
    }

    #[test]
    fn a_number_in_use_is_not_given_twice() {
        let mut tickets = Tickets::<()>::default();
        let (first, _kept) = tickets.draw().expect("there is room");
        tickets.next = first;
        let (second, _also) = tickets.draw().expect("there is room");
        assert_ne!(first, second);
    }
}
