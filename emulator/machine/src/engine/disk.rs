//! The machine's disk: requests of the guest's, answered from chunks that come when they like.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use emulator_devices::virtio::block::{Failed, Operation, Request, SECTOR};
use emulator_disk::Disk as Layout;
use emulator_engine::LocalFuture;
use emulator_guest::disk::Chunked;
use emulator_guest::files::Files;
use emulator_protocol::Fault;

use crate::machine::Machine;

/// A chunk on its way.
struct Coming {
    index: usize,
    bytes: LocalFuture<'static, Result<Vec<u8>, Fault>>,
}

/// The disk, and the reads that wait for it.
pub(super) struct Disk {
    chunked: Chunked,
    waiting: Vec<(u64, u64, usize)>,
    coming: Vec<Coming>,
    waker: Waker,
    /// A chunk could not be had: nothing is asked for before a retry.
    stopped: bool,
}

impl Disk {
    pub(super) fn new(layout: Layout, waker: Waker) -> Self {
        let chunked = Chunked::new(layout);
        Self { chunked, waiting: Vec::new(), coming: Vec::new(), waker, stopped: false }
    }

    /// What the guest wrote.
    pub(super) fn written(&self) -> Vec<u8> {
        self.chunked.written()
    }

    /// Longest that this can be.
    pub(super) fn written_limit(&self) -> u64 {
        Chunked::written_limit(self.chunked.layout())
    }

    /// Takes what [`Disk::written`] gave.
    pub(super) fn set_written(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.chunked.set_written(bytes)
    }

    /// Whether reads of the guest wait for the network.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Asks again for what could not be had.
    pub(super) fn retry(&mut self) {
        self.stopped = false;
    }

    /// Takes the chunks that have arrived.
    ///
    /// # Errors
    /// When a chunk that the guest waits for cannot be had.
    pub(super) fn arrive(&mut self) -> Result<(), Fault> {
        let mut context = Context::from_waker(&self.waker);
        let mut fault = None;
        let mut coming = std::mem::take(&mut self.coming);
        coming.retain_mut(|chunk| match Pin::new(&mut chunk.bytes).poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready(Ok(bytes)) => {
                self.chunked.arrived(chunk.index, bytes);
                false
            }
            Poll::Ready(Err(error)) => {
                if self.chunked.failed(chunk.index) {
                    fault.get_or_insert(error);
                }
                false
            }
        });
        self.coming = coming;
        match fault {
            Some(fault) => {
                self.stopped = true;
                Err(fault)
            }
            None => Ok(()),
        }
    }

    /// Takes the guest's requests and answers those that can be.
    ///
    /// # Errors
    /// As [`Disk::arrive`].
    pub(super) fn serve(&mut self, machine: &mut Machine, files: &dyn Files) -> Result<(), Fault> {
        let mut answered = false;
        for Request { id, operation } in machine.board().take_disk_requests() {
            match operation {
                Operation::Read { sector, length } => {
                    self.waiting.push((id, sector * SECTOR, length));
                }
                Operation::Write { sector, bytes } => {
                    let written = self.chunked.write(sector * SECTOR, &bytes);
                    let answer = written.map(|()| Vec::new()).map_err(|_| Failed);
                    machine.board().complete_disk(id, answer);
                    answered = true;
                }
                // What was written is in memory, and lasts as the machine does.
                Operation::Flush => {
                    machine.board().complete_disk(id, Ok(Vec::new()));
                    answered = true;
                }
            }
        }
        self.waiting.retain(|(id, _, _)| machine.board().disk_waits_for(*id));
        if !self.waiting.is_empty() {
            answered |= self.answer_reads(machine);
            self.fetch(files);
            // A kept copy may be here at once.
            self.arrive()?;
            answered |= self.answer_reads(machine);
        }
        if answered {
            machine.service();
        }
        Ok(())
    }

    fn answer_reads(&mut self, machine: &mut Machine) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(id, offset, length)| match self.chunked.read(*offset, *length) {
            Some(bytes) => {
                machine.board().complete_disk(*id, Ok(bytes));
                false
            }
            None => true,
        });
        self.waiting.len() < before
    }

    fn fetch(&mut self, files: &dyn Files) {
        if self.stopped {
            return;
        }
        let ranges = self.waiting.iter().map(|(_, offset, length)| (*offset, *length));
        for index in self.chunked.wanted(ranges) {
            let bytes = files.chunk(self.chunked.layout(), index);
            self.coming.push(Coming { index, bytes });
        }
    }
}
