//! `--gdb`: the machine under a debugger that speaks gdb's remote protocol.
//!
//! The protocol is the crate `gdbstub`'s; here is who may connect, and what goes on in turns:
//! the machine executes a little, then it is looked whether gdb or a person has something to
//! say. While gdb thinks, guest time stands still.

mod registers;
mod target;

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result, anyhow};
use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, SingleThreadStopReason};

use crate::console::{self, Terminal};
use crate::options::Run;
use crate::run::{Finish, finished};
use crate::session::{End, SLICE, Session, Stop};
use target::{Debuggee, Halt};

/// What the debugger does.
#[derive(Debug)]
pub(crate) enum Event {
    /// It has connected.
    Connected(TcpStream),
    /// It has sent bytes.
    Bytes(Vec<u8>),
    /// The connection has ended.
    Closed,
}

type Stub<'a> = GdbStubStateMachine<'static, Debuggee<'a>, TcpStream>;

/// Runs a machine to its end under a debugger. Nothing is executed before one has connected;
/// when it goes, the machine runs on, and another one may come.
pub(crate) fn serve(
    session: &mut Session,
    terminal: &mut Terminal,
    options: &Run,
    address: SocketAddr,
) -> Result<Finish> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening at {address}"))?;
    let address = listener.local_addr()?;
    eprint!("waiting for gdb: target remote {address}\r\n");
    let events = terminal.sender();
    thread::spawn(move || accept(&listener, &events));
    let mut server = Server {
        target: Debuggee::new(session, terminal),
        stub: None,
        bytes: VecDeque::new(),
        waiting: true,
    };
    loop {
        server.hear()?;
        let stop = server.act(options)?;
        let Debuggee { session, terminal, .. } = &server.target;
        if let Some(finish) = finished(session, terminal, options, stop) {
            return Ok(finish);
        }
    }
}

/// One debugger after the other.
fn accept(listener: &TcpListener, events: &Sender<console::Event>) {
    for stream in listener.incoming().flatten() {
        let Ok(mut reader) = stream.try_clone() else { continue };
        let tell = |event| events.send(console::Event::Debugger(event)).is_ok();
        let mut buffer = [0; 4096];
        let mut going = tell(Event::Connected(stream));
        while going && let Ok(length @ 1..) = reader.read(&mut buffer) {
            going = tell(Event::Bytes(buffer[..length].to_vec()));
        }
        if !tell(Event::Closed) {
            return;
        }
    }
}

struct Server<'a> {
    target: Debuggee<'a>,
    stub: Option<Stub<'a>>,
    /// From the debugger, and not yet read.
    bytes: VecDeque<u8>,
    /// No debugger has come yet.
    waiting: bool,
}

impl<'a> Server<'a> {
    /// Takes what the debugger did.
    fn hear(&mut self) -> Result<()> {
        self.target.terminal.look();
        while let Some(event) = self.target.terminal.debugger.pop_front() {
            match event {
                Event::Connected(stream) => {
                    self.waiting = false;
                    self.bytes.clear();
                    // Answers are short, and each is waited for.
                    stream.set_nodelay(true)?;
                    let stub = GdbStub::new(stream).run_state_machine(&mut self.target);
                    self.stub = Some(stub.map_err(lost)?);
                }
                Event::Bytes(bytes) => self.bytes.extend(bytes),
                Event::Closed => self.leave(),
            }
        }
        Ok(())
    }

    /// The debugger has gone: the machine runs on.
    fn leave(&mut self) {
        self.stub = None;
        self.bytes.clear();
        self.target.free();
    }

    /// Does the next thing, and says what it means for the machine.
    fn act(&mut self, options: &Run) -> Result<Stop> {
        let Some(stub) = self.stub.take() else { return self.alone(options) };
        match stub {
            GdbStubStateMachine::Idle(inner) => {
                let Some(byte) = self.bytes.pop_front() else {
                    self.stub = Some(inner.into());
                    self.target.terminal.wait(None);
                    return Ok(Stop::Executed);
                };
                let next = inner.incoming_data(&mut self.target, byte);
                self.go_on(next)
            }
            GdbStubStateMachine::Running(inner) => {
                if let Some(byte) = self.bytes.pop_front() {
                    let next = inner.incoming_data(&mut self.target, byte);
                    return self.go_on(next);
                }
                match self.target.execute(limit(options, &self.target))? {
                    Halt::None(stop) => {
                        self.stub = Some(inner.into());
                        // The limit, a key, or an end that gdb need not know of.
                        if let Stop::Idle(time) = stop {
                            self.target.terminal.wait(time);
                        }
                        Ok(stop)
                    }
                    Halt::Report(reason) => {
                        let next = inner.report_stop(&mut self.target, reason);
                        self.go_on(next)
                    }
                    Halt::Over(end, reason) => {
                        let next = inner.report_stop(&mut self.target, reason);
                        self.go_on(next)?;
                        Ok(Stop::Over(end))
                    }
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(inner) => {
                let reason = SingleThreadStopReason::Signal(Signal::SIGINT);
                let next = inner.interrupt_handled(&mut self.target, Some(reason));
                self.go_on(next)
            }
            GdbStubStateMachine::Disconnected(inner) => {
                if matches!(inner.get_reason(), DisconnectReason::Kill) {
                    self.target.terminal.quit = true;
                }
                self.leave();
                Ok(Stop::Executed)
            }
        }
    }

    fn go_on<E: std::error::Error>(&mut self, next: Result<Stub<'a>, E>) -> Result<Stop> {
        match next {
            Ok(stub) => self.stub = Some(stub),
            Err(error) => {
                eprint!("the debugger is lost: {error}\r\n");
                self.leave();
            }
        }
        Ok(Stop::Executed)
    }

    /// Without a debugger.
    fn alone(&mut self, options: &Run) -> Result<Stop> {
        if self.waiting {
            self.target.terminal.wait(None);
            return Ok(Stop::Executed);
        }
        let until = limit(options, &self.target);
        let Debuggee { session, terminal, .. } = &mut self.target;
        let stop = session.advance(until, *terminal)?;
        if let Stop::Idle(time) = stop {
            terminal.wait(time);
        }
        Ok(stop)
    }
}

fn limit(options: &Run, target: &Debuggee<'_>) -> u64 {
    let most = options.max_instructions.unwrap_or(u64::MAX);
    most.min(target.session.machine.instructions() + SLICE)
}

fn lost(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("speaking with the debugger: {error}")
}

/// How the debugger hears of an end.
fn farewell(end: End) -> SingleThreadStopReason<u64> {
    match end {
        End::Off(answer) => SingleThreadStopReason::Exited(answer.unwrap_or(0)),
        End::Reset | End::Stuck => SingleThreadStopReason::Exited(0),
        // The machine is kept, to be looked at.
        End::Shutdown => SingleThreadStopReason::Signal(Signal::SIGSEGV),
    }
}
