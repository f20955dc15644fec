//! What is said at the end of a run.

use std::time::Duration;

use emulator_bus::PAGE_SIZE;
use emulator_machine::Machine;

use crate::run::Finish;
use crate::session::End;

/// Says how a run has ended and what it came to.
pub(crate) fn print(machine: &Machine, finish: Finish, time: Duration) {
    let how = match finish {
        Finish::Found => "the text came".to_owned(),
        Finish::Quit => "ended by request".to_owned(),
        Finish::Limit => "the instructions are used up".to_owned(),
        Finish::Machine(End::Off(None)) => "the guest has halted".to_owned(),
        Finish::Machine(End::Off(Some(answer))) => format!("the guest has ended with {answer}"),
        Finish::Machine(End::Reset) => "the guest asked for a reset".to_owned(),
        Finish::Machine(End::Shutdown) => format!("triple fault\n{}", machine.registers()),
        Finish::Machine(End::Stuck) => {
            format!("the guest waits for ever\n{}", machine.registers())
        }
    };
    let figures = machine.figures();
    let seconds = time.as_secs_f64();
    let million = |count: u64| count as f64 / 1e6;
    eprintln!(
        "\n[{how}]\n[{seconds:.2} s; {:.1} million instructions, {:.0} MIPS; guest time {:.2} s]",
        million(figures.instructions),
        million(figures.instructions) / seconds,
        machine.now() as f64 / 1e9
    );
    eprintln!(
        "[{} instructions decoded; {:.2} million page walks; {} of {} MiB written]",
        figures.decoded,
        million(figures.walks),
        (figures.written * PAGE_SIZE) >> 20,
        machine.memory().size() >> 20
    );
}
