//! The whole engine on an in-memory terminal, driven as the worker drives it. Time is
//! virtual: `sleep 60` takes none, and a test that waits for what never comes fails.
#![forbid(unsafe_code)]
#![cfg(not(target_family = "wasm"))]

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use emulator_engine::{CONSOLE_QUEUE, Engine, GuestIo, Next};
use emulator_protocol::{BootRequest, EngineKind, TerminalSize};
use emulator_shell::Shell;
use tokio::sync::Notify;

/// Slices after which a test gives up; far more than any of them needs.
const PATIENCE: usize = 20_000;

struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

struct Machine {
    shell: Shell,
    io: GuestIo,
    bell: Arc<Bell>,
    terminal: vt100::Parser,
    /// Bytes that the terminal has received in all.
    received: usize,
}

impl Machine {
    async fn boot(columns: u16, rows: u16) -> Self {
        let size = TerminalSize { columns, rows };
        let bell = Arc::new(Bell(Notify::new()));
        let waker = Waker::from(bell.clone());
        let request = BootRequest { terminal: size, ..BootRequest::new(EngineKind::Sim, 0) };
        let mut shell = Shell::new();
        shell.boot(&request, waker.clone(), Rc::new(|_| {})).await.expect("boots");
        let io = GuestIo::new(size, waker);
        let terminal = vt100::Parser::new(rows, columns, 1000);
        let mut machine = Self { shell, io, bell, terminal, received: 0 };
        machine.until(|machine| machine.io.ready && machine.at_prompt()).await;
        machine
    }

    /// As `boot`, without the banner.
    async fn clean(columns: u16, rows: u16) -> Self {
        let mut machine = Self::boot(columns, rows).await;
        machine.run("clear").await;
        machine
    }

    fn screen(&self) -> String {
        let contents = self.terminal.screen().contents();
        let rows: Vec<&str> = contents.lines().map(str::trim_end).collect();
        rows.join("\n").trim_end().to_owned()
    }

    fn at_prompt(&self) -> bool {
        self.screen().ends_with("$")
    }

    /// Drives the engine until something is on the screen.
    async fn until(&mut self, is_done: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            let next = self.shell.poll(Duration::ZERO, &mut self.io);
            let output = self.io.output.pop(CONSOLE_QUEUE);
            self.received += output.len();
            self.terminal.process(&output);
            if is_done(self) {
                return;
            }
            if next == Next::Again || !output.is_empty() {
                tokio::task::yield_now().await;
            } else {
                let patience = Duration::from_secs(3600);
                if tokio::time::timeout(patience, self.bell.0.notified()).await.is_err() {
                    break;
                }
            }
        }
        panic!("never came; the screen is\n{}", self.screen());
    }

    fn type_in(&mut self, text: impl AsRef<[u8]>) {
        assert_eq!(self.io.input.push(text.as_ref()), text.as_ref().len());
    }

    /// Types a line and waits for the next prompt.
    async fn run(&mut self, line: &str) {
        self.type_in(line);
        self.type_in("\r");
        // The prompt from before is not the one that is waited for.
        let taken = |machine: &Self| machine.io.input.is_empty() && machine.at_prompt();
        self.until(taken).await;
    }

    /// Runs a line and returns what it has printed, without prompts.
    async fn output(&mut self, line: &str) -> String {
        self.run("clear").await;
        self.run(line).await;
        let screen = self.screen();
        let rows: Vec<&str> = screen.lines().collect();
        rows[1..rows.len() - 1].join("\n")
    }
}

macro_rules! screens {
    ($($(#[$attribute:meta])* fn $name:ident($machine:ident) $body:block)*) => {
        $(
            #[tokio::test(start_paused = true)]
            $(#[$attribute])*
            async fn $name() {
                let mut $machine = Machine::clean(60, 20).await;
                $body
            }
        )*
    };
}

#[tokio::test(start_paused = true)]
async fn boot_says_what_this_is() {
    let machine = Machine::boot(80, 24).await;
    let screen = machine.screen();
    for words in ["simulated", "help", "?engine=kernel", "user@vivarium:~$"] {
        assert!(screen.contains(words), "{words} in\n{screen}");
    }
    assert!(screen.lines().count() <= 6);
}

screens! {
    fn computes(machine) {
        machine.run("echo $((6*7))").await;
        assert_eq!(machine.screen(), "user@vivarium:~$ echo $((6*7))\n42\nuser@vivarium:~$");
    }

    fn pipes_redirects_and_globs(machine) {
        assert_eq!(machine.output("printf '3\\n1\\n2\\n' | sort | head -n 2").await, "1\n2");
        assert_eq!(machine.output("echo one > a.txt; echo two >> a.txt; wc -l < a.txt").await, "2");
        assert_eq!(machine.output("touch b.txt; echo *.txt").await, "a.txt b.txt");
        assert_eq!(machine.output("cat nope 2>/dev/null || echo failed").await, "failed");
        assert_eq!(machine.output("x=$(echo deep); echo \"<$x>\"").await, "<deep>");
    }

    fn remembers_from_line_to_line(machine) {
        machine.run("cd /tmp; x=5; f() { echo \"f$1\"; }; alias hi='echo hello'; set -o pipefail").await;
        assert!(machine.screen().ends_with("user@vivarium:/tmp$"));
        assert_eq!(machine.output("f $x; hi; pwd").await, "f5\nhello\n/tmp");
        assert_eq!(machine.output("false | true; echo $?").await, "1");
        machine.run("false").await;
        assert_eq!(machine.output("true").await, "");
        machine.run("(exit 3)").await;
        machine.type_in("echo $?\r");
        machine.until(|m| m.screen().contains("echo $?\n3\n")).await;
    }

    fn errors_stand_between_outputs(machine) {
        let output = machine.output("echo a; nosuchthing; echo b").await;
        let rows: Vec<&str> = output.lines().collect();
        assert_eq!((rows[0], rows[rows.len() - 1]), ("a", "b"));
        assert!(rows[1].contains("nosuchthing: command not found"), "{output}");
        assert_eq!(machine.output("echo a; ; b").await, "bash: syntax error near unexpected token `;'");
    }

    fn continues_what_is_open(machine) {
        machine.type_in("for i in 1 2; do\r");
        machine.until(|m| m.screen().ends_with("do\n>")).await;
        machine.type_in("echo \"n$i\"\rdone\r");
        machine.until(|m| m.screen().contains("\nn1\nn2\n")).await;
        assert_eq!(machine.output("cat <<E\rx $((1+1))\rE").await, "> x $((1+1))\n> E\nx 2");
        assert_eq!(machine.output("echo 'a\rb'").await, "> b'\na\nb");
        assert_eq!(machine.output("echo a \\\rb").await, "> b\na b");
    }

    fn a_paste_runs_on_enter_only(machine) {
        machine.type_in("\x1b[200~echo p$((1+1))\necho q$((1+2))\n\x1b[201~");
        machine.until(|m| m.screen().contains("> echo q")).await;
        assert!(!machine.screen().contains("p2"));
        machine.type_in("\r");
        machine.until(|m| m.screen().contains("p2\nq3\n")).await;
    }

    fn edits_and_recalls(machine) {
        machine.run("echo hllo\x1b[D\x1b[D\x1b[De").await;
        assert!(machine.screen().contains("\nhello\n"));
        machine.run("\x1b[A world").await;
        assert!(machine.screen().contains("\nhello world\n"));
        machine.run("\x12ello w\x05!").await;
        assert!(machine.screen().contains("\nhello world!\n"));
        let history = machine.output("history").await;
        assert!(history.contains("echo hello world!"), "{history}");
    }

    fn completes_commands_and_files(machine) {
        machine.type_in("cat REA\t");
        machine.until(|m| m.screen().ends_with("cat README.md")).await;
        machine.type_in("\x15unam\t-n\r");
        machine.until(|m| m.screen().contains("uname -n\nvivarium\n")).await;
        machine.type_in("ls /et\tos\t");
        machine.until(|m| m.screen().ends_with("ls /etc/os-release")).await;
        machine.type_in("\x15sha\t\t");
        machine.until(|m| m.screen().contains("sha256sum") && m.screen().ends_with("$ sha")).await;
    }

    fn a_last_line_without_its_end_is_kept(machine) {
        machine.run("printf abc").await;
        assert!(machine.screen().ends_with("printf abc\nabc⏎\nuser@vivarium:~$"), "{}", machine.screen());
    }

    fn knows_the_size_of_the_terminal(machine) {
        assert_eq!(machine.output("echo $COLUMNS $LINES").await, "60 20");
        machine.io.terminal = TerminalSize { columns: 70, rows: 15 };
        machine.terminal.screen_mut().set_size(15, 70);
        assert_eq!(machine.output("echo $COLUMNS $LINES").await, "70 15");
    }

    fn interrupts_sleep_loops_and_lines(machine) {
        machine.type_in("half a line\x03");
        machine.until(|m| m.screen().contains("half a line^C\n")).await;
        machine.run("v=kept").await;
        for endless in ["sleep 50", "while :; do :; done", "while ((1)); do ((i++)); done", "f() { while true; do local z=1; done; }; f | cat"] {
            machine.type_in(format!("{endless}\r"));
            machine.until(|m| m.io.input.is_empty()).await;
            for _ in 0..50 {
                machine.shell.poll(Duration::ZERO, &mut machine.io);
            }
            machine.type_in("\x03");
            machine.until(|m| m.at_prompt()).await;
            assert!(machine.screen().contains("^C"), "{endless}");
            assert_eq!(machine.output("echo $? $v").await, "0 kept", "{endless}");
        }
        machine.type_in("sleep 9\r");
        machine.until(|m| m.io.input.is_empty()).await;
        machine.type_in("\x03");
        machine.until(|m| m.at_prompt()).await;
        machine.type_in("echo code $?\r");
        machine.until(|m| m.screen().contains("code 130")).await;
    }

    fn what_is_typed_meanwhile_comes_next(machine) {
        machine.type_in("sleep 1; echo first\recho second\r");
        machine.until(|m| m.screen().contains("first\nuser@vivarium:~$ echo second\nsecond\n")).await;
    }

    fn a_flood_stalls_until_somebody_reads(machine) {
        machine.type_in("while true; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done\r");
        for _ in 0..PATIENCE {
            machine.shell.poll(Duration::ZERO, &mut machine.io);
            tokio::task::yield_now().await;
        }
        assert_eq!(machine.io.output.room(), 0, "the queue is full and stays so");
        let before = machine.received;
        machine.until(|m| m.received > before + 10 * CONSOLE_QUEUE).await;
        machine.type_in("\x03");
        machine.until(|m| m.at_prompt()).await;
        assert_eq!(machine.output("echo alive").await, "alive");
    }

    fn limits_end_what_cannot_go_on(machine) {
        for (command, words) in [
            ("r() { r; }; r", "limit"),
            (":(){ :|:& };:", "fork"),
            ("x=a; for i in {1..40}; do x=$x$x; done", "limit"),
        ] {
            let output = machine.output(command).await;
            assert!(output.contains(words), "{command}: {output}");
            // What a fork bomb has left in the background ends with its run.
            machine.type_in("sleep 9\r");
            machine.until(|m| m.io.input.is_empty()).await;
            machine.type_in("\x03");
            machine.until(|m| m.at_prompt()).await;
            assert_eq!(machine.output("echo alive").await, "alive");
        }
    }

    fn says_what_it_is_not(machine) {
        assert_eq!(machine.output("uname").await, "Vivarium-sim");
        assert!(!machine.output("uname -a; cat /proc/version /etc/os-release").await.contains("Linux"));
        assert!(machine.output("python3 -c 1").await.contains("?engine=kernel"));
        assert!(machine.output("help | head -n 1").await.contains("SIMULATED"));
    }

    fn exit_gives_a_fresh_shell_and_control_d_explains(machine) {
        machine.run("v=1; echo kept > f; cd /").await;
        machine.run("exit").await;
        assert!(machine.screen().contains("fresh"));
        assert_eq!(machine.output("echo \"<$v>\" $(cat f)").await, "<> kept");
        machine.type_in("\x04");
        machine.until(|m| m.screen().contains("Switch the engine")).await;
        machine.run("break").await;
        assert_eq!(machine.output("echo alive").await, "alive");
    }

    fn time_passes(machine) {
        let before = tokio::time::Instant::now();
        machine.run("sleep 2").await;
        machine.until(|m| m.at_prompt()).await;
        assert!(before.elapsed() >= Duration::from_secs(2));
        assert!(machine.output("date +%Y").await.starts_with("20"));
        assert_eq!(machine.output("sleep 1 & wait; echo done").await, "done");
    }

    fn the_examples_work(machine) {
        assert_eq!(machine.output("bash examples/primes.sh 20").await, "2 3 5 7 11 13 17 19");
        assert!(machine.output("sort -t, -k2 -n examples/planets.csv | column -t -s,").await.contains("Earth    150"));
        assert_eq!(
            machine.output("for n in 1 2 3; do echo \"$((n * n))\"; done | tee s; wc -l < s").await,
            "1\n4\n9\n3"
        );
    }
}
