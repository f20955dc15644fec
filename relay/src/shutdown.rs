//! Ending in order: running, draining, ended. The first signal drains, a second one ends.

use tokio::sync::watch;

/// Where the relay is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Phase {
    /// Takes connections.
    Running,
    /// Takes none; streams go on until the time for it is over.
    Draining,
}

/// Says when to drain.
pub struct Trigger(watch::Sender<Phase>);

/// Learns of it. Clones learn of the same.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A running relay's trigger, and those who wait for it.
pub fn channel() -> (Trigger, Shutdown) {
    let (trigger, shutdown) = watch::channel(Phase::Running);
    (Trigger(trigger), Shutdown(shutdown))
}

impl Trigger {
    /// Starts the drain.
    pub fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }
}

impl Shutdown {
    /// Where the relay is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits for the drain; forever if nobody can start one any more.
    pub async fn draining(&mut self) {
        if self.0.wait_for(|phase| *phase == Phase::Draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
