//! The engine as wasm: clocks and timers come from JavaScript there.
#![forbid(unsafe_code)]
#![cfg(target_family = "wasm")]

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use emulator_engine::{CONSOLE_QUEUE, Engine, GuestIo, Next};
use emulator_protocol::{BootRequest, EngineKind, TerminalSize};
use emulator_shell::Shell;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

/// Drives the engine until its output contains `words` and a prompt behind them.
async fn until(shell: &mut Shell, io: &mut GuestIo, words: &str) {
    let mut output = String::new();
    poll_fn(|context| {
        io.waker = context.waker().clone();
        let next = shell.poll(Duration::ZERO, io);
        output.push_str(&String::from_utf8_lossy(&io.output.pop(CONSOLE_QUEUE)));
        if output.split_once(words).is_some_and(|(_, rest)| rest.contains("$ ")) {
            return Poll::Ready(());
        }
        if next == Next::Again {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

async fn boot() -> (Shell, GuestIo) {
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let request = BootRequest::new(EngineKind::Sim, 0);
    let started = js_sys::Date::now();
    let mut shell = Shell::new();
    let mut io = GuestIo::new(TerminalSize::default(), Waker::noop().clone());
    shell.boot(&request, waker, Rc::new(|_| {})).await.expect("boots");
    until(&mut shell, &mut io, "engine=kernel").await;
    console_log!("boot to prompt: {} ms", js_sys::Date::now() - started);
    (shell, io)
}

#[wasm_bindgen_test]
async fn clocks_timers_and_loops_work() {
    let (mut shell, mut io) = boot().await;
    for (line, words, least) in [
        ("sleep 1; echo slept $((6*7))", "\nslept 42", 990.0),
        ("date +year-%Y", "\nyear-20", 0.0),
        ("for ((i=0;i<5000;i++)); do :; done; echo looped $i", "\nlooped 5000", 0.0),
        ("echo $(echo $(echo $(echo $(echo deep$((1+1))))))", "\ndeep2", 0.0),
        ("time true", "\nreal", 0.0),
        ("r() { r; }; r", "by a limit", 0.0),
    ] {
        let started = js_sys::Date::now();
        assert_eq!(io.input.push(format!("{line}\r").as_bytes()), line.len() + 1);
        until(&mut shell, &mut io, words).await;
        let took = js_sys::Date::now() - started;
        console_log!("{line}: {took} ms");
        assert!(took >= least, "{line}: {took} ms");
    }
}
