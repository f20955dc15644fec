//! The program itself: answers, standard input and output, a terminal, traces.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

use crate::kernel::Kernel;
use crate::process::{PATIENCE, Process, command, file, folder, output, text, until};
use crate::programs;

#[test]
fn the_guests_answer_is_the_programs() {
    type Program = fn() -> Kernel;
    let cases: [(_, Program, &[_], _, _); 8] = [
        ("hello", programs::hello, &[], 0, "ended with 0"),
        ("answer", programs::answer, &[], 42, "ended with 42"),
        ("answer", programs::answer, &["--exit-on", "hello"], 1, "ended with 42"),
        ("halt", programs::halt, &[], 0, "has halted"),
        ("stuck", programs::stuck, &[], 1, "waits for ever"),
        ("reset", programs::reset, &[], 1, "asked for a reset"),
        ("triple", programs::triple, &[], 1, "RBX=0000000012345678"),
        ("endless", programs::endless, &["--max-instructions", "1000"], 0, "used up"),
    ];
    for (name, kernel, arguments, code, sign) in cases {
        let kernel = file(name, kernel());
        for deterministic in [&[][..], &["--deterministic"]] {
            let output = output("run", &kernel, &[arguments, deterministic].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{name}: {said}");
            assert!(said.contains(sign), "{name}: {said}");
        }
    }
}

#[test]
fn figures_are_told_unless_they_are_not_wanted() {
    let kernel = file("hello", programs::hello());
    let told = output("run", &kernel, &[]);
    assert_eq!(text(&told.stdout), "hello from the guest\n");
    for word in ["MIPS", "decoded", "page walks", "of 64 MiB written"] {
        assert!(text(&told.stderr).contains(word), "{}", text(&told.stderr));
    }
    assert_eq!(text(&output("run", &kernel, &["--quiet"]).stderr), "");
}

#[test]
fn a_text_that_comes_ends_the_run() {
    let kernel = file("triple", programs::triple());
    let found = output("run", &kernel, &["--exit-on", "last words"]);
    assert_eq!(found.status.code(), Some(0), "{}", text(&found.stderr));
    let missed = output("run", &kernel, &["--exit-on", "other words"]);
    assert_eq!(missed.status.code(), Some(1));
}

#[test]
fn what_cannot_be_is_said_and_not_tried() {
    let hello = file("hello", programs::hello());
    let nothing = hello.with_file_name("nothing");
    fs::write(&nothing, b"no kernel").unwrap();
    for (kernel, arguments, sign) in [
        (&nothing, &[][..], "no kernel for x86-64"),
        (&hello, &["--disk", "/nowhere/at/all"], "/nowhere/at/all"),
        (&hello, &["--initrd", "/nowhere/at/all"], "/nowhere/at/all"),
        (&hello, &["--memory", "1"], "between 64 and 2048"),
        (&hello, &["--gdb", "192.0.2.1:1"], "only a loopback address"),
        (&hello, &["--fast"], "--fast"),
    ] {
        let output = output("run", kernel, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(sign), "{}", text(&output.stderr));
    }
}

#[test]
fn the_guest_writes_over_its_disk_and_the_file_stays() {
    let image = folder("disks").join("image");
    let content: Vec<u8> = (1..=9u8).flat_map(|number| [number; 512]).take(8 * 512 + 4).collect();
    fs::write(&image, &content).unwrap();
    let kernel = file("disk", programs::disk(8));
    let disk = ["--disk", image.to_str().unwrap()];
    for deterministic in [&[][..], &["--deterministic"]] {
        let output = output("run", &kernel, &[&disk, deterministic].concat());
        let said = text(&output.stdout);
        let words: Vec<u64> =
            said.lines().map(|line| u64::from_str_radix(line, 16).unwrap()).collect();
        let (sector, written) = (0x0606_0606_0606_0606, 0x1122_3344_5566_7788);
        // The last sector is half in the file; the one behind it is an I/O error.
        let expected = [0, sector, 0, written, 0, 0x0909_0909, 0, written, 1, written];
        assert_eq!(words, expected, "{}", text(&output.stderr));
    }
    assert_eq!(fs::read(&image).unwrap(), content);
    // What was written is part of what a hash distinguishes.
    let hashes = trace(&kernel, &[&disk[..], &["--hash-every", "100000000"]].concat());
    let other: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
    fs::write(&image, other).unwrap();
    assert_ne!(trace(&kernel, &[&disk[..], &["--hash-every", "100000000"]].concat()), hashes);
}

/// Standard input that has ended neither ends a machine nor keeps the host busy.
#[test]
fn a_sleeping_guest_costs_nothing() {
    let kernel = file("second", programs::second());
    let start = Instant::now();
    // The shell says what its children cost: user and system time in the second line.
    let mut shell = Command::new("sh");
    let program = command("run", &kernel, &[]);
    shell.args(["-c", "\"$@\" < /dev/null; times", "sh"]);
    shell.arg(program.get_program()).args(program.get_args());
    let output = shell.output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("awake"), "{said}{}", text(&output.stderr));
    assert!(start.elapsed().as_secs_f64() >= 1.0);
    let seconds = |word: &str| -> f64 {
        let (minutes, seconds) = word.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let busy: f64 = said.lines().last().unwrap().split(' ').map(seconds).sum();
    assert!(busy < 0.5, "{busy} s of work for a second of sleep");
}

#[test]
fn what_is_typed_reaches_the_guest() {
    let kernel = file("echo", programs::echo());
    let mut command = command("run", &kernel, &["--quiet"]);
    let mut process = Process::start(command.stdin(Stdio::piped()));
    // All at once, before the guest listens: it waits. Ctrl-A is a byte like others here.
    process.0.stdin.take().unwrap().write_all(b"abc\x01xyzq").unwrap();
    assert_eq!(process.code(), Some(7));
    let mut said = Vec::new();
    process.0.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(said, b"ready\nABC\x01XYZ");
}

/// A pseudo-terminal: the end that a person has, and the program on the other.
struct Terminal {
    person: File,
    program: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = File::options().read(true).write(true).open(name.to_str().unwrap());
        Terminal { person: person.into(), program: program.unwrap().into() }
    }

    fn mode(&self) -> Termios {
        tcgetattr(&self.program).unwrap()
    }

    fn is_raw(&self) -> bool {
        !self.mode().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn start(&self, name: &str, kernel: Kernel, arguments: &[&str]) -> Process {
        let mut command = command("run", &file(name, kernel), arguments);
        command.stdin(self.program.try_clone().unwrap());
        Process::start(command.stdout(self.program.try_clone().unwrap()))
    }
}

fn same(a: &Termios, b: &Termios) -> bool {
    (a.input_modes, a.output_modes, a.control_modes, a.local_modes)
        == (b.input_modes, b.output_modes, b.control_modes, b.local_modes)
}

#[test]
fn a_terminal_is_raw_while_the_machine_runs_and_as_before_afterwards() {
    let terminal = Terminal::new();
    let before = terminal.mode();
    assert!(!terminal.is_raw());
    let mut process = terminal.start("echo", programs::echo(), &["--quiet"]);
    let mut screen = BufReader::new(terminal.person.try_clone().unwrap());
    Process::line(&mut screen, "ready");
    assert!(terminal.is_raw());
    // Ctrl-C is the guest's, and so is Ctrl-A after Ctrl-A; Ctrl-A X is ours.
    let mut keys = &terminal.person;
    keys.write_all(b"\x03\x01\x01z\n").unwrap();
    let answer = Process::line(&mut screen, "Z");
    assert_eq!(answer, "\x03\x01Z");
    keys.write_all(b"\x01x").unwrap();
    assert_eq!(process.code(), Some(0));
    assert!(same(&terminal.mode(), &before));
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let terminal = Terminal::new();
    let before = terminal.mode();
    let mut process = terminal.start("endless", programs::endless(), &[]);
    let start = Instant::now();
    until(|| {
        assert!(start.elapsed() < PATIENCE, "it never becomes raw");
        terminal.is_raw().then_some(())
    });
    let id = rustix::process::Pid::from_child(&process.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(process.code(), Some(0));
    assert!(same(&terminal.mode(), &before));
    let mut said = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("ended by request"), "{said}");
}

fn trace(kernel: &std::path::Path, arguments: &[&str]) -> Vec<String> {
    let output = output("trace", kernel, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn two_traces_are_equal_and_name_what_happens() {
    let busy = programs::PROGRAMS.iter().find(|program| program.name == "busy").unwrap();
    let kernel = file("busy", (busy.kernel)());
    let whole = trace(&kernel, &["--count", "70000"]);
    assert_eq!(whole, trace(&kernel, &["--count", "70000"]));
    assert!(
        whole[0].starts_with("           1 0 0000000000100000 mov rsp,0x200000"),
        "{}",
        whole[0]
    );
    assert!(whole[0].ends_with(" rsp=200000"), "{}", whole[0]);
    assert_eq!(whole.iter().filter(|line| line.starts_with("# interrupt 0x40 at ")).count(), 2);
    // A part of it is that part.
    let instructions =
        |lines: &[String]| lines.iter().filter(|line| !line.starts_with('#')).cloned().collect();
    let whole: Vec<String> = instructions(&whole);
    let part: Vec<String> = instructions(&trace(&kernel, &["--skip", "50000", "--count", "100"]));
    assert_eq!(part, whole[50_000..50_100]);
}

#[test]
fn who_has_read_enough_of_a_trace_goes() {
    let kernel = file("endless", programs::endless());
    let mut process = Process::start(&mut command("trace", &kernel, &["--count", "100000000"]));
    Process::line(&mut BufReader::new(process.0.stdout.take().unwrap()), "inc rbx");
    assert_eq!(process.code(), Some(0));
}

#[test]
fn exceptions_and_the_end_are_in_a_trace() {
    let lines = trace(&file("triple", programs::triple()), &[]);
    let ends = lines.iter().find(|line| line.contains("ud2")).unwrap();
    assert!(ends.contains("exception 0x6"), "{ends}");
    assert!(lines.iter().any(|line| line == "# console \"last words\\n\""), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "# the machine has ended: Shutdown");
}

#[test]
fn hashes_meet_where_their_instructions_do() {
    let kernel = file("endless", programs::endless());
    let hashes = |every: &str| -> Vec<String> {
        let lines = trace(&kernel, &["--hash-every", every, "--count", "60"]);
        lines.into_iter().filter(|line| !line.starts_with('#')).collect()
    };
    let (tens, fifteens) = (hashes("10"), hashes("15"));
    assert_eq!((tens.len(), fifteens.len()), (6, 4));
    assert_eq!((&tens[2], &tens[5]), (&fifteens[1], &fifteens[3]));
    assert_ne!(tens[2], tens[5]);
}
