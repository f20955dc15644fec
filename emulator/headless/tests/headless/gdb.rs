//! Under the real gdb, and under a client of three lines that sends what a batch of gdb cannot.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use iced_x86::code_asm::*;

use crate::kernel::{DATA, Kernel, START, exit, say};
use crate::process::{PATIENCE, Process, command, file, text};
use crate::programs;

/// Where the program's function is.
const FUNCTION: u64 = DATA + 0x1000;

/// Calls a function three times.
fn program() -> Kernel {
    let mut kernel = Kernel::new(|a| {
        a.mov(rbx, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(DATA), rbx)?;
        for argument in 1..=3 {
            a.mov(edi, argument)?;
            a.call(FUNCTION)?;
        }
        say(a, "done\n")?;
        exit(a, 5)
    });
    kernel.put(FUNCTION, |a| {
        a.lea(rax, qword_ptr(rdi + rdi))?;
        a.ret()
    });
    kernel
}

/// The machine, and where it waits for a debugger.
fn start(name: &str, kernel: Kernel, arguments: &[&str]) -> (Process, String) {
    let arguments = [&["--gdb", "127.0.0.1:0"], arguments].concat();
    let mut process = Process::start(&mut command("run", &file(name, kernel), &arguments));
    let mut said = BufReader::new(process.0.stderr.take().unwrap());
    let line = Process::line(&mut said, "waiting for gdb");
    process.0.stderr = Some(said.into_inner());
    (process, line.rsplit(' ').next().unwrap().to_owned())
}

#[test]
fn gdb_reads_steps_breaks_and_changes() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!(
            "NOT RUN: gdb is not installed, so nobody has tried the machine under it. \
             On Debian: apt-get install gdb"
        );
        return;
    }
    let (mut process, address) = start("debugged", program(), &[]);
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "-nx", "-ex", "set pagination off", "-ex", "set confirm off"]);
    let function = format!("break *{FUNCTION:#x}");
    for line in [
        &format!("target remote {address}"),
        "printf \"start %#lx\\n\", $rip",
        "x/i $rip",
        "stepi",
        "stepi",
        "stepi",
        "printf \"rbx %#lx rsp %#lx\\n\", $rbx, $rsp",
        "p $eflags",
        "printf \"orig %ld efer %#lx cr3 %#lx\\n\", $orig_rax, $efer, $cr3",
        &function,
        "continue",
        "printf \"first %d\\n\", $edi",
        &format!("x/gx {DATA:#x}"),
        "stepi",
        "printf \"sum %d\\n\", $eax",
        "continue",
        "printf \"second %d\\n\", $edi",
        // The argument, and the memory that nobody will write again.
        "set var $rdi = 21",
        &format!("set var *(long*){DATA:#x} = 0xABCD"),
        "stepi",
        "printf \"changed sum %d memory %#lx\\n\", $eax, *(long*)0x140000",
        "set var $xmm3.v2_int64[1] = 77",
        "printf \"vector %ld\\n\", $xmm3.v2_int64[1]",
        "monitor instructions",
        "delete",
        &format!("hbreak *{FUNCTION:#x}"),
        "continue",
        "printf \"third %d\\n\", $edi",
        "delete",
        "continue",
    ] {
        gdb.args(["-ex", line]);
    }
    let output = gdb.output().unwrap();
    let said = text(&output.stdout);
    for sign in [
        &format!("start {START:#x}"),
        "movabs $0x200000,%rsp",
        "rbx 0x1122334455667788 rsp 0x200000",
        "[ ]",
        "orig -1 efer 0x500 cr3 0x9000",
        "first 1",
        "0x140000:\t0x1122334455667788",
        "sum 2",
        "second 2",
        "changed sum 42 memory 0xabcd",
        "vector 77",
        "third 3",
        "exited with code 05",
    ] {
        assert!(said.contains(sign), "{sign:?}\n{said}\n{}", text(&output.stderr));
    }
    assert_eq!(process.code(), Some(5), "the guest's answer after gdb has gone");
    let mut console = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut console).unwrap();
    assert_eq!(console, "done\n");
}

/// A debugger's end of the connection.
struct Client(TcpStream);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        self.0.write_all(format!("${packet}#{sum:02x}").as_bytes()).unwrap();
    }

    /// The next packet; acknowledged. A star and a letter repeat what is before them.
    fn receive(&mut self) -> String {
        let mut byte = || {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            byte[0]
        };
        while byte() != b'$' {}
        let mut packet = Vec::new();
        loop {
            match byte() {
                b'#' => break,
                b'*' => {
                    let last = *packet.last().unwrap();
                    packet.extend(std::iter::repeat_n(last, usize::from(byte()) - 29));
                }
                letter => packet.push(letter),
            }
        }
        // The sum: what came over this connection came whole.
        byte();
        byte();
        self.0.write_all(b"+").unwrap();
        text(&packet)
    }

    /// Interrupts the guest: SIGINT.
    fn interrupt(&mut self) {
        self.0.write_all(&[3]).unwrap();
        let stopped = self.receive();
        assert!(stopped.starts_with("T02") || stopped.starts_with("S02"), "{stopped}");
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }
}

#[test]
fn a_debugger_interrupts_goes_and_comes_back() {
    let (mut process, address) = start("counting", programs::counting(), &[]);
    let mut counts = BufReader::new(process.0.stdout.take().unwrap());
    let mut told = || u64::from_str_radix(&Process::line(&mut counts, "\n"), 16).unwrap();
    let mut client = Client::connect(&address);
    client.send("c");
    // It is not before this that it is sure to run.
    let seen = told();
    client.interrupt();
    let counter = |client: &mut Client| {
        let digits = client.ask("g")[16..32].to_owned();
        u64::from_str_radix(&digits, 16).unwrap().swap_bytes()
    };
    let first = counter(&mut client);
    assert!(first >= seen, "{first} {seen}");
    assert_eq!(counter(&mut client), first, "it stands still");
    // Memory that is not there; registers that are too short.
    assert_eq!(client.ask(&format!("m{:x},8", 1u64 << 40)), "E0e");
    assert_eq!(client.ask(&format!("M{:x},1:00", 1u64 << 40)), "E0e");
    assert_eq!(client.ask("G00"), "E16");
    // Without a farewell: the machine runs on, and another debugger may come.
    drop(client);
    while told() <= first {}
    let mut client = Client::connect(&address);
    assert!(counter(&mut client) > first);
    client.send("k");
    assert_eq!(process.code(), Some(0), "killed");
}

#[test]
fn a_sleeping_guest_can_be_interrupted_and_a_dead_one_looked_at() {
    let (mut process, address) = start("second", programs::second(), &[]);
    let mut client = Client::connect(&address);
    client.send("c");
    client.interrupt();
    assert_eq!(client.ask("D"), "OK");
    assert_eq!(process.code(), Some(0));

    let (mut process, address) = start("triple", programs::triple(), &[]);
    let mut client = Client::connect(&address);
    let stopped = client.ask("c");
    // SIGSEGV.
    assert!(stopped.starts_with("T0b") || stopped.starts_with("S0b"), "{stopped}");
    assert_eq!(client.ask("g")[16..32], format!("{:016x}", 0x1234_5678u64.swap_bytes()));
    client.send("k");
    assert_eq!(process.code(), Some(0));
}
